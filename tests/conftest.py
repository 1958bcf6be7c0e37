"""Fixtures for all tests: shared data, seeds, and one small model of every kind of layer.

Keras is imported when a fixture needs it, so that tests without it start at once.
"""

import os
import shutil
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import numpy as np
import pytest

from tests import mariadb as mariadb_server
from tests.postgres import PACKAGE, Postgres, programs

if TYPE_CHECKING:
    import keras

    from mpsearch.provenance import Provenance
    from mpsearch.searching.engine import Engine
    from mpsearch.spacefile import SpaceFile
    from mpsearch.study import Study

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

ROOT = Path(__file__).resolve().parents[1]
LONGEST = ("tests/runners/", "tests/cli/test_runners.py", "tests/test_spaces.py")

# no deadline for an example: how long one takes on a busy machine proves nothing
hypothesis.settings.register_profile("mpsearch", deadline=None)
hypothesis.settings.load_profile("mpsearch")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the tests that take longest: as the last of several workers' one would keep all others waiting."""
    items.sort(key=lambda item: not item.nodeid.startswith(LONGEST))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI, turn a skip for want of shared data, a database, Ray, a browser or rights into a failure."""
    report = yield
    wanted = ("MPSEARCH_DATA", "PostgreSQL", "MariaDB", "ray", "Chromium", "only root")
    if report.skipped and os.environ.get("CI") and any(name in str(report.longrepr) for name in wanted):
        report.outcome = "failed"
        report.longrepr = f"must not skip where CI is set: {call.excinfo.value if call.excinfo else report.longrepr}"
    return report


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of shared data: `MPSEARCH_DATA`, or `shared` beside the repository."""
    folder = Path(os.environ.get("MPSEARCH_DATA") or ROOT.parent / "shared")
    if not (folder / "golden").is_dir():
        pytest.skip(f"no golden/ in {folder.name}: set MPSEARCH_DATA to the folder of shared data")
    return folder


@pytest.fixture(scope="session")
def postgres() -> Generator[Postgres, None, None]:
    """A PostgreSQL server of this session."""
    folder = programs()
    if folder is None:
        pytest.skip(f"PostgreSQL isn't installed: apt-get install {PACKAGE}")
    pytest.importorskip("psycopg", reason="PostgreSQL's driver isn't installed: pip install 'mpsearch[postgres]'")
    server = Postgres(folder)
    server.start()
    yield server
    server.remove()


@pytest.fixture
def postgres_url(postgres: Postgres) -> Generator[str, None, None]:
    """The URL of an empty PostgreSQL database, with a random password."""
    yield postgres.create_database()
    from mpsearch.storages import close_storages

    close_storages()


@pytest.fixture(scope="session")
def mariadb() -> Generator[mariadb_server.MariaDB, None, None]:
    """A MariaDB server of this session."""
    if shutil.which("mariadbd") is None:
        pytest.skip(f"MariaDB isn't installed: apt-get install {mariadb_server.PACKAGE}")
    pytest.importorskip("pymysql", reason="MariaDB's driver isn't installed: pip install 'mpsearch[mysql]'")
    server = mariadb_server.MariaDB()
    yield server
    server.remove()


@pytest.fixture
def mysql_url(mariadb: mariadb_server.MariaDB) -> Generator[str, None, None]:
    """The URL of an empty database of MariaDB, with a random password."""
    yield mariadb.create_database()
    from mpsearch.storages import close_storages

    close_storages()


@pytest.fixture
def provenance() -> "Provenance":
    """What a study without a model was made of."""
    from mpsearch.provenance import Provenance

    return Provenance(
        space_path="a.py", space_text="é {x} %", space_hash="a", space_fingerprint="b", space_size="9" * 40,
        data_fingerprint="c", versions={"mpsearch": "1"}, seed=3, sampler="random", pruner="median",
        metric="accuracy", reference_costs={"total_bits": 12}, sites=[], created="2026-01-01T00:00:00+00:00",
    )  # fmt: skip


