"""Sources: of each dataset where it comes from, which files it needs, and where they are on this machine."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mpsearch.errors import DataError
from mpsearch.folders import data_folders, keras_folder
from mpsearch.suggestions import suggestion

_IDX = tuple(
    (f"{part}-{kind}-ubyte", f"{part}-{kind}-ubyte.gz")
    for part in ("train", "t10k")
    for kind in ("images-idx3", "labels-idx1")
)
_IDX_LAYOUT = "train- and t10k-, each with images-idx3-ubyte and labels-idx1-ubyte, plain or .gz"
_SPEECH = (
    *("down", "go", "left", "no", "off", "on", "right", "stop", "up", "yes"),
    *("_background_noise_", "validation_list.txt", "testing_list.txt"),
)


@dataclass(frozen=True)
class Download:
    """A file at a public address.

    Attributes:
        url: the address.
        checksum: of the file: `md5:…` or `sha256:…`, in hex digits.
        top: folder in the archive that holds the data, "" for the archive itself; None for a file that is no archive
            and is kept as it is.
    """

    url: str
    checksum: str
    top: str | None = None

    @property
    def file(self) -> str:
        """Name of the file."""
        return self.url.rsplit("/", 1)[-1]


@dataclass(frozen=True)
class Source:
    """What is known of a dataset.

    Attributes:
        name: of its loader in `mpsearch.datasets`.
        about: what it holds.
        origin: where it comes from.
        licence: None where none is known.
        layout: what is expected in the folder or the file.
        by_hand: how to get it.
        roots: names of its folder or file, in a data folder; none for data without files to look for.
        needs: what its folder must hold, each as alternatives.
        here: whether its folder may lie in the present folder as well.
        keras: name of a folder or file that serves as well, in Keras's folder of downloads.
        provided: what brings it along.
        downloads: what `mpsearch data NAME --download` downloads, into the folder of the first root.
        size: bytes to download.
    """

    name: str
    about: str
    origin: str
    licence: str | None
    layout: str
    by_hand: str
    roots: tuple[str, ...] = ()
    needs: tuple[tuple[str, ...], ...] = ()
    here: bool = False
    keras: str = ""
    provided: str = ""
    downloads: tuple[Download, ...] = ()
    size: int = 0

    @property
    def command(self) -> str:
        """The command that downloads it."""
        return f"mpsearch data {self.name} --download"

    def candidates(self) -> list[Path]:
        """The paths at which it is looked for, in order."""
        places = [*([Path()] if self.here else []), *data_folders()]
        found = [place / root for place in places for root in self.roots]
        return [*found, keras_folder() / self.keras] if self.keras else found

    def missing(self, root: Path) -> list[str]:
        """What a folder lacks of what it must hold."""
        return [names[0] for names in self.needs if not any((root / name).exists() for name in names)]


@dataclass(frozen=True)
class Located:
    """A dataset on this machine.

    Attributes:
        path: its folder or file.
        missing: what it lacks.
    """

    path: Path
    missing: tuple[str, ...]

    @property
    def whole(self) -> bool:
        """Whether it lacks nothing."""
        return not self.missing

    def size(self) -> int:
        """Bytes on disk."""
        files = [self.path] if self.path.is_file() else self.path.rglob("*")
        return sum(file.stat().st_size for file in files if file.is_file())


def locate(source: Source) -> Located | None:
    """The first candidate that is there, whole or not; None where there is none."""
    for path in source.candidates():
        if path.is_dir() if source.needs else path.is_file():
            return Located(path, tuple(source.missing(path)))
    return None


def source_of(name: str) -> Source:
    """The source of a dataset.

    Raises:
        DataError: there is no dataset of this name.
    """
    if name in SOURCES:
        return SOURCES[name]
    hint = suggestion(name, SOURCES) or f"known are {', '.join(SOURCES)}"
    raise DataError(f"there is no dataset `{name}`: {hint}")


def _idx_downloads(folder: str, checksums: Sequence[str]) -> tuple[Download, ...]:
    """Of the four files in the order of `_IDX`."""
    return tuple(
        Download(f"{folder}/{names[1]}", f"md5:{digest}") for names, digest in zip(_IDX, checksums, strict=True)
    )


_ALL = (
    Source(
        name="digits",
        about="1,797 handwritten digits, grey, 8×8",
        origin="UCI Machine Learning Repository, Optical Recognition of Handwritten Digits",
        licence="CC BY 4.0",
        layout="no files: they come with scikit-learn",
        by_hand="nothing to do: they come with scikit-learn",
        provided="scikit-learn",
    ),
    Source(
        name="mnist",
        about="70,000 handwritten digits, grey, 28×28",
        origin="yann.lecun.com/exdb/mnist",
        licence=None,
        layout=_IDX_LAYOUT,
        by_hand="put its four files into a folder `mnist` in MPSEARCH_DATA",
        roots=("mnist",),
        needs=_IDX,
        keras="mnist",
        downloads=_idx_downloads(
            "https://ossci-datasets.s3.amazonaws.com/mnist",
            (
                "f68b3c2dcbeaaa9fbdd348bbdeb94873",
                "d53e105ee54ea40749a09fcbcd1e9432",
                "9fb629c4189551a2d022fa330f9573f3",
                "ec29112dd5afa0611ce80d1b7f02629c",
            ),
        ),
        size=11_594_722,
    ),
    Source(
        name="fashion_mnist",
        about="70,000 pieces of clothing, grey, 28×28, 10 classes",
        origin="github.com/zalandoresearch/fashion-mnist",
        licence="MIT",
        layout=_IDX_LAYOUT,
        by_hand="put its four files into a folder `fashion-mnist` in MPSEARCH_DATA",
        roots=("fashion-mnist",),
        needs=_IDX,
        keras="fashion-mnist",
        downloads=_idx_downloads(
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion",
            (
                "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
                "25c81989df183df01b3e8a0aad5dffbe",
                "bef4ecab320f06d8554ea6380940ec79",
                "bb300cfdad3c16e7a12a480ee83cd310",
            ),
        ),
        size=30_878_645,
    ),
    Source(
        name="cifar10",
        about="60,000 photos, 32×32, 10 classes",
        origin="www.cs.toronto.edu/~kriz/cifar.html",
        licence=None,
        layout="arrays train_jpeg, train_offsets, train_labels and the same for test, as the docstring of "
        "mpsearch.datasets.jpeg_archive.JpegArchive says; or the original images where Keras keeps its downloads",
        by_hand="let Keras download the original images, 170 MB: "
        "python -c 'import keras; keras.datasets.cifar10.load_data()'",
        roots=("cifar10_jpeg.npz",),
        keras="cifar-10-batches-py-target_archive",
    ),
    Source(
        name="cifar10_vww",
        about="CIFAR-10 as animals against vehicles, enlarged to 96×96",
        origin="www.cs.toronto.edu/~kriz/cifar.html",
        licence=None,
        layout="the files of cifar10: mpsearch data cifar10",
        by_hand="as cifar10: mpsearch data cifar10",
        roots=("cifar10_jpeg.npz",),
        keras="cifar-10-batches-py-target_archive",
    ),
    Source(
        name="fsdd",
        about="3,000 spoken digits of six speakers, 8 kHz",
        origin="github.com/Jakobovski/free-spoken-digit-dataset",
        licence="CC BY-SA 4.0",
        layout="arrays pcm (int16, all recordings one after another), offsets (int64, n + 1), labels and takes",
        by_hand="make fsdd_8khz.npz of the WAV files of its repository, and put it into MPSEARCH_DATA",
        roots=("fsdd_8khz.npz",),
    ),
    Source(
        name="fsdd_anomalies",
        about="the recordings of fsdd, some digits as anomalies",
        origin="github.com/Jakobovski/free-spoken-digit-dataset",
        licence="CC BY-SA 4.0",
        layout="as fsdd",
        by_hand="as fsdd: mpsearch data fsdd",
        roots=("fsdd_8khz.npz",),
    ),
    Source(
        name="speech_commands",
        about="105,829 spoken words, 16 kHz, 12 classes",
        origin="arXiv:1804.03209",
        licence="CC BY 4.0",
        layout="a folder for each word with its WAV files, _background_noise_, validation_list.txt, testing_list.txt",
        by_hand="unpack speech_commands_v0.02.tar.gz into a folder `speech_commands_v0.02` in MPSEARCH_DATA",
        roots=("speech_commands_v0.02", "speech_commands"),
        needs=tuple((name,) for name in _SPEECH),
        here=True,
        downloads=(
            Download(
                "https://storage.googleapis.com/download.tensorflow.org/data/speech_commands_v0.02.tar.gz",
                "sha256:af14739ee7dc311471de98f5f9d2c9191b18aedfe957f4a6ff791c709868ff58",
                top="",
            ),
        ),
        size=2_428_923_189,
    ),
    Source(
        name="visual_wake_words",
        about="about 110,000 photos, 96×96, with a person or without",
        origin="training/visual_wake_words of github.com/mlcommons/tiny, made of COCO 2014",
        licence=None,
        layout="folders non_person and person with their images; or train, validation and test with these",
        by_hand="unpack vw_coco2014_96.tar.gz into MPSEARCH_DATA",
        roots=("vw_coco2014_96",),
        needs=(("non_person", "train/non_person"), ("person", "train/person")),
        here=True,
        downloads=(
            Download(
                "https://www.silabs.com/public/files/github/machine_learning/benchmarks/datasets/vw_coco2014_96.tar.gz",
                "sha256:f8746b9e44f8a7a4293f73be9ba6e8da9239fe69798d42364aae62b915cfab58",
                top="vw_coco2014_96",
            ),
        ),
        size=234_810_765,
    ),
    Source(
        name="machine_sounds",
        about="sounds of toy cars (ToyCar), some of them broken, 16 kHz",
        origin="zenodo.org/records/3678171, DCASE 2020 challenge, task 2",
        licence="CC BY-NC-SA 4.0",
        layout="folders train (normal sounds) and test (normal and anomalous ones) with their WAV files",
        by_hand="unpack dev_data_ToyCar.zip into MPSEARCH_DATA",
        roots=("ToyCar", "dev_data/ToyCar", "dcase2020_task2/ToyCar"),
        needs=(("train",), ("test",)),
        here=True,
        downloads=(
            Download(
                "https://zenodo.org/records/3678171/files/dev_data_ToyCar.zip",
                "md5:4dec75ca8d9f666aa9e4c1894a740501",
                top="ToyCar",
            ),
        ),
        size=1_816_443_231,
    ),
    Source(
        name="image_folder",
        about="images of your own, of any size",
        origin="your own folder",
        licence=None,
        layout="a folder for each class with its images; or train, validation and test with these",
        by_hand="put your images into such folders, in the present folder or in MPSEARCH_DATA",
    ),
)
SOURCES = {source.name: source for source in _ALL}
