"""Downloads, from a server on this machine: what is unpacked is what the loaders read."""

import errno
import gzip
import io
import stat
import struct
import tarfile
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from mpsearch import datasets
from mpsearch.datasets import sources
from mpsearch.datasets.download import download
from mpsearch.datasets.sources import SOURCES, Download, locate, source_of
from mpsearch.errors import DataError, DataMissingError
from tests.fileserver import redirected, serving


@pytest.fixture
def here(folders, monkeypatch):
    """A data folder of the test's own, which is the present folder as well."""
    monkeypatch.chdir(folders)
    monkeypatch.setenv("no_proxy", "*")
    return folders


def idx_files(count=12):
    """The four files of MNIST, compressed; each image has its class for a grey value."""
    labels = (np.arange(count) % 10).astype(np.uint8)
    images = np.repeat(labels, 784).reshape(-1, 28, 28)

    def idx(array):
        head = bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape)
        return gzip.compress(head + array.tobytes())

    return {
        f"{part}-{kind}-ubyte.gz": idx(array)
        for part in ("train", "t10k")
        for kind, array in (("images-idx3", images), ("labels-idx1", labels))
    }


def tar_of(folder, top):
    """The files of a folder as a .tar.gz, under `top`."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        archive.add(folder, top)
    return buffer.getvalue()


def got(name, files, **options):
    """Download a dataset from a server that has these files."""
    heard = []
    with serving(files, **options) as address:
        path = download(redirected(name, address, files), lambda *progress: heard.append(progress))
    return path, heard


def nothing_is_left(folder):
    return not folder.exists() or not list(folder.iterdir())


def test_fashion_mnist_is_downloaded_with_its_progress_and_loads(here):
    files = idx_files()
    path, heard = got("fashion_mnist", files)
    assert path == here / "fashion-mnist"
    assert sorted(file.name for file in path.iterdir()) == sorted(files)
    assert [entry.name for entry in here.iterdir()] == ["fashion-mnist"]
    for file, content in files.items():
        assert [done for name, done, total in heard if name == file and total == len(content)] == [0, len(content)]
    data = datasets.fashion_mnist(validation=2)
    assert [len(part) for part in (data.train, data.validation, data.test)] == [10, 2, 12]
    np.testing.assert_array_equal(data.train.x[:, 3, 3], data.train.y)
    assert locate(SOURCES["fashion_mnist"]).size() == sum(map(len, files.values()))


def test_without_a_data_folder_of_ones_own_the_cache_is_taken(here, monkeypatch, tmp_path):
    monkeypatch.delenv("MPSEARCH_DATA")
    path, _ = got("mnist", idx_files())
    assert path == tmp_path / "cache" / "mpsearch" / "mnist"
    assert len(datasets.mnist(validation=2).train) == 10


def test_speech_commands_has_no_folder_in_its_archive_and_loads(here, tmp_path, write_speech_commands):
    made = write_speech_commands(tmp_path / "made")
    path, _ = got("speech_commands", {"speech_commands_v0.02.tar.gz": tar_of(made, ".")})
    assert path == here / "speech_commands_v0.02"
    assert stat.S_IMODE(path.stat().st_mode) & 0o500 == 0o500
    assert len(datasets.speech_commands().train) == 60


def test_visual_wake_words_loads(here, tmp_path):
    for name, grey in (("non_person", 0), ("person", 200)):
        (tmp_path / "made" / name).mkdir(parents=True)
        for index in range(5):
            Image.new("RGB", (96, 96), (grey,) * 3).save(tmp_path / "made" / name / f"{index}.jpg")
    path, _ = got("visual_wake_words", {"vw_coco2014_96.tar.gz": tar_of(tmp_path / "made", "vw_coco2014_96")})
    assert path == here / "vw_coco2014_96"
    data = datasets.visual_wake_words()
    np.testing.assert_array_equal(data.train.x.max((1, 2, 3)) > 100, data.train.y == 1)


def zip_of(*names):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, b"RIFF")
    return buffer.getvalue()


def test_the_toy_cars_are_unpacked(here):
    names = ("ToyCar/train/normal_id_01_00000000.wav", "ToyCar/test/anomaly_id_01_00000000.wav")
    path, _ = got("machine_sounds", {"dev_data_ToyCar.zip": zip_of(*names)})
    assert sorted(str(file.relative_to(here)) for file in path.rglob("*.wav")) == sorted(names)


def climbing_tar():
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        archive.addfile(tarfile.TarInfo("../../climbed"), io.BytesIO())
    return buffer.getvalue()


CARS, PHOTOS = ("machine_sounds", "dev_data_ToyCar.zip"), ("visual_wake_words", "vw_coco2014_96.tar.gz")
WRONG = {
    "up": (CARS, zip_of("../../climbed"), r"holds `\.\./\.\./climbed`, which lies outside of its folder"),
    "absolute": (CARS, zip_of("/tmp/climbed"), "holds `/tmp/climbed`, which lies outside"),
    "backslash": (CARS, zip_of("..\\climbed"), "which lies outside"),
    "incomplete": (CARS, zip_of("ToyCar/train/a.wav"), r"ToyCar\.zip gave lacks test: nothing of it was kept"),
    "cut zip": (CARS, zip_of("a", "b")[:-30], r"ToyCar\.zip isn't a whole archive"),
    "tar up": (PHOTOS, climbing_tar(), r"holds what an archive of data must not: .*climbed"),
    "cut tar": (PHOTOS, climbing_tar()[:40], r"tar\.gz isn't a whole archive"),
    "no tar": (PHOTOS, b"<html>", r"tar\.gz isn't a whole archive"),
}


@pytest.mark.parametrize("case", WRONG)
def test_an_archive_that_climbs_out_or_is_another_leaves_nothing(here, case):
    (name, file), content, message = WRONG[case]
    with pytest.raises(DataError, match=message):
        got(name, {file: content})
    assert nothing_is_left(here)
    assert not (here.parent / "climbed").exists()


def test_a_wrong_checksum_is_refused_and_leaves_nothing(here):
    files = idx_files()
    with serving(files) as address:
        source = redirected("mnist", address, files | {"t10k-images-idx3-ubyte.gz": b"other"})
        with pytest.raises(DataError, match=r"t10k-images.* must have the sha256 checksum .*; or by hand: put"):
            download(source, lambda *_: None)
    assert nothing_is_left(here)


def test_a_missing_file_a_broken_connection_and_no_network_are_told_apart(here):
    files = idx_files()
    with serving({}) as address:
        source = redirected("mnist", address, files)
        with pytest.raises(DataError, match=r"ubyte\.gz can't be downloaded: the server answers 404 Not Found; or by"):
            download(source, lambda *_: None)
    with pytest.raises(DataError, match=r"can't be reached \(.*refused\): see whether there is a network; or by hand"):
        download(source, lambda *_: None)
    with pytest.raises(DataError, match=r"broke off after [\d,]+ of [\d,]+ bytes: give the same command again"):
        got("mnist", files, lost=10)
    unknown = (replace(source.downloads[0], url="http://mpsearch.invalid/a.gz"),)
    with pytest.raises(DataError, match=r"mpsearch\.invalid/a\.gz can't be reached"):
        download(replace(source, downloads=unknown), lambda *_: None)
    assert nothing_is_left(here)


def test_a_full_disk_and_an_interruption_leave_nothing(here, monkeypatch):
    def failing(error):
        def report(file, done, total):
            if done:
                raise error

        return report

    files = idx_files()
    with serving(files) as address:
        source = redirected("mnist", address, files)
        with pytest.raises(DataError, match=r"the disk of .* is full \([\d,]+ bytes are free, nothing was kept\)"):
            download(source, failing(OSError(errno.ENOSPC, "No space left on device")))
        assert nothing_is_left(here)
        with pytest.raises(KeyboardInterrupt):
            download(source, failing(KeyboardInterrupt()))
        assert nothing_is_left(here)
        with pytest.raises(DataError, match=r"mnist can't be written \(Permission denied\): set MPSEARCH_DATA"):
            download(source, failing(PermissionError(errno.EACCES, "Permission denied")))
    with pytest.raises(DataMissingError, match="mpsearch data mnist --download"):
        datasets.mnist()


def test_a_full_disk_while_unpacking_is_the_disks_fault(here, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(zipfile.ZipFile, "extractall", full)
    with pytest.raises(DataError, match=r"the disk of .* is full"):
        got("machine_sounds", {"dev_data_ToyCar.zip": zip_of("ToyCar/train/a.wav")})
    assert nothing_is_left(here)


def test_what_is_there_in_part_is_neither_whole_nor_replaced(here):
    (here / "mnist").mkdir()
    (here / "mnist" / "train-images-idx3-ubyte").write_bytes(b"mine")
    assert locate(SOURCES["mnist"]).missing == (
        "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte",
    )  # fmt: skip
    assert not locate(SOURCES["mnist"]).whole
    with pytest.raises(DataError, match=r"mnist is there, but lacks train-labels-idx1-ubyte, .*: move it away, then"):
        got("mnist", idx_files())
    assert (here / "mnist" / "train-images-idx3-ubyte").read_bytes() == b"mine"


def test_a_part_in_the_present_folder_that_would_be_found_first_is_named(here, tmp_path, monkeypatch):
    (tmp_path / "elsewhere" / "ToyCar" / "train").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "elsewhere")
    with pytest.raises(DataError, match=r"^ToyCar is there, but lacks test: move it away"):
        got("machine_sounds", {"dev_data_ToyCar.zip": zip_of("ToyCar/train/a.wav", "ToyCar/test/a.wav")})


def test_a_data_folder_that_is_a_file_is_named(here, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("MPSEARCH_DATA", str(tmp_path / "file"))
    with pytest.raises(DataError, match=r"file/mnist can't be written \(.*\): set MPSEARCH_DATA to a folder of yours"):
        got("mnist", idx_files())


def test_of_two_downloads_at_once_the_first_stays(here):
    files = idx_files()

    def report(*_):
        if not (here / "mnist").exists():
            got("mnist", files)

    with serving(files) as address, pytest.raises(DataError, match="another process put it there"):
        download(redirected("mnist", address, files), report)
    assert [entry.name for entry in here.iterdir()] == ["mnist"]


def test_each_loader_has_a_source_and_each_download_a_checksum():
    loaders = {name for name in datasets.__all__ if name.islower()}
    assert set(SOURCES) == loaders
    for source in SOURCES.values():
        assert bool(source.downloads) == bool(source.size)
        for one in source.downloads:
            kind, _, digest = one.checksum.partition(":")
            assert one.url.startswith("https://")
            assert len(bytes.fromhex(digest)) == {"md5": 16, "sha256": 32}[kind]


@pytest.mark.parametrize("name", [name for name, source in SOURCES.items() if source.roots])
def test_the_missing_error_names_the_command_where_there_is_a_download(here, name):
    with pytest.raises(DataMissingError) as error:
        getattr(datasets, name)()
    assert str(error.value).endswith(SOURCES[name].command) == bool(SOURCES[name].downloads)
    assert locate(SOURCES[name]) is None


def test_speech_commands_needs_each_of_its_words():
    assert {(word,) for word in datasets.SPEECH_COMMANDS[:10]} < set(SOURCES["speech_commands"].needs)


def test_an_unknown_dataset_is_named_with_a_guess():
    with pytest.raises(DataError, match="there is no dataset `fashion-mnist`: did you mean fashion_mnist"):
        source_of("fashion-mnist")
    with pytest.raises(DataError, match="there is no dataset `x`: known are digits, mnist, "):
        source_of("x")


def test_a_download_is_called_as_its_file():
    assert Download("https://a.example/b/c.zip", "md5:").file == "c.zip"
    assert sources.SOURCES["machine_sounds"].downloads[0].file == "dev_data_ToyCar.zip"
