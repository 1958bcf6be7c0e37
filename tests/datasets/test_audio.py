"""Features of audio, against TensorFlow's own functions; WAV files in all their ways to be wrong."""

import sys

import numpy as np
import pytest
import soundfile

from mpsearch.datasets.audio import (
    COEFFICIENTS,
    FRAMES,
    StandardizedFrames,
    joined_frames,
    log_mel,
    mfcc,
    of_length,
    read_wav,
)
from mpsearch.errors import DataError, MissingPackageError


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 44100])
def test_coefficients_are_those_of_tensorflow(rate):
    """Of `tf.signal`, with which MLPerf Tiny makes them; only the first one has another factor there."""
    import tensorflow as tf

    rng = np.random.default_rng(0)
    clips = np.cumsum(rng.normal(0, 0.02, (3, rate)), axis=1).astype(np.float32) % 1 - 0.5
    window, hop = rate * 30 // 1000, rate * 20 // 1000
    transform = {8000: 256, 11025: 512, 16000: 512, 44100: 2048}[rate]
    spectra = tf.abs(tf.signal.stft(clips, window, hop, transform))
    bands = tf.signal.linear_to_mel_weight_matrix(40, transform // 2 + 1, rate, 20.0, 4000.0)
    expected = tf.signal.mfccs_from_log_mel_spectrograms(tf.math.log(spectra @ bands + 1e-6)).numpy()
    expected = expected[..., :COEFFICIENTS] / np.array([np.sqrt(2)] + [1] * 9)
    found = mfcc(clips, rate)
    assert found.shape == (3, FRAMES, COEFFICIENTS, 1)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[..., 0], expected, atol=2e-2)  # of values around 20


def test_clips_of_another_length_are_refused():
    with pytest.raises(DataError, match=r"one second, shape \(n, 8000\), but have shape \(2, 7000\)"):
        mfcc(np.zeros((2, 7000), np.float32), 8000)


def test_short_recordings_are_filled_with_silence_and_long_ones_cut():
    assert of_length(np.arange(3), 5).tolist() == [0, 1, 2, 0, 0]
    assert of_length(np.arange(7), 5).tolist() == [0, 1, 2, 3, 4]


def test_a_wav_file_is_read_as_it_is(tmp_path):
    samples = np.random.default_rng(0).integers(-(2**15), 2**15, 400).astype(np.int16)
    soundfile.write(tmp_path / "a.wav", samples, 16000)
    np.testing.assert_array_equal(read_wav(tmp_path / "a.wav", 16000), samples.astype(np.float32) / 2**15)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ((np.zeros(100), 8000), "must have 16000 samples a second in 1 channel, but has 8000 in 1: convert it"),
        ((np.zeros((100, 2)), 16000), "must have 16000 samples a second in 1 channel, but has 16000 in 2"),
        ((np.zeros(0), 16000), "is empty"),
        (b"RIFF and nothing behind it", "isn't a whole WAV file"),
    ],
    ids=["rate", "channels", "empty", "broken"],
)
def test_a_wav_file_that_is_wrong_is_named(tmp_path, content, message):
    path = tmp_path / "bad.wav"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        soundfile.write(path, *content)
    with pytest.raises(DataError, match=rf"bad\.wav {message}"):
        read_wav(path, 16000)


def test_a_missing_package_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "soundfile", None)
    with pytest.raises(MissingPackageError, match=r"audio data needs soundfile: pip install 'mpsearch\[audio\]'"):
        read_wav(tmp_path / "a.wav", 16000)


@pytest.mark.parametrize(("rate", "window", "hop"), [(16000, 1024, 512), (8000, 512, 128)])
def test_log_mel_frames_are_those_of_their_definition(rate, window, hop):
    """By a plain Fourier sum and triangles on Slaney's mel scale, which is linear up to 1 kHz and logarithmic above."""

    def hertz(mels):
        return np.where(mels < 15, mels * 200 / 3, 1000 * 6.4 ** ((mels - 15) / 27))

    samples = np.random.default_rng(0).normal(0, 0.1, 5000).astype(np.float32)
    padded = np.pad(samples.astype(np.float64), window // 2, mode="reflect")
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
    frequencies = np.arange(window // 2 + 1)
    wave = np.exp(-2j * np.pi * np.outer(np.arange(window), frequencies) / window)
    starts = range(0, len(samples) + 1, hop)
    power = np.stack([np.abs((padded[start : start + window] * hann) @ wave) ** 2 for start in starts])
    top = 15 + 27 * np.log(rate / 2 / 1000) / np.log(6.4)
    corners = hertz(np.linspace(0, top, 130))
    bins = frequencies * rate / window
    rising = (bins - corners[:-2, None]) / (corners[1:-1] - corners[:-2])[:, None]
    falling = (corners[2:, None] - bins) / (corners[2:] - corners[1:-1])[:, None]
    bands = np.maximum(0, np.minimum(rising, falling)) * (2 / (corners[2:] - corners[:-2]))[:, None]
    expected = 10 * np.log10(power @ bands.T + np.finfo(np.float64).eps)
    found = log_mel(samples, rate, window, hop)
    assert found.shape == (1 + 5000 // hop, 128)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_silence_has_the_lowest_level_and_what_is_too_short_is_refused():
    np.testing.assert_allclose(log_mel(np.zeros(2000, np.float32), 16000, 1024, 512), -156.5356, rtol=1e-5)
    with pytest.raises(DataError, match="longer than 512 samples, half a window, but has 512"):
        log_mel(np.zeros(512, np.float32), 16000, 1024, 512)


def test_joined_frames_begin_with_the_first_and_bands_that_never_change_are_left_at_0():
    frames = np.arange(28.0).reshape(7, 4)
    assert joined_frames(frames).tolist() == [list(range(4 * i, 4 * i + 20)) for i in range(3)]
    scaled = StandardizedFrames.of(np.array([[1.0, 5.0], [3.0, 5.0]]), 2.0)
    assert scaled(np.array([[1.0, 5.0, 3.0, 6.0]])).tolist() == [[-2, 0, 2, 2]]
