"""Using exported files: what they are fed with, how they are judged and timed, and a camera's pictures."""

import sys
import types

import numpy as np
import pytest

from mpsearch.errors import ConfigError, DataError, ExportError, MissingPackageError
from mpsearch.prediction import accuracy, inputs_from, latency, predict, watch


class Brightest:
    """A runtime: the mean of each third of a picture's rows, as scores."""

    inputs = (("input", (6, 6, 1)),)

    def __init__(self):
        self.sizes = []

    def __call__(self, inputs):
        (x,) = inputs
        self.sizes.append(len(x))
        return [x.reshape(len(x), 3, -1).mean(axis=2)]

    def values(self, inputs, tensors):
        raise NotImplementedError


def test_arrays_are_read_and_predicted_in_batches(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 1, (150, 6, 6, 1)).astype(np.float32)
    runtime = Brightest()
    y = predict(runtime, x).argmax(axis=1)
    assert runtime.sizes == [64, 64, 22]
    np.savez(tmp_path / "some.npz", x=x, y=np.where(np.arange(150) < 30, 0, y))
    found = inputs_from(str(tmp_path / "some.npz"), (6, 6, 1), "test", 1000)
    np.testing.assert_array_equal(found.x, x)
    assert accuracy(predict(runtime, found.x), found.y) == pytest.approx(
        np.mean(np.where(np.arange(150) < 30, 0, y) == y)
    )
    np.savez(tmp_path / "alone.npz", x=x)
    found = inputs_from(str(tmp_path / "alone.npz"), (6, 6, 1), "test", 50)
    assert len(found) == 50
    assert accuracy(predict(runtime, found.x), found.y) is None


def test_ready_data_and_space_files_are_read_by_name(tmp_path):
    found = inputs_from("digits", (8, 8, 1), "validation", 40)
    assert found.x.shape == (40, 8, 8, 1)
    assert found.x.dtype == np.float32
    from pathlib import Path

    tiny = inputs_from(str(Path(__file__).with_name("tiny.py")), (8, 8, 1), "test", 1000)
    assert len(tiny) == 96


def test_pictures_in_a_folder_are_scaled_to_the_model(tmp_path):
    from PIL import Image

    for name, value in (("dark", 20), ("light", 230)):
        for part in ("train", "validation", "test"):
            folder = tmp_path / "pictures" / part / name
            folder.mkdir(parents=True)
            for number in range(2):
                Image.new("RGB", (20, 12), (value, value, value)).save(folder / f"{number}.png")
    found = inputs_from(str(tmp_path / "pictures"), (6, 6, 3), "test", 10)
    assert found.x.shape == (4, 6, 6, 3)
    np.testing.assert_allclose(np.unique(found.x), [20 / 255, 230 / 255], atol=1e-3)


@pytest.mark.parametrize(
    ("text", "part", "error", "message"),
    [
        ("nothing", "test", ConfigError, "--data must be an .npz file, a space file, a folder of images or one of"),
        ("digits", "all", ConfigError, "--split must be train, validation or test, but got 'all'"),
        ("digits", "test", DataError, r"the file takes samples of shape \(6, 6, 1\), but digits has \(8, 8, 1\)"),
        ("empty.npz", "test", DataError, "needs an array `x` of samples, but has z"),
        ("broken.npz", "test", DataError, "can't be read as an .npz file"),
        ("cut.npz", "test", DataError, "can't be read as an .npz file"),
        ("missing.npz", "test", DataError, "can't be read as an .npz file"),
    ],
)
def test_what_is_no_data_is_refused(tmp_path, monkeypatch, text, part, error, message):
    monkeypatch.chdir(tmp_path)
    np.savez(tmp_path / "empty.npz", z=np.zeros(3))
    (tmp_path / "broken.npz").write_bytes(b"PK nothing")
    np.savez(tmp_path / "whole.npz", x=np.zeros((20, 6, 6, 1)))
    content = (tmp_path / "whole.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(content[: len(content) // 2])
    with pytest.raises(error, match=message):
        inputs_from(text, (6, 6, 1), part, 10)


def test_accuracy_is_of_classes_alone():
    scores = np.array([[0.1, 0.9], [0.8, 0.2], [0.3, 0.7], [0.6, 0.4]])
    assert accuracy(scores, np.array([1, 0, 0, 0])) == 0.75
    assert accuracy(scores, np.eye(2)[[1, 0, 0, 0]]) == 0.75
    assert accuracy(scores[:, 1:], np.array([1, 0, 0, 0])) == 0.75
    assert accuracy(4 * scores[:, 1:] - 2, np.array([1, 0, 0, 0])) == 0.75  # logits, compared with zero
    assert accuracy(scores, np.array([0.3, 0.1, 0.2, 0.9])) is None
    assert accuracy(scores, np.array(["a", "b", "a", "a"])) is None
    assert accuracy(scores.reshape(4, 2, 1), np.array([1, 0, 0, 0])) is None


def test_single_samples_are_timed():
    runtime = Brightest()
    found = latency(runtime, np.zeros((3, 6, 6, 1), np.float32), runs=20)
    assert set(runtime.sizes) == {1}
    assert found.runs == 20
    assert 0.0 < found.median_ms <= found.p95_ms
    assert found.frames_per_second == pytest.approx(1000 / found.median_ms)


def camera(pictures):
    """A stand-in for OpenCV whose camera 0 shows some pictures (height, width, 3), BGR."""

    class Capture:
        def __init__(self, source):
            self.left = iter(pictures if source == 0 else ())
            self.there = source == 0

        def isOpened(self):  # noqa: N802
            return self.there

        def read(self):
            picture = next(self.left, None)
            return picture is not None, picture

        def release(self):
            module.released += 1

    module = types.ModuleType("cv2")
    module.released = 0
    module.VideoCapture = Capture
    module.COLOR_BGR2RGB, module.COLOR_BGR2GRAY = 1, 2
    module.resize = lambda square, size: square[:: len(square) // size[1], :: len(square) // size[0]]
    module.cvtColor = lambda x, how: x[..., ::-1] if how == 1 else x.mean(axis=-1)
    return module


def test_a_cameras_pictures_are_cut_square_scaled_and_predicted(monkeypatch):
    pictures = []
    for third in (0, 2, 1):
        picture = np.zeros((12, 20, 3), np.uint8)
        picture[4 * third : 4 * third + 4, 4:16] = 255
        picture[:, :4] = 200  # cut off: only the square in the middle counts
        pictures.append(picture)
    module = camera(pictures)
    monkeypatch.setitem(sys.modules, "cv2", module)
    seen = list(watch(Brightest(), (6, 6, 1), "0"))
    assert [(one.frame, one.best) for one in seen] == [(0, 0), (1, 2), (2, 1)]
    assert all(one.output == pytest.approx(1.0) for one in seen)
    assert module.released == 1
    assert len(list(watch(Brightest(), (6, 6, 1), "0", lambda frame: frame >= 2))) == 2
    with pytest.raises(ConfigError, match="no camera or video 7"):
        next(watch(Brightest(), (6, 6, 1), "7"))
    with pytest.raises(ExportError, match="needs a model of pictures"):
        next(watch(Brightest(), (640,), "0"))


def test_a_camera_without_opencv_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'mpsearch\[camera\]'"):
        next(watch(Brightest(), (6, 6, 1), "0"))
