"""Speech Commands, from a small folder in its layout."""

import numpy as np
import pytest
import soundfile

from mpsearch import datasets
from mpsearch.datasets.audio import mfcc
from mpsearch.errors import DataError, DataMissingError


@pytest.fixture
def folder(tmp_path, monkeypatch, write_speech_commands):
    monkeypatch.setenv("MPSEARCH_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return write_speech_commands(tmp_path / "speech_commands_v0.02")


def test_parts_are_those_of_the_lists_with_silence_and_unknown_words(folder):
    data = datasets.speech_commands()
    assert [len(part) for part in (data.train, data.validation, data.test)] == [60, 12, 12]
    assert np.bincount(data.train.y).tolist() == [5] * 12
    assert data.train.y[:12].tolist() == list(range(12))
    assert data.train.x.shape == (60, 49, 10, 1)
    samples, _ = soundfile.read(folder / "down" / "05_nohash_0.wav", dtype="float32")
    clean = mfcc(np.pad(samples, (0, 8000))[np.newaxis], 16000)[0]
    np.testing.assert_allclose(data.validation.x[0], clean, atol=1e-5)
    np.testing.assert_allclose(data.inputs(data.train.x).std((0, 1, 3)), 1, atol=1e-3)


def test_noise_is_in_training_recordings_alone_and_the_same_each_time(folder, monkeypatch, tmp_path):
    noisy, clean = datasets.speech_commands(noisy=1.0), datasets.speech_commands(noisy=0.0)
    differs = np.abs(noisy.train.x - clean.train.x).max((1, 2, 3)) > 1e-3
    assert np.flatnonzero(~differs).tolist() == np.flatnonzero(clean.train.y == 10).tolist()  # silence is noise itself
    np.testing.assert_array_equal(noisy.test.x, clean.test.x)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another"))
    assert datasets.speech_commands(noisy=1.0).fingerprint == noisy.fingerprint != clean.fingerprint
    some = np.abs(datasets.speech_commands(noisy=0.5).train.x - clean.train.x).max((1, 2, 3)) > 1e-3
    assert 10 <= some.sum() <= 45


def test_a_subset_is_balanced_and_reads_no_more(folder, monkeypatch):
    read = []
    monkeypatch.setattr(soundfile, "read", lambda path, open=soundfile.read, **o: read.append(path) or open(path, **o))
    data = datasets.speech_commands(subset=24)
    assert np.bincount(data.train.y).tolist() == [2] * 12
    assert len(read) == 3 + 22 + 11 + 11  # the noise for each part, and words
    datasets.speech_commands(subset=24)
    assert len(read) == 47


def test_what_is_missing_is_named_with_the_layout(folder):
    with pytest.raises(DataMissingError, match=r"looked for elsewhere, .*a folder for each word, _background_noise_"):
        datasets.speech_commands(folder="elsewhere")
    (folder / "testing_list.txt").unlink()
    with pytest.raises(DataMissingError, match=r"has no testing_list\.txt"):
        datasets.speech_commands()
    (folder / "testing_list.txt").write_text("yes/99_nohash_0.wav\n")
    with pytest.raises(DataError, match=r"testing_list\.txt names yes/99_nohash_0\.wav, which isn't there"):
        datasets.speech_commands()


def test_wrong_recordings_are_named(folder):
    soundfile.write(folder / "yes" / "00_nohash_0.wav", np.zeros(8000), 8000)
    with pytest.raises(DataError, match=r"yes/00_nohash_0\.wav must have 16000 samples a second"):
        datasets.speech_commands()
    soundfile.write(folder / "yes" / "00_nohash_0.wav", np.zeros(8000), 16000)
    soundfile.write(folder / "_background_noise_" / "a.wav", np.zeros(100), 16000)
    with pytest.raises(DataError, match=r"_background_noise_/a\.wav must be a second long"):
        datasets.speech_commands()
    with pytest.raises(DataError, match="must hold, but got 2"):
        datasets.speech_commands(noisy=2)
