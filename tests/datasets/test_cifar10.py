"""Tests of CIFAR-10: splits, sources, and the archive's decoding and cache."""

import io
import os
import pickle
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from mpsearch.datasets import cifar10
from mpsearch.datasets.cifar10 import unit_range
from mpsearch.datasets.jpeg_archive import JpegArchive
from mpsearch.errors import DataError, DataMissingError

ROOT = Path(__file__).resolve().parents[2]


def values(x: np.ndarray) -> list[int]:
    """The grey value of each image."""
    return [int(image[0, 0, 0]) for image in x]


# Splits


def test_validation_from_train_is_its_end(archive):
    data = cifar10(validation=20)
    assert values(data.train.x) == list(range(40))
    assert values(data.validation.x) == list(range(40, 60))
    assert values(data.test.x) == list(range(128, 158))
    np.testing.assert_array_equal(data.train.y, np.arange(40) % 10)
    assert data.train.x.dtype == np.uint8
    assert data.train.x.shape == (40, 32, 32, 3)
    assert data.train.y.dtype == np.int64


def test_validation_from_test_is_its_start(archive):
    data = cifar10(train=10, validation=12, validation_from="test")
    assert values(data.train.x) == list(range(10))
    assert values(data.validation.x) == list(range(128, 140))
    assert values(data.test.x) == list(range(140, 158))
    np.testing.assert_array_equal(data.test.y, np.arange(12, 30) % 10)
    assert len(cifar10(validation=12, validation_from="test").train) == 60


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"train": 41, "validation": 20}, "`1 <= train <= 40` must hold.*got 41"),
        ({"train": 0, "validation": 20}, "`1 <= train <= 40` must hold.*got 0"),
        ({"validation": 0}, "`1 <= validation < 60` must hold.*got 0"),
        ({"validation": 30, "validation_from": "test"}, "`1 <= validation < 30` must hold.*got 30"),
        ({"validation_from": "both"}, 'must be "train" or "test".*both'),
    ],
)
def test_sizes_that_do_not_fit_are_refused(archive, arguments, message):
    with pytest.raises(DataError, match=message):
        cifar10(**arguments)


def test_prepare_scales_to_the_unit_range_and_survives_pickling(archive):
    data = cifar10(train=10, validation=10)
    assert pickle.loads(pickle.dumps(data.prepare)) is unit_range
    inputs = data.inputs(np.array([[0, 51, 255]], dtype=np.uint8))
    np.testing.assert_array_equal(inputs, np.array([[0.0, 0.2, 1.0]], dtype=np.float32))


# Sources


def test_missing_archive_says_where_it_was_looked_for_and_how_to_mend_it(folders):
    with pytest.raises(DataMissingError) as caught:
        cifar10()
    message = str(caught.value)
    for part in (str(folders), "cifar10_jpeg.npz", "train_offsets", "MPSEARCH_DATA", "cs.toronto.edu"):
        assert part in message
    assert str(folders.parent / "cache" / "mpsearch") in message
    assert isinstance(caught.value, FileNotFoundError)


@pytest.mark.parametrize("place", ["data_folder/data", "cache/mpsearch"])
def test_archive_is_found_in(place, archive):
    target = archive.parent.parent / place / archive.name
    target.parent.mkdir(parents=True)
    archive.rename(target)
    assert len(cifar10(train=10, validation=10).train) == 10


def test_keras_cache_is_used_with_alternating_classes(folders, monkeypatch):
    calls = []
    labels = np.array([[1], [1], [0], [1], [0], [0]], dtype=np.uint8)
    images = np.zeros((6, 32, 32, 3), dtype=np.uint8) + np.arange(6, dtype=np.uint8)[:, None, None, None]

    def load_data():
        calls.append(1)
        return (images, labels), (images + 100, labels)

    fake = ModuleType("keras")
    fake.datasets = SimpleNamespace(cifar10=SimpleNamespace(load_data=load_data))
    monkeypatch.setitem(sys.modules, "keras", fake)
    with pytest.raises(DataMissingError):
        cifar10(validation=2)
    assert not calls  # a download would have started here

    download = folders.parent / "keras" / "datasets" / "cifar-10-batches-py-target_archive"
    download.parent.mkdir(parents=True)
    download.touch()
    data = cifar10(validation=2)
    assert data.train.y.tolist() == [0, 1, 0, 1]
    assert values(data.train.x) == [2, 0, 4, 1]
    assert data.validation.y.tolist() == [0, 1]
    assert values(data.test.x) == [102, 100, 104, 101, 105, 103]


# Archive


def test_only_the_needed_images_are_decoded(write_archive):
    images = [index % 10 for index in range(2400)]
    write_archive([*images[:1500], b"no JPEG at all", *images[1501:]])
    data = cifar10(train=500, validation=300)
    assert values(data.train.x) == images[:500]
    assert values(data.validation.x) == images[2100:]
    with pytest.raises(DataError, match=r"image 1500 of `train` in .*cifar10_jpeg\.npz isn't a whole JPEG"):
        cifar10(train=1001, validation=300)


def test_decoded_images_are_cached_outside_of_the_data_folder(archive, monkeypatch):
    first = cifar10(train=10, validation=20)
    cache = archive.parent.parent / "cache" / "mpsearch" / "decoded"
    assert sorted(path.name for path in cache.glob("*/*")) == ["test-000000.npy", "train-000000.npy"]
    assert [path.name for path in archive.parent.iterdir()] == [archive.name]

    monkeypatch.setattr(JpegArchive, "_decode", lambda *_: pytest.fail("decoded again"))
    assert cifar10(train=10, validation=20).fingerprint == first.fingerprint