def randomise(model: "keras.Model", seed: int = 0) -> "keras.Model":
    """`model` with every weight drawn anew, BatchNorm's statistics, gammas and betas as well; outputs stay near 1.

    Fresh weights prove little: BatchNorm starts as the identity, and biases as zero.
    """
    rng = np.random.default_rng(seed)

    def drawn(name: str, shape: tuple[int, ...]) -> np.ndarray:
        if name == "kernel":
            fan_in = np.prod(shape[:-1]) if shape[-1] > 1 or len(shape) < 4 else np.prod(shape[:2])
            return rng.normal(0, 1.2 / np.sqrt(fan_in), shape)
        if name == "moving_variance":
            return rng.uniform(0.3, 3.0, shape)
        if name == "gamma":
            return rng.uniform(0.5, 1.5, shape) * rng.choice([-1, 1], shape, p=[0.2, 0.8])
        return rng.normal(0, 0.3, shape)  # bias, beta, moving_mean

    for layer in model.layers:
        layer.set_weights([drawn(weight.name, tuple(weight.shape)) for weight in layer.weights])
    return model


@pytest.fixture
def unoptimized() -> Generator[None, None, None]:
    """Graphs run as they were traced: TensorFlow's optimizer takes longer than the few steps of some tests."""
    import tensorflow as tf

    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    yield
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": False})


@pytest.fixture(scope="session", name="randomise")
def _randomise() -> Callable[..., "keras.Model"]:
    return randomise


def build_small_model() -> "keras.Model":
    """Every kind of layer once, activation functions fused, apart and absent, a shortcut, random weights."""
    from keras import Input, Model, layers, regularizers

    inputs = Input((8, 8, 2), name="input")
    x = layers.Conv2D(6, 3, padding="same", use_bias=False, kernel_regularizer=regularizers.L2(0.01), name="conv")(
        inputs
    )
    x = layers.BatchNormalization(name="conv_bn")(x)
    x = layers.ReLU(name="conv_relu")(x)
    y = layers.ZeroPadding2D(1, name="pad")(x)
    y = layers.DepthwiseConv2D(3, depthwise_regularizer=regularizers.L2(0.02), name="dw")(y)
    y = layers.BatchNormalization(scale=False, name="dw_bn")(y)
    y = layers.ReLU(6.0, name="dw_relu")(y)
    y = layers.Conv2D(6, 1, name="pw")(y)
    y = layers.BatchNormalization(center=False, name="pw_bn")(y)
    x = layers.Add(name="add")([x, y])
    x = layers.Activation("relu", name="add_relu")(x)
    x = layers.MaxPooling2D(2, name="max_pool")(x)
    x = layers.AveragePooling2D(2, name="pool")(x)
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dropout(0.1, name="dropout")(x)
    x = layers.Dense(12, activation="relu", name="dense")(x)
    outputs = layers.Dense(4, activation="softmax", name="logits")(x)
    return randomise(Model(inputs, outputs, name="small"))


@pytest.fixture(scope="session")
def small_model() -> "keras.Model":
    """The small model; tests must not change it."""
    return build_small_model()


@pytest.fixture(scope="session")
def small_samples() -> np.ndarray:
    """Inputs of the small model, some below zero, (64, 8, 8, 2)."""
    return np.random.default_rng(1).normal(0, 1, (64, 8, 8, 2)).astype(np.float32)


@pytest.fixture(scope="session")
def tiny_file(tmp_path_factory: pytest.TempPathFactory) -> "SpaceFile":
    """The space file of a tiny task; float weights are cached in a folder of this session."""
    from mpsearch.spacefile import load_space_file

    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))
    return load_space_file(ROOT / "tests" / "tiny.py")


@pytest.fixture(scope="session")
def tiny_engine(tiny_file: "SpaceFile") -> "Engine":
    """An engine for the tiny task, trained and traced once; scale mode auto_po2 is possible everywhere."""
    from mpsearch.config import Alpha
    from mpsearch.searching.engine import Engine

    return Engine(tiny_file, extra_alphas=[Alpha.AUTO_PO2])


@pytest.fixture
def tiny_study(tiny_engine: "Engine", tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., "Study"]:
    """Makes studies of the tiny task in a folder of the test: (name, sampler, pruner, seed) to the study."""
    from mpsearch.creation import provenance_of
    from mpsearch.study import Study, create_study

    monkeypatch.chdir(tmp_path)

    def make(
        name: str = "tiny",
        sampler: str = "random",
        pruner: str = "none",
        seed: int = 0,
        sampler_options: Mapping[str, Any] | None = None,
        pruner_options: Mapping[str, Any] | None = None,
    ) -> Study:
        file, data, space = tiny_engine.file, tiny_engine.data, tiny_engine.network.space
        made = provenance_of(file, data, space, seed, sampler, pruner, sampler_options, pruner_options)
        return create_study(name, made, None)

    return make
