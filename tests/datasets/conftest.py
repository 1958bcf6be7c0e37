"""Small datasets in their real formats, in folders of their own."""

import io
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from mpsearch.datasets.speech_commands import WORDS

Arrays = dict[str, np.ndarray]
Image = int | np.ndarray | bytes  # a grey value, pixels (height, width, 3), or the content of a file


def jpeg_bytes(image: Image) -> bytes:
    """The image as a JPEG file of top quality; a grey value fills 32x32 pixels."""
    if isinstance(image, bytes):
        return image
    pixels = np.full((32, 32, 3), image, dtype=np.uint8) if isinstance(image, int) else image
    buffer = io.BytesIO()
    image_module = pytest.importorskip("PIL.Image")
    image_module.fromarray(pixels).save(buffer, "JPEG", quality=100, subsampling=0)
    return buffer.getvalue()


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for data, with every place that datasets look in turned to `tmp_path`."""
    data = tmp_path / "data_folder"
    data.mkdir()
    monkeypatch.setenv("MPSEARCH_DATA", str(data))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    return data


@pytest.fixture
def write_archive(folders: Path) -> Callable[..., Path]:
    """Writes `cifar10_jpeg.npz` with alternating classes; `change` may spoil its arrays."""

    def write(
        train: Sequence[Image] = range(60),
        test: Sequence[Image] = range(128, 158),
        change: Callable[[Arrays], object] = lambda arrays: None,
    ) -> Path:
        arrays: Arrays = {"class_names": np.array(list("abcdefghij"))}
        for split, images in (("train", train), ("test", test)):
            files = [jpeg_bytes(image) for image in images]
            arrays[f"{split}_jpeg"] = np.frombuffer(b"".join(files), dtype=np.uint8)
            arrays[f"{split}_offsets"] = np.cumsum([0] + [len(file) for file in files]).astype(np.int64)
            arrays[f"{split}_labels"] = (np.arange(len(files)) % 10).astype(np.uint8)
        change(arrays)
        path = folders / "cifar10_jpeg.npz"
        np.savez(path, **arrays)
        return path

    return write


@pytest.fixture
def archive(write_archive: Callable[..., Path]) -> Path:
    """An archive of 60 training images, grey values 0 to 59, and 30 test images, 128 to 157."""
    return write_archive()


@pytest.fixture
def write_speech_commands() -> Callable[[Path], Path]:
    """Writes Speech Commands: thirteen words, seven recordings of half a second each, the sixth for validation, the
    seventh for test.
    """
    soundfile = pytest.importorskip("soundfile")

    def write(root: Path) -> Path:
        rng = np.random.default_rng(0)
        lists: dict[int, list[str]] = {5: [], 6: []}
        for word in (*WORDS, "bed", "cat", "tree"):
            (root / word).mkdir(parents=True)
            for index in range(7):
                name = f"{word}/{index:02d}_nohash_0.wav"
                soundfile.write(root / name, rng.normal(0, 0.1, 8000), 16000)
                lists.get(index, []).append(name)
        (root / "_background_noise_").mkdir()
        soundfile.write(root / "_background_noise_" / "running_tap.wav", rng.normal(0, 0.2, 40000), 16000)
        (root / "validation_list.txt").write_text("\n".join(lists[5]) + "\n")
        (root / "testing_list.txt").write_text("\n".join(lists[6]) + "\n")
        return root

    return write
