"""The rows of a study's baselines: measured once, kept, measured again where something changed."""

import dataclasses

import keras
import pytest

from mpsearch import Space, Task, Training, bits
from mpsearch.baselines import measuring
from mpsearch.baselines.measuring import baselines
from mpsearch.baselines.record import KB, NAMES, Baseline, kept
from mpsearch.baselines.rows import Rows, flat
from mpsearch.config import Alpha, Config
from mpsearch.creation import provenance_of
from mpsearch.errors import ConfigError, StudyError, TrainingError
from mpsearch.runners.inprocess import run
from mpsearch.searching.engine import Engine
from mpsearch.spacefile import SpaceFile
from mpsearch.study import create_study

PTQ = [name for name in NAMES if name.startswith("PTQ") and name != "PTQ dynamic range"]
FLAT = [name for name in NAMES if name.startswith("flat")]


class Silent:
    def trial_started(self, number, config): ...
    def epoch_ended(self, number, epoch, logs): ...
    def trial_ended(self, record): ...


@pytest.fixture
def study(tiny_study, tiny_engine):
    made = tiny_study()
    run(made, tiny_engine, 2, Silent())
    return made


def test_all_rows_are_measured_and_kept(study, tiny_engine):
    seen = []
    rows = baselines(study, tiny_engine, measured=lambda row, number, count: seen.append((row.name, number, count)))
    assert [row.name for row in rows] == list(NAMES)
    assert seen == [(name, number, len(NAMES)) for number, name in enumerate(NAMES, 1)]
    assert (len(PTQ), len(FLAT), len(NAMES)) == (16, 6, 27)
    assert list(kept(study, "trial").items()) == [(row.name, row) for row in rows]
    by_name = {row.name: row for row in rows}
    best = study.best()[0]
    mixed = by_name["best mixed"]
    assert mixed.validation == pytest.approx(best.metric)
    assert mixed.score == pytest.approx(best.score)
    assert mixed.parameter_bits + mixed.activation_bits == best.costs["total_bits"]
    assert mixed.epochs == best.epochs
    assert mixed.seconds == pytest.approx(best.seconds, abs=0.5)
    session, data = tiny_engine.session("adam"), tiny_engine.data
    tiny_engine.network.set_config(None)
    assert by_name["float"].test == pytest.approx(session.evaluate(data, data.test)["accuracy"])
    assert by_name["float"].validation == pytest.approx(tiny_engine.float_metric())
    for row in rows:
        assert row.score == pytest.approx(row.validation * (1 + row.delta))
        assert row.epochs == (0 if row.name.startswith(("float", "PTQ")) else 2)
        assert row.validation > (0.3 if "16" not in row.name else 0.5), row.name
    epoch = by_name["flat 8, auto_po2"].seconds / 2
    quick = sorted(row.seconds for row in rows if row.name in PTQ)[len(PTQ) // 2]
    assert quick < 10 * epoch, "an epoch of 256 digits is nothing to compare with"


def test_costs_are_those_of_what_is_quantized(study, tiny_engine):
    by_name = {row.name: row for row in baselines(study, tiny_engine, only=["float", "PTQ d*", "PTQ MSE", "flat 8, *"])}
    kernels, biases = 72 + 72 + 720, 8 + 8 + 10
    maps = 64 + 72 + 72 + 10
    ends = (64 + 10) * 8  # inputs, and outputs of the softmax
    assert by_name["float"].parameter_bits == 32 * (kernels + biases)
    assert by_name["float"].activation_bits == 32 * maps + ends
    assert by_name["PTQ dynamic range"].parameter_bits == 8 * kernels + 32 * biases
    assert by_name["PTQ dynamic range"].activation_bits == 32 * maps + ends
    assert by_name["PTQ MSE"].parameter_bits == 8 * kernels + 32 * biases
    assert by_name["PTQ MSE"].activation_bits == 8 * maps + ends
    assert by_name["flat 8, auto"].parameter_bits == 8 * (kernels + biases)
    assert KB == 8 * 1024


def test_what_is_kept_is_measured_again_on_demand_or_after_a_change(study, tiny_engine, monkeypatch):
    (first,) = baselines(study, tiny_engine, only=["flat 4, auto"])
    monkeypatch.setattr(tiny_engine, "train", lambda *args: pytest.fail("it was trained again"))
    assert baselines(study, tiny_engine, only=["flat 4, auto"]) == [first]
    with pytest.raises(pytest.fail.Exception):
        baselines(study, tiny_engine, only=["flat 4, auto"], again=True)
    with pytest.raises(pytest.fail.Exception):
        baselines(study, tiny_engine, only=["flat 4, auto"], recipe="finetuning")
    study.accept({"space_hash": "another"})
    with pytest.raises(pytest.fail.Exception):
        baselines(study, tiny_engine, only=["flat 4, auto"])


def test_other_calibration_samples_are_other_rows(study, tiny_engine, monkeypatch):
    baselines(study, tiny_engine, only=["PTQ MSE", "QAT int8"], calibration=64)
    counted = []
    measure = measuring._measured
    monkeypatch.setattr(measuring, "_measured", lambda row, *rest: counted.append(row.name) or measure(row, *rest))
    baselines(study, tiny_engine, only=["PTQ MSE", "QAT int8"], calibration=32)
    assert counted == ["PTQ MSE"]


def test_the_fine_tuning_recipe_is_what_rows_are_trained_by(study, tiny_engine):
    seen = []
    (row,) = baselines(
        study, tiny_engine, ["best mixed"], "finetuning", report=lambda name: lambda epoch, logs: seen.append(epoch)
    )
    assert row.epochs == len(seen) == 3
    assert row.note == f"trial {study.best()[0].number}, trained again"


def test_flat_configs_take_each_menus_nearest_width(tiny_engine):
    config = flat(tiny_engine, 4, Alpha.AUTO)
    assert str(config["conv/kernel"]) == "4 auto"
    assert str(config["conv/bias"]) == "8 auto_po2"
    assert str(config["conv/activation"]) == "4 auto_po2"
    assert {spec.alpha for spec in flat(tiny_engine, 8, Alpha.AUTO_PO2).values()} == {Alpha.AUTO_PO2}


def test_kernels_with_powers_of_two_alone_become_auto_in_flat_auto(tiny_engine, monkeypatch):
    space = tiny_engine.network.space
    po2 = Config({site: dataclasses.replace(spec, alpha=Alpha.AUTO_PO2) for site, spec in space.uniform(4).items()})
    monkeypatch.setattr(type(space), "uniform", lambda self, width: po2)
    config = flat(tiny_engine, 4, Alpha.AUTO)
    assert str(config["conv/kernel"]) == "4 auto"
    assert str(config["conv/bias"]) == "8 auto_po2"


def test_a_width_that_the_space_lacks_is_said(study, tiny_engine):
    narrow, wide = baselines(study, tiny_engine, only=["flat 8, auto", "flat 16, auto"])
    assert narrow.note == ""
    assert wide.note == "3 of 3 kernels can't have 16 bits: conv/kernel 8, dw/kernel 8, logits/kernel 8"


def test_a_training_that_breaks_is_a_row_that_failed(study, tiny_engine, monkeypatch):
    def broken(*args):
        raise TrainingError("the loss became nan in epoch 1")

    monkeypatch.setattr(tiny_engine, "train", broken)
    (row,) = baselines(study, tiny_engine, only=["flat 4, auto"])
    assert (row.validation, row.test, row.score) == (None, None, None)
    assert row.note == "the loss became nan in epoch 1"
    assert "failed" in repr(row)


def test_without_a_test_split_there_is_no_test_metric(study, tiny_engine, monkeypatch):
    monkeypatch.setattr(tiny_engine, "data", dataclasses.replace(tiny_engine.data, test=None))
    (row,) = baselines(study, tiny_engine, only=["float"])
    assert row.test is None
    assert row.validation > 0.5


def test_a_study_without_trials_has_no_best(tiny_study, tiny_engine):
    made = tiny_study()
    names = [row.name for row in Rows(made, tiny_engine, None, 32, 0)]
    assert "best mixed" not in names
    assert "flat 4, auto" in names
    with pytest.raises(StudyError, match="no complete trial yet, so no best one: mpsearch study run tiny"):
        baselines(made, tiny_engine, only=["best *"])


def test_trials_from_before_a_change_are_not_the_best(study, tiny_engine):
    study.accept({"space_hash": "another"})
    assert "best mixed" not in [row.name for row in Rows(study, tiny_engine, None, 32, 0)]


def test_rows_of_two_recipes_stand_beside_each_other_and_outdated_ones_are_not_shown(study, tiny_engine):
    (short,) = baselines(study, tiny_engine, only=["flat 4, auto"])
    (long,) = baselines(study, tiny_engine, only=["flat 4, auto"], recipe="finetuning")
    assert kept(study, "trial") == {"flat 4, auto": short}
    assert kept(study, "finetuning") == {"flat 4, auto": long}
    study.accept({"space_hash": "another"})
    assert kept(study, "trial") == kept(study, "finetuning") == {}


def odd_model():
    """An operator between layers, and a frozen convolution."""
    inputs = keras.Input((8, 8, 1), name="input")
    x = keras.layers.Conv2D(6, 3, activation="relu", padding="same", name="frozen", trainable=False)(inputs)
    y = keras.layers.Conv2D(6, 3, activation="relu", padding="same", name="second")(x)
    y = keras.layers.DepthwiseConv2D(3, padding="same", name="dw")(y)
    z = keras.layers.Flatten(name="flatten")(y + x)
    return keras.Model(inputs, keras.layers.Dense(10, activation="softmax", name="logits")(z), name="odd")


def test_rows_do_not_depend_on_their_order_whatever_the_model(tiny_engine, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipe = Training(epochs=1, learning_rate=1e-3)
    task = Task(odd_model, lambda: tiny_engine.data, training=recipe, float_training=recipe)
    space = Space(kernel=bits(2, 8), bias=bits(16), activation=bits(4, 8))
    file = SpaceFile(tmp_path / "odd.py", "", task, space)
    engine = Engine(file, extra_alphas=measuring.ALPHAS, data=tiny_engine.data)
    made = provenance_of(file, engine.data, engine.network.space, 0, "random", "none")
    names = ["PTQ dynamic range", "PTQ min-max + CLE + BC", "QAT int8", "flat 8, auto"]
    found = []
    for study, order in (("one", names), ("other", names[::-1])):
        opened = create_study(study, made)
        rows = {}
        for name in order:
            rows |= {row.name: row for row in baselines(opened, engine, only=[name])}
        found.append({name: (rows[name].validation, rows[name].test) for name in names})
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"only": ["flat 5*"]}, "no row is called 'flat 5\\*'; there are 'float', 'PTQ dynamic range', "),
        ({"recipe": "long"}, "the recipe must be trial or finetuning, but got 'long'"),
        ({"calibration": 0}, "at least 1 sample, but got 0"),
    ],
)
def test_what_there_is_not_is_refused(study, tiny_engine, arguments, message):
    with pytest.raises(ConfigError, match=message):
        baselines(study, tiny_engine, **arguments)


def test_rows_survive_as_plain_data():
    row = Baseline("float", 0.9, None, 32, 32, -0.05, 0.85, 0, 0.1, further={"AUC": 0.8}, key={"conditions": "x"})
    assert Baseline(**row.to_json()) == row