def test_cache_of_another_archive_is_not_used(archive, write_archive):
    cifar10(train=10, validation=20)
    before = archive.stat()
    write_archive(train=[255 - index for index in range(60)])
    os.utime(archive, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert values(cifar10(train=10, validation=20).train.x) == [255 - index for index in range(10)]


def test_damaged_cache_file_is_named(archive):
    cifar10(train=10, validation=20)
    file = next((archive.parent.parent / "cache").glob("mpsearch/decoded/*/train-000000.npy"))
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(DataError, match=r"train-000000\.npy can't be read.*delete it"):
        cifar10(train=10, validation=20)
    np.save(file, np.zeros((1, 2), dtype=np.uint8))
    with pytest.raises(DataError, match=r"train-000000\.npy must be uint8 \(60, 32, 32, 3\)"):
        cifar10(train=10, validation=20)


def test_cache_that_can_not_be_written_is_done_without(archive, monkeypatch, caplog):
    blocked = archive.parent.parent / "blocked"
    blocked.write_text("a file where the cache folder should be")
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    assert values(cifar10(train=10, validation=20).train.x) == list(range(10))
    assert "decoded anew each time" in caplog.text


def test_interrupted_write_leaves_nothing_behind(archive, monkeypatch):
    def fail(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("mpsearch.datasets.decoded.os.replace", fail)
    with pytest.raises(KeyboardInterrupt):
        cifar10(train=10, validation=20)
    assert not list((archive.parent.parent / "cache").rglob("*.npy"))
    assert not list((archive.parent.parent / "cache").rglob("*.tmp"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.pop("train_offsets"), "must hold the array `train_offsets`, but holds"),
        (lambda a: a.pop("test_labels"), "must hold the array `test_labels`"),
        (lambda a: a.update(train_jpeg=a["train_jpeg"].astype(np.int16)), "must be flat uint8, but is int16"),
        (lambda a: a.update(train_offsets=a["train_offsets"][:-1]), "must hold 61 integers"),
        (lambda a: a.update(train_offsets=a["train_offsets"] + 1), "must rise from 0 to"),
        (lambda a: a.update(train_offsets=a["train_offsets"] * 1.0), "61 integers.*float64"),
    ],
)
def test_malformed_archive_is_refused(write_archive, change, message):
    write_archive(change=change)
    with pytest.raises(DataError, match=message):
        cifar10(train=10, validation=20)


def test_image_of_another_size_is_refused(write_archive):
    write_archive(train=[np.zeros((32, 31, 3), dtype=np.uint8)] * 60)
    with pytest.raises(DataError, match=r"image 0 of `train`.*must be uint8 \(32, 32, 3\)"):
        cifar10(train=10, validation=20)


def test_truncated_image_is_refused(write_archive):
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    content = io.BytesIO()
    pytest.importorskip("PIL.Image").fromarray(noise).save(content, "JPEG")
    write_archive(train=[*range(7), content.getvalue()[:-200], *range(8, 60)])
    with pytest.raises(DataError, match=r"image 7 of `train`.*isn't a whole JPEG"):
        cifar10(train=10, validation=20)


@pytest.mark.parametrize("keep", [0, 0.5, 0.999])
def test_truncated_archive_is_refused(archive, keep):
    content = archive.read_bytes()
    archive.write_bytes(content[: int(keep * len(content))])
    with pytest.raises(DataError, match=r"cifar10_jpeg\.npz isn't a whole \.npz archive"):
        cifar10(train=10, validation=20)


def test_flipped_byte_in_an_archive_is_noticed(archive):
    content = bytearray(archive.read_bytes())
    content[len(content) // 3] ^= 0xFF
    archive.write_bytes(content)
    with pytest.raises(DataError, match=r"isn't a whole \.npz archive.*CRC"):
        cifar10(train=10, validation=20)


# The real archive


def test_real_archive(tmp_path, monkeypatch):
    folders = [Path(os.environ["MPSEARCH_DATA"])] if "MPSEARCH_DATA" in os.environ else []
    folders.append(ROOT.parent / "shared")
    paths = [path for folder in folders for path in folder.glob("**/cifar10_jpeg.npz")]
    if not paths:
        pytest.skip(f"no cifar10_jpeg.npz below {' or '.join(map(str, folders))}: set MPSEARCH_DATA")
    monkeypatch.setenv("MPSEARCH_DATA", str(paths[0].parent))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    archive = JpegArchive(paths[0], (32, 32, 3), tmp_path)
    assert len(archive.labels("train")) == 50_000
    assert len(archive.labels("test")) == 10_000
    for split in ("train", "test"):
        np.testing.assert_array_equal(archive.labels(split), np.arange(len(archive.labels(split))) % 10)
    images = archive.images("test", 9900, 10_000)
    assert images.shape == (100, 32, 32, 3)
    assert 100 < images.mean() < 140  # CIFAR-10's mean is 121
    assert len(np.unique(images.reshape(100, -1), axis=0)) == 100


def test_importing_the_datasets_imports_nothing_heavy():
    heavy = "{'keras', 'tensorflow', 'sklearn', 'PIL'}"
    code = f"import sys, mpsearch.datasets; assert not {heavy} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ | {"PYTHONPATH": str(ROOT)})
