"""Machine sounds, from a small folder in the layout of DCASE 2020 task 2."""

import sys

import numpy as np
import pytest
import soundfile

from mpsearch import datasets
from mpsearch.datasets.audio import MEL_BANDS, log_mel
from mpsearch.errors import DataError, DataMissingError

FRAMES = (2, 12)
EACH = 10 - 4  # samples of a file


def write(path, seed, length=8000, rate=16000):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.random.default_rng(seed).normal(0, 0.1, length), rate)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Two machines: ten normal training files each; for test four normal and two anomalous ones each."""
    monkeypatch.setenv("MPSEARCH_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    root = tmp_path / "ToyCar"
    for machine in (1, 2):
        for index in range(10):
            write(root / "train" / f"normal_id_0{machine}_{index:08d}.wav", 100 * machine + index)
        for kind, count in (("normal", 4), ("anomaly", 2)):
            for index in range(count):
                write(root / "test" / f"{kind}_id_0{machine}_{index:08d}.wav", 1000 * machine + 10 * count + index)
    return root


def load(**options):
    return datasets.machine_sounds(**{"frames": FRAMES, **options})


def frames_of(path):
    samples, _ = soundfile.read(path, dtype="float32")
    return log_mel(samples, 16000, 1024, 512)[slice(*FRAMES)]


def test_samples_are_five_neighbouring_frames_of_one_file(folder):
    data = load()
    assert data.reconstructs
    assert data.test.x.shape == (12 * EACH, 640)
    assert data.test.x.dtype == np.float32
    first = frames_of(folder / "test" / "normal_id_01_00000000.wav")
    for start in range(EACH):
        np.testing.assert_allclose(data.test.x[start].reshape(5, MEL_BANDS), first[start : start + 5], atol=1e-4)
    assert np.unique(data.test.y[:, 0], return_counts=True)[1].tolist() == [EACH] * 12
    assert data.test.y[::EACH].tolist()[:4] == [[0, 0], [1, 1], [2, 0], [3, 1]]
    assert data.test.y[:, 1].sum() == 4 * EACH


def test_a_tenth_of_the_training_files_validates_by_whole_files(folder):
    data = load()
    assert [len(part) for part in (data.train, data.validation)] == [18 * EACH, 2 * EACH]
    assert not data.train.y[:, 1].any()
    assert not data.validation.y[:, 1].any()
    recorded = {frames_of(path).tobytes() for path in (folder / "train").iterdir()}
    kept = [part.x[::EACH, :MEL_BANDS].astype(np.float32) for part in (data.train, data.validation)]
    heads = {head.tobytes() for part in kept for head in part}
    assert heads == {np.frombuffer(r, np.float32)[:MEL_BANDS].tobytes() for r in recorded}
    assert len(heads) == 20  # no file is in both


def test_prepared_frames_have_mean_0_and_the_deviation_in_each_band(folder):
    data = load(deviation=1.5)
    frames = np.concatenate([data.train.x[::EACH].reshape(-1, 5, MEL_BANDS), data.train.x[5::EACH].reshape(-1, 5, 128)])
    prepared = data.inputs(frames.reshape(-1, 640)).reshape(-1, MEL_BANDS)  # each training frame once
    np.testing.assert_allclose(prepared.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(prepared.std(0), 1.5, rtol=1e-4)
    with pytest.raises(DataError, match="`deviation` must be positive, but got 0"):
        load(deviation=0)


def test_a_subset_is_balanced_the_same_each_time_and_reads_no_more(folder, monkeypatch, tmp_path):
    read = []
    monkeypatch.setattr(soundfile, "read", lambda path, open=soundfile.read, **o: read.append(path) or open(path, **o))
    data = load(subset=4)
    assert len(read) == 4 + 2 + 4
    names = [path.name[:-13] for path in read[-4:]]
    assert names == ["normal_id_01", "anomaly_id_01", "normal_id_02", "anomaly_id_02"]
    assert {path.name[:12] for path in read[:4]} == {"normal_id_01", "normal_id_02"}
    assert load(subset=4).fingerprint == data.fingerprint
    assert len(read) == 10  # the rest came from the cache
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another"))
    assert load(subset=4).fingerprint == data.fingerprint
    write(folder / "test" / "normal_id_01_00000000.wav", 77)
    assert load(subset=4).fingerprint != data.fingerprint


def test_all_frames_are_taken_where_none_are_named(folder):
    data = load(frames=None)
    assert len(data.test) == 12 * (1 + 8000 // 512 - 4)
    write(folder / "test" / "normal_id_02_00000009.wav", 1, length=9000)
    with pytest.raises(DataError, match=r"normal_id_02_00000009\.wav has 18 frames, but .* has 16: all must be alike"):
        load(frames=None)
    assert len(load().test) == 13 * EACH


def test_the_folder_is_found_by_name_and_by_path(folder, tmp_path):
    expected = load().fingerprint
    other = tmp_path / "elsewhere" / "dev_data"
    other.mkdir(parents=True)
    folder.rename(other / "ToyCar")
    assert load(folder=str(other)).fingerprint == expected
    assert load(folder="elsewhere/dev_data").fingerprint == expected
    with pytest.raises(DataMissingError, match=r"folder ToyCar \(looked for .*dev_data/ToyCar.*zenodo\.org/rec"):
        load()
    (tmp_path / "dev_data").symlink_to(other)
    assert load().fingerprint == expected


def test_what_is_missing_is_named(folder):
    with pytest.raises(DataMissingError, match=r"folder fan \(looked for fan, .*dev_data_fan\.zip .*train/normal"):
        load(machine="fan")
    for path in (folder / "test").glob("anomaly*"):
        path.unlink()
    with pytest.raises(DataError, match=r"test has 8 normal and 0 anomalous recordings: it needs both"):
        load()
    for path in (folder / "test").iterdir():
        path.unlink()
    (folder / "test").rmdir()
    with pytest.raises(DataMissingError, match="has no folder test"):
        load()


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "test/normal_id_01_00000000.wav",
            {"rate": 8000},
            "must have 16000 samples a second in 1 .* has 8000",
        ),
        (
            "train/normal_id_01_00000003.wav",
            {"length": 5000},
            r"is too short: .* 10 frames \(5000 samples\), but 12",
        ),
        ("test/strange_id_01_00000000.wav", {}, "isn't called like a recording"),
        ("test/normal_id_01_00000000.mp3.wav", {}, "isn't called like a recording"),
        ("train/anomaly_id_01_00000000.wav", {}, "is anomalous, but all training files must be normal"),
    ],
)
def test_wrong_recordings_are_named(folder, name, options, message):
    write(folder / name, 5, **options)
    with pytest.raises(DataError, match=rf"{name.rpartition('/')[2]} {message}"):
        load()


def test_damaged_recordings_are_named(folder):
    path = folder / "test" / "anomaly_id_02_00000001.wav"
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(DataError, match=r"anomaly_id_02_00000001\.wav isn't a whole WAV file"):
        load()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"subset": 0}, "`subset >= 1` must hold, but got 0"),
        ({"frames": (3, 7)}, r"at least 5 frames between them, but got \(3, 7\)"),
        ({"frames": (-1, 7)}, r"but got \(-1, 7\)"),
    ],
)
def test_impossible_options_are_refused(folder, options, message):
    with pytest.raises(DataError, match=message):
        load(**options)


def test_two_training_files_are_the_fewest(folder):
    for path in sorted((folder / "train").iterdir())[1:]:
        path.unlink()
    with pytest.raises(DataError, match="train has 1 recordings, but 2 are needed"):
        load()


def test_soundfile_is_asked_for(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "soundfile", None)
    with pytest.raises(ImportError, match=r"pip install 'mpsearch\[audio\]'"):
        load()
