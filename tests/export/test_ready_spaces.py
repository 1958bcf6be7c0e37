"""Each ready space's model and menus, written in every format that holds it: small here, whole in `make slow`."""

import functools
import inspect
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mpsearch.config import Config
from mpsearch.costs.flash import FlashBytes
from mpsearch.export.building import program_of
from mpsearch.export.formats import FORMATS
from mpsearch.export.integer import execute
from mpsearch.export.keras_file import KerasRuntime, write_keras
from mpsearch.network.elastic import ElasticNetwork
from mpsearch.spacefile import load_space_file
from tests.conftest import randomise
from tests.export.models import with_biases

FILES = sorted((Path(__file__).parents[2] / "spaces").glob("*.py"))
SMALL = {"ds_cnn": (49, 10, 1), "fc_autoencoder": (640,), "cnn": (28, 28, 1), "digits": (8, 8, 1)}
THINNED = {"alpha": 0.25}
CASES = [
    pytest.param(path, whole, marks=pytest.mark.slow if whole else (), id=f"{path.stem}{'-whole' if whole else ''}")
    for path in FILES
    for whole in (False, True)
]


def model_of(task, name, whole):
    """The task's model with random weights; small in width and picture where it isn't to be whole."""
    build = task.model
    if not whole:
        known = inspect.signature(build.func if isinstance(build, functools.partial) else build).parameters
        options = {key: value for key, value in THINNED.items() if key in known}
        if "input_shape" in known:
            options["input_shape"] = SMALL.get(name, (32, 32, 3))
        build = functools.partial(build, **options)
    return randomise(build(), seed=7)


@pytest.mark.parametrize(("path", "whole"), CASES)
def test_a_ready_space_is_written_in_every_format_and_agrees(path, whole, tmp_path):
    file = load_space_file(path)
    model = model_of(file.task, path.stem, whole)
    x = np.random.default_rng(3).uniform(0, 1, (12, *model.input_shape[1:])).astype(np.float32)
    network = ElasticNetwork(model, file.space, x)
    config = network.space.sample(random.Random(11))
    network.set_config(config)
    ours = np.asarray(network.model(x, training=False))
    spread = float(np.ptp(ours))
    program = program_of(network, config)
    written = FORMATS["onnx"].write(program, tmp_path / "model.onnx", {})
    flash = FlashBytes(network.facts)(config)
    assert abs(written.payload - flash) <= 0.02 * flash
    write_keras(network, config, tmp_path / "model.keras")
    runtimes = {
        "onnx": FORMATS["onnx"].run(tmp_path / "model.onnx", written),
        "keras": KerasRuntime(tmp_path / "model.keras"),
    }
    for name, runtime in runtimes.items():
        found = runtime([x])[0]
        # a code beside a rounding boundary, which float32 decides, moves the outputs a little
        assert np.abs(found - ours).mean() <= 0.01 * spread, name
        assert np.mean(found.argmax(-1) == ours.argmax(-1)) >= 11 / 12, name
    made = FORMATS["litert"]
    held = made.limits.nearest(config, program)
    network.set_config(held)
    program = program_of(network, held)
    assert made.limits.obstacles(program) == []
    found = made.write(program, tmp_path / "model.tflite", {})
    wide = {site: replace(spec, bits=32) if site.endswith("/bias") else spec for site, spec in held.items()}
    flash = FlashBytes(network.facts)(Config(wide))
    assert abs(found.payload - found.beyond - flash) <= 0.02 * flash
    values = made.run(tmp_path / "model.tflite", None).values([x], list(program.grids))
    codes = {t: np.round(v.astype(np.float64) / program.grids[t].scale).astype(np.int64) for t, v in values.items()}
    expected = execute(with_biases(program, found.biases), [x], codes)  # from the file's own codes before each
    for tensor, grid in program.grids.items():
        steps = np.abs(codes[tensor] - expected[tensor])
        # functions are computed in float from sums in INT16, which 16-bit codes behind them show
        assert steps.max() <= (1 if grid.bits <= 8 else 64), tensor
        # between powers of two up to half of the sums are halves, of which its kernels round half to the other side
        assert grid.bits > 8 or (steps > 0).mean() <= 0.35, tensor
