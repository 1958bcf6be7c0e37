"""Spoken digits."""

import sys

import numpy as np
import pytest

from mpsearch import datasets
from mpsearch.datasets.audio import mfcc
from mpsearch.errors import DataError, DataMissingError


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Data and cache folders of the test's own."""
    monkeypatch.setenv("MPSEARCH_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def archive(folder, **changed):
    """A small archive: two speakers, twelve takes of ten digits."""
    rng = np.random.default_rng(0)
    labels = np.tile(np.arange(10, dtype=np.uint8), 24)
    takes = np.repeat(np.arange(12, dtype=np.uint8), 20)
    lengths = rng.integers(500, 9000, len(labels))
    arrays = {
        "pcm": rng.integers(-9000, 9000, lengths.sum()).astype(np.int16),
        "offsets": np.concatenate([[0], np.cumsum(lengths)]),
        "labels": labels,
        "speakers": np.array(["a", "b"] * 120),
        "takes": takes,
    } | changed
    np.savez(folder / "fsdd_8khz.npz", **{name: array for name, array in arrays.items() if array is not None})
    return arrays


def test_takes_divide_the_recordings_and_features_are_kept(here, monkeypatch):
    made = archive(here)
    data = datasets.fsdd()
    assert [len(part) for part in (data.train, data.validation, data.test)] == [40, 100, 100]
    assert data.train.x.shape == (40, 49, 10, 1)
    assert data.train.y[:20].tolist() == [*range(10), *range(10)]
    clip = made["pcm"][: made["offsets"][1]][:8000].astype(np.float32) / 2**15
    clip = np.pad(clip, (0, 8000 - len(clip)))
    np.testing.assert_allclose(data.test.x[0], mfcc(clip[np.newaxis], 8000)[0], atol=1e-5)
    inputs = data.inputs(data.train.x)
    np.testing.assert_allclose(inputs.mean((0, 1, 3)), 0, atol=1e-4)
    np.testing.assert_allclose(inputs.std((0, 1, 3)), 1, atol=1e-4)
    monkeypatch.setattr(sys.modules["mpsearch.datasets.fsdd"], "mfcc", None)
    assert datasets.fsdd().fingerprint == data.fingerprint
    assert len(datasets.fsdd(train=20).train) == 20


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"takes": None}, "has no takes"),
        ({"labels": None}, "has no labels"),
        ({"offsets": np.arange(241)}, "don't fit together"),
        ({"labels": np.full(240, 10)}, "don't fit together"),
    ],
)
def test_a_malformed_archive_is_named(here, changed, message):
    archive(here, **changed)
    with pytest.raises(DataError, match=rf"fsdd_8khz\.npz .*{message}"):
        datasets.fsdd()


def test_what_is_missing_is_named_with_its_source(here):
    with pytest.raises(DataMissingError, match=r"the file fsdd_8khz\.npz, which is in none of: .*free-spoken-digit"):
        datasets.fsdd()


@pytest.mark.parametrize("damage", ["not an archive", "cut", "a byte changed"])
def test_a_damaged_archive_is_named(here, damage):
    archive(here)
    path = here / "fsdd_8khz.npz"
    content = bytearray(path.read_bytes())
    content[5000] ^= 255
    damaged = {"not an archive": b"PK", "cut": content[: len(content) // 2], "a byte changed": content}
    path.write_bytes(damaged[damage])
    with pytest.raises(DataError, match=r"isn't a whole \.npz archive"):
        datasets.fsdd()


def test_more_recordings_than_there_are_is_refused(here):
    archive(here)
    with pytest.raises(DataError, match="`1 <= train <= 40` must hold, but got 41"):
        datasets.fsdd(train=41)


def test_the_whole_archive_has_its_official_test_split(shared, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("MPSEARCH_DATA", str(shared))
    data = datasets.fsdd()
    assert [len(part) for part in (data.train, data.validation, data.test)] == [2400, 300, 300]
    assert np.bincount(data.test.y).tolist() == [30] * 10
