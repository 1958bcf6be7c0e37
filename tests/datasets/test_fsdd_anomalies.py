"""Spoken digits with anomalies, from a small archive and from the whole one."""

import sys

import numpy as np
import pytest

from mpsearch import datasets
from mpsearch.datasets.audio import log_mel
from mpsearch.errors import DataError, DataMissingError


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with an archive of one speaker's twelve takes of ten digits."""
    monkeypatch.setenv("MPSEARCH_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    lengths = rng.integers(1100, 3000, 120)
    arrays = {
        "pcm": rng.integers(-9000, 9000, lengths.sum()).astype(np.int16),
        "offsets": np.concatenate([[0], np.cumsum(lengths)]),
        "labels": np.tile(np.arange(10, dtype=np.uint8), 12),
        "takes": np.repeat(np.arange(12, dtype=np.uint8), 10),
    }
    np.savez(tmp_path / "fsdd_8khz.npz", **arrays)
    return arrays


def recordings_of(split):
    return sorted(set(map(tuple, split.y.tolist())))


def test_anomalous_digits_are_in_the_test_split_alone(here):
    data = datasets.fsdd_anomalies(anomalous=(3, 4))
    assert data.reconstructs
    assert recordings_of(data.test) == [(number, int(number % 10 in (3, 4))) for number in range(50)]
    normal = [number for number in range(120) if number % 10 not in (3, 4)]
    assert recordings_of(data.validation) == [(number, 0) for number in normal if 50 <= number < 100]
    assert recordings_of(data.train) == [(number, 0) for number in normal if number >= 100]


def test_samples_are_five_neighbouring_frames_of_a_recording(here):
    data = datasets.fsdd_anomalies()
    for number in (0, 8, 49):
        start, stop = here["offsets"][number : number + 2]
        frames = log_mel(here["pcm"][start:stop].astype(np.float32) / 2**15, 8000, 512, 128)
        found = data.test.x[data.test.y[:, 0] == number]
        assert len(found) == len(frames) - 4 == 1 + (stop - start) // 128 - 4
        np.testing.assert_allclose(found.reshape(-1, 5, 128)[:, 0], frames[:-4], atol=1e-3)
        np.testing.assert_allclose(found.reshape(-1, 5, 128)[:, 4], frames[4:], atol=1e-3)


def test_the_deviation_is_that_of_all_training_frames_and_frames_are_kept(here, monkeypatch):
    data = datasets.fsdd_anomalies(deviation=2.0)
    ends = np.flatnonzero(np.diff(data.train.y[:, 0], append=-1))
    x = data.inputs(data.train.x).reshape(-1, 5, 128)
    frames = np.concatenate([x[:, 0], *(x[end, 1:] for end in ends)])  # each once
    np.testing.assert_allclose(frames.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(frames.std(0), 2, rtol=1e-4)
    monkeypatch.setattr(sys.modules["mpsearch.datasets.fsdd_anomalies"], "log_mel", None)
    assert datasets.fsdd_anomalies(deviation=2.0).fingerprint == data.fingerprint
    assert datasets.fsdd_anomalies().fingerprint != data.fingerprint
    assert datasets.fsdd_anomalies(anomalous=(1,)).fingerprint != data.fingerprint


@pytest.mark.parametrize("digits", [(), tuple(range(10)), (10,)])
def test_some_digits_must_be_anomalous_and_some_normal(here, digits):
    with pytest.raises(DataError, match="some of the digits 0 to 9, and not all"):
        datasets.fsdd_anomalies(anomalous=digits)


def test_a_recording_that_is_too_short_is_named(here, tmp_path):
    offsets = here["offsets"].copy()
    offsets[8] = offsets[7] + 511
    np.savez(tmp_path / "fsdd_8khz.npz", **{**here, "offsets": offsets})
    with pytest.raises(DataError, match=r"recording 7 of fsdd_8khz\.npz has 511 samples, but needs 512"):
        datasets.fsdd_anomalies()
    offsets[8] += 1
    np.savez(tmp_path / "fsdd_8khz.npz", **{**here, "offsets": offsets})
    assert (datasets.fsdd_anomalies(anomalous=(0,)).test.y[:, 0] == 7).sum() == 1


def test_what_is_missing_is_named_with_its_source(tmp_path, monkeypatch):
    monkeypatch.setenv("MPSEARCH_DATA", str(tmp_path))
    with pytest.raises(DataMissingError, match=r"fsdd_8khz\.npz, which is in none of: .*free-spoken-digit"):
        datasets.fsdd_anomalies()


def test_the_whole_archive_has_its_official_test_split(shared, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("MPSEARCH_DATA", str(shared))
    data = datasets.fsdd_anomalies()
    parts = [recordings_of(part) for part in (data.train, data.validation, data.test)]
    assert [len(part) for part in parts] == [1680, 210, 300]
    assert sum(kind for _, kind in parts[2]) == 90
    assert np.isfinite(data.inputs(data.train.x)).all()
