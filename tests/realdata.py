"""Small subsets of real data, in the formats that the loaders read."""

import gzip
import struct
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from mpsearch.datasets import CIFAR10_CLASSES


def write_cifar10(shared: Path, folder: Path, train: int = 96, test: int = 64) -> None:
    """The first images of CIFAR-10, which are balanced, as an archive of their own."""
    arrays = {}
    with np.load(shared / "data" / "cifar10_jpeg.npz") as whole:
        for split, count in (("train", train), ("test", test)):
            offsets = whole[f"{split}_offsets"][: count + 1]
            arrays[f"{split}_offsets"] = offsets
            arrays[f"{split}_jpeg"] = whole[f"{split}_jpeg"][: offsets[-1]]
            arrays[f"{split}_labels"] = whole[f"{split}_labels"][:count]
    np.savez(folder / "cifar10_jpeg.npz", **arrays)


def write_images(shared: Path, folder: Path, classes: Sequence[str], count: int) -> None:
    """Photos of CIFAR-10 in a folder for each class, JPEG and PNG in turn.

    Args:
        shared: the folder of shared data.
        folder: to write to.
        classes: names of folders. CIFAR-10's own classes are kept; with `person` and `non_person` the animals stand
            for persons; others go by the position of an image in the data set.
        count: images of each class.
    """
    written = dict.fromkeys(classes, 0)
    for index, (label, jpeg) in enumerate(_test_images(shared)):
        own = CIFAR10_CLASSES[label]
        if own in written:
            name = own
        elif set(classes) == {"person", "non_person"}:
            name = "person" if own in ("bird", "cat", "deer", "dog", "frog", "horse") else "non_person"
        else:
            name = classes[index % len(classes)]
        if written[name] < count:
            (folder / name).mkdir(parents=True, exist_ok=True)
            if index % 2:
                (folder / name / f"{index:05d}.jpg").write_bytes(jpeg)
            else:
                Image.open(BytesIO(jpeg)).save(folder / name / f"{index:05d}.png")
            written[name] += 1
        if min(written.values()) == count:
            return


def _test_images(shared: Path) -> Iterator[tuple[int, bytes]]:
    """Labels and JPEG files of CIFAR-10's test images."""
    with np.load(shared / "data" / "cifar10_jpeg.npz") as whole:
        jpeg, offsets, labels = (whole[f"test_{name}"] for name in ("jpeg", "offsets", "labels"))
    for label, start, stop in zip(labels, offsets[:-1], offsets[1:], strict=True):
        yield int(label), jpeg[start:stop].tobytes()


def write_fashion_mnist(folder: Path, train: int = 96, test: int = 32) -> None:
    """Handwritten digits of scikit-learn, enlarged to 28×28, as the four files of Fashion-MNIST."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    enlarged = np.kron(images.reshape(-1, 8, 8) * 255 / 16, np.ones((3, 3))).astype(np.uint8)
    framed = np.pad(enlarged, ((0, 0), (2, 2), (2, 2)))
    (folder / "fashion-mnist").mkdir()
    for part, chosen in (("train", slice(train)), ("t10k", slice(train, train + test))):
        for kind, array in (("images-idx3", framed[chosen]), ("labels-idx1", labels[chosen].astype(np.uint8))):
            head = bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape)
            path = folder / "fashion-mnist" / f"{part}-{kind}-ubyte.gz"
            path.write_bytes(gzip.compress(head + array.tobytes(), 1))


def write_fsdd(shared: Path, folder: Path, takes: Sequence[int] = (0, 5, 10, 11)) -> None:
    """Spoken digits: some takes of all speakers, one for test, one for validation, others for training."""
    with np.load(shared / "data" / "fsdd_8khz.npz") as whole:
        chosen = np.flatnonzero(np.isin(whole["takes"], takes))
        pcm, offsets = whole["pcm"], whole["offsets"]
        clips = [pcm[offsets[index] : offsets[index + 1]] for index in chosen]
        arrays = {name: whole[name][chosen] for name in ("labels", "takes")}
    bounds = np.cumsum([0, *map(len, clips)])
    np.savez(folder / "fsdd_8khz.npz", pcm=np.concatenate(clips), offsets=bounds, **arrays)
