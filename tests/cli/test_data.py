"""`mpsearch data`: what there is, what it says of one, and a download typed as a user would."""

import json
import sys

import pytest

from mpsearch.datasets import sources
from mpsearch.progress import DownloadProgress
from tests.fileserver import redirected, serving

FILES = {one.file: bytes(range(256)) * 20 for one in sources.SOURCES["mnist"].downloads}


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Data folders of the test's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPSEARCH_DATA", str(tmp_path / "mine"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setenv("no_proxy", "*")
    return tmp_path


@pytest.fixture
def served(here, monkeypatch):
    """MNIST at a server on this machine."""
    with serving(FILES) as address:
        monkeypatch.setitem(sources.SOURCES, "mnist", redirected("mnist", address, FILES))
        yield here


def test_the_table_says_which_datasets_are_there_and_where(mpsearch, here):
    (here / "mine").mkdir()
    (here / "mine" / "fsdd_8khz.npz").write_bytes(bytes(2_500_000))
    (here / "mine" / "mnist").mkdir()
    (here / "keras" / "datasets").mkdir(parents=True)
    (here / "keras" / "datasets" / "cifar-10-batches-py-target_archive").write_bytes(b"12345")
    code, out, _ = mpsearch("data")
    lines = {line.split()[0]: line.split() for line in out.splitlines() if line.strip()}
    assert code == 0
    assert lines["digits"][1:3] == ["by", "scikit-learn"]
    assert lines["fsdd"][1:6] == ["yes", "2.5", "MB", "–", str(here / "mine" / "fsdd_8khz.npz")]
    assert lines["mnist"][1:3] == ["in", "part"]
    assert lines["fashion_mnist"][1:5] == ["no", "–", "30.9", "MB"]
    assert lines["cifar10"][1:4] == ["yes", "5", "bytes"]
    assert lines["image_folder"][1] == "–"
    _, out, _ = mpsearch("data", "--json")
    found = {one["name"]: one for one in json.loads(out)}
    assert set(found) == set(sources.SOURCES)
    assert (found["fsdd"]["there"], found["fsdd"]["bytes"]) == (True, 2_500_000)
    assert found["mnist"]["missing"][0] == "train-images-idx3-ubyte"
    assert (found["mnist"]["there"], found["image_folder"]["there"], found["digits"]["there"]) == (False, None, True)


def test_of_one_it_says_where_it_looks_what_it_expects_and_how_to_get_it(mpsearch, here):
    _, out, _ = mpsearch("data", "fashion_mnist")
    assert out.splitlines() == [
        "fashion_mnist: 70,000 pieces of clothing, grey, 28×28, 10 classes",
        "there:     no",
        f"looked in: {here / 'mine' / 'fashion-mnist'}",
        f"           {here / 'mine' / 'data' / 'fashion-mnist'}",
        f"           {here / 'cache' / 'mpsearch' / 'fashion-mnist'}",
        f"           {here / 'keras' / 'datasets' / 'fashion-mnist'}",
        "layout:    train- and t10k-, each with images-idx3-ubyte and labels-idx1-ubyte, plain or .gz",
        "source:    github.com/zalandoresearch/fashion-mnist",
        "licence:   MIT",
        "by hand:   put its four files into a folder `fashion-mnist` in MPSEARCH_DATA",
        "download:  mpsearch data fashion_mnist --download (30.9 MB)",
    ]
    (here / "mine" / "fashion-mnist").mkdir(parents=True)
    _, out, _ = mpsearch("data", "fashion_mnist")
    assert f"there:     {here / 'mine' / 'fashion-mnist'}, but lacks train-images-idx3-ubyte, " in out
    assert "there:     by scikit-learn\n" in mpsearch("data", "digits")[1]


def test_a_download_shows_its_bytes_and_a_second_one_does_nothing(mpsearch, served):
    code, out, err = mpsearch("data", "mnist", "--download")
    lines = out.splitlines()
    assert (code, err) == (0, "")
    assert lines[:2] == [f"train-images-idx3-ubyte.gz: {done} bytes of 5,120" for done in ("0", "5,120")]
    assert lines[-1] == f"mnist is now in {served / 'mine' / 'mnist'}"
    assert {path.name: path.read_bytes() for path in (served / "mine" / "mnist").iterdir()} == FILES
    _, out, _ = mpsearch("data", "mnist", "--download")
    assert out == f"mnist is there already, in {served / 'mine' / 'mnist'}: nothing to do\n"


@pytest.mark.parametrize("option", ["--quiet", "--json"])
def test_a_quiet_download_shows_no_progress(mpsearch, served, option):
    _, out, _ = mpsearch("data", "mnist", "--download", option)
    if option == "--quiet":
        assert out == f"mnist is now in {served / 'mine' / 'mnist'}\n"
    else:
        assert json.loads(out)["there"] is True


def test_a_terminal_has_a_bar(capsys, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    with DownloadProgress() as progress:
        progress("a.gz", 0, 2_000_000)
        progress("a.gz", 2_000_000, 2_000_000)
    assert "2.0/2.0 MB" in capsys.readouterr().out


def test_a_long_file_has_a_line_for_each_tenth_and_one_without_an_end_for_each_64_mib(capsys):
    progress = DownloadProgress()
    for done in range(0, 1001):
        progress("a", done, 1000)
    for done in range(0, 1 << 28, 1 << 20):
        progress("b", done, None)
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == ["a: 0 bytes of 1,000", "a: 100 bytes of 1,000", "a: 200 bytes of 1,000"]
    assert lines[10] == "a: 1,000 bytes of 1,000"
    assert lines[11:13] == ["b: 0 bytes", "b: 67,108,864 bytes"]
    assert len(lines) == 15


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("nmist",), 1, "error: there is no dataset `nmist`: did you mean mnist?"),
        (("--download",), 2, "--download needs the name of a dataset"),
        (("fsdd", "--download"), 1, "error: fsdd has no download; to get it: make fsdd_8khz.npz of the WAV files"),
        (("image_folder", "--download"), 1, "image_folder has no download; to get it: put your images into such"),
    ],
)
def test_errors_say_what_to_do(mpsearch, here, words, code, message):
    found, out, err = mpsearch("data", *words)
    assert (found, out) == (code, "")
    assert message in err


def test_a_failed_download_is_an_error_and_leaves_nothing(mpsearch, served, monkeypatch):
    name = "t10k-labels-idx1-ubyte.gz"
    monkeypatch.setitem(FILES, name, b"changed on its way")
    code, _, err = mpsearch("data", "mnist", "--download", "--quiet")
    assert code == 1
    assert f"{name} must have the sha256 checksum " in err
    assert not list((served / "mine").iterdir())


def test_what_comes_with_a_package_needs_no_download(mpsearch, here):
    assert mpsearch("data", "digits", "--download")[1] == "digits is there already, by scikit-learn: nothing to do\n"
