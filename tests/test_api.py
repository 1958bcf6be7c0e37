"""The Python API: search, go on, look, fine-tune and export, without a space file."""

import dataclasses
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

import mpsearch
from mpsearch.api import search
from mpsearch.errors import ConfigError, DataError, StudyError
from mpsearch.leases import holding
from mpsearch.records import State
from mpsearch.space import Space
from mpsearch.study import open_study, study_names
from mpsearch.task import Training

OPTIONS = {"training": Training(epochs=1, learning_rate=2e-3), "sampler": "random", "seed": 3, "quiet": True}


@pytest.fixture(scope="module")
def float_model(tiny_engine):
    """The trained float model of the tiny task, as a user has it."""
    from mpsearch.floatmodel import float_model

    return float_model(tiny_engine.task, tiny_engine.data, Path())


@pytest.fixture(scope="module")
def space(tiny_engine):
    return tiny_engine.file.space


@pytest.fixture(scope="module")
def arrays(tiny_engine):
    data = tiny_engine.data
    return tuple(array for split in (data.train, data.validation, data.test) for array in (split.x, split.y))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("python")


@pytest.fixture(scope="module")
def found(folder, float_model, arrays, space):
    """A study of two trials, in a folder of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return search(float_model, arrays, space, trials=2, uniform=[8], **OPTIONS)


@pytest.fixture
def inside(folder, found, monkeypatch):
    monkeypatch.chdir(folder)


def test_a_model_is_searched_with_its_own_weights(found, float_model, arrays):
    x, y = arrays[2:4]
    accuracy = np.mean(np.asarray(float_model(x, training=False)).argmax(axis=1) == y)
    assert found.engine().float_metric() == pytest.approx(accuracy)
    assert found.study.name == float_model.name == "tiny"
    assert [record.state for record in found.study.records()] == [State.COMPLETE] * 2
    assert found.study.record(0).origin == "uniform 8"
    assert found.best.score == max(record.score for record in found.study.records())
    assert repr(found) == f"<study `tiny`: 2 trials, best score {found.best.score:.4f} (trial {found.best.number})>"


def test_the_same_call_goes_on_and_gives_the_trials_of_one_call(found, inside, float_model, arrays, space):
    more = search(float_model, arrays, space, trials=3, **{**OPTIONS, "sampler": None, "seed": None})
    assert [record.number for record in more.study.records()] == [0, 1, 2]
    whole = search(float_model, arrays, space, trials=3, name="whole", uniform=[8], **OPTIONS)

    def told(study):
        return [(record.fingerprint, record.score) for record in study.records()]

    assert told(whole.study) == told(more.study)
    assert more.run(3) is more  # it has them already


def test_what_was_changed_is_refused_with_the_difference(found, inside, float_model, arrays, space):
    other = {**OPTIONS, "training": Training(epochs=1, learning_rate=1e-3)}
    with pytest.raises(StudyError, match=r'-  "learning_rate": 0\.002(?s:.*)\+  "learning_rate": 0\.001'):
        search(float_model, arrays, space, trials=3, **other)
    with pytest.raises(StudyError, match="data: "):
        search(float_model, (arrays[0] / 2, *arrays[1:]), space, trials=3, **OPTIONS)
    with pytest.raises(StudyError, match="seed=3, but got 4: give another name"):
        search(float_model, arrays, space, trials=3, **{**OPTIONS, "seed": 4})
    changed = keras.models.clone_model(float_model)
    with pytest.raises(StudyError, match='"weights": "given-'):
        search(changed, arrays, space, trials=3, **OPTIONS)


def test_samplers_and_pruners_take_options_and_a_run_has_other_ends(found, inside, float_model, arrays, space):
    options = {**OPTIONS, "sampler": "tpe", "sampler_options": {"n_startup_trials": 1}, "name": "ends"}
    options |= {"pruner": "median", "pruner_options": {"n_startup_trials": 50}}
    made = search(float_model, arrays, space, trials=None, until_score=0.01, **options)
    assert made.study.finished == 1
    assert made.study.provenance.sampler_options == {"n_startup_trials": 1}
    assert made.study.provenance.pruner_options == {"n_startup_trials": 50}
    assert made.run(5, timeout="0.001s").study.finished == 1
    assert made.run(patience=1, trials=1).study.finished == 1
    with pytest.raises(StudyError, match=r"sampler_options=\{'n_startup_trials': 1\}, but got \{'group': True\}"):
        search(float_model, arrays, space, **{**options, "sampler_options": {"group": True}})
    with pytest.raises(ConfigError, match="no menu of the space has 5 bits"):
        search(float_model, arrays, space, **{**options, "name": "unmade"}, uniform=[5])
    assert "unmade" not in study_names()
    with pytest.raises(ConfigError, match="a run needs an end"):
        search(float_model, arrays, space, trials=None, **options)
    with pytest.raises(ConfigError, match="tpe takes n_startup_trials"):
        search(float_model, arrays, space, **{**OPTIONS, "sampler": "tpe", "sampler_options": {"x": 1}, "name": "no"})


def test_goals_are_asked_for_and_kept(found, inside, float_model, arrays, space):
    wanted = {**OPTIONS, "name": "front", "objective": "pareto", "costs": ("flash", "ram"), "limits": {"flash": 900}}
    made = search(float_model, arrays, space, trials=2, **wanted)
    assert made.study.goal.limits == {"flash": 900.0}
    assert all(record.costs["flash"] <= 900 and record.costs["ram"] > 0 for record in made.study.records())
    assert search(float_model, arrays, space, trials=2, **wanted).study.finished == 2
    with pytest.raises(StudyError, match="the study `front` looks for something else"):
        search(float_model, arrays, space, trials=3, **{**wanted, "costs": ("flash",)})
    with pytest.raises(ConfigError, match="queued is over budget, and would never be trained: flash"):
        made.enqueue(8)
    with pytest.raises(ConfigError, match="no config of the space meets these limits"):
        search(float_model, arrays, space, trials=1, **{**wanted, "name": "none", "limits": {"flash": "300"}})
    assert "none" not in study_names()


def test_configs_are_queued_and_the_best_trained_again(found, inside, float_model, arrays, space):
    mine = search(float_model, arrays, space, trials=1, name="mine", **OPTIONS)
    widths = {site: spec.bits for site, spec in mine.space.uniform(8).items()}
    mine.enqueue(8, "all 8").enqueue(widths).enqueue(mine.best.config, "again")
    mine.run(4)
    records = mine.study.records()
    assert [record.origin for record in records] == ["random", "all 8", "queued", "again"]
    assert [record.answered_from for record in records] == [None, None, 1, 0]
    assert records[1].config == mine.space.uniform(8)
    (again,) = mine.repeat(top=1, repeats=2)
    assert len(again.scores) == 3
    assert again.half_width > 0
    assert mine.best == mine.top(1)[0].record
    ordered = mine.top(5)
    assert [c.mean for c in ordered] == sorted((c.mean for c in ordered), reverse=True)
    with pytest.raises(ConfigError, match="no menu of the space has 5 bits"):
        mine.enqueue(5)


def test_trials_are_a_table_with_a_column_for_each_site(found):
    pytest.importorskip("pandas")
    trials, records = found.trials, found.study.records()
    assert trials.index.tolist() == [record.number for record in records]
    assert trials["score"].tolist() == [record.score for record in records]
    assert trials["conv/kernel"].tolist() == [record.config["conv/kernel"].bits for record in records]
    assert trials["total_bits"].tolist() == [record.costs["total_bits"] for record in records]
    assert trials["state"].tolist() == ["complete"] * len(records)


def test_without_pandas_the_extra_is_named(found, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r"pip install 'mpsearch\[notebook\]'"):
        _ = found.trials


def test_the_best_is_fine_tuned_and_exported(found, inside, arrays, folder):
    for file in found.export("plain", trial=0, formats="onnx,keras"):
        assert file.comparison.top1_agreement >= (0.999 if file.format == "keras" else 0.995)
    tuned = found.finetune()
    assert tuned.trial == found.best.number
    assert tuned.test > 0.4
    found.export(folder / "tuned")
    from qkeras.utils import load_qmodel

    model = load_qmodel(str(folder / "tuned" / "model.keras"), compile=False)
    predicted = np.asarray(model(arrays[4])).argmax(axis=1)
    assert np.mean(predicted == arrays[5]) == pytest.approx(tuned.test, abs=0.02)
    with pytest.raises(StudyError, match=r"first, in Python \.finetune\(0, \"auto_po2\"\)"):
        found.export("never", trial=0, alpha="auto_po2")


def test_a_function_without_weights_is_trained_first(tiny_engine, inside, space):
    task = tiny_engine.task
    options = {**OPTIONS, "float_training": task.float_training}
    made = search(task.model, tiny_engine.data, space, trials=1, **options)
    assert made.study.name == "tiny_model"
    assert made.engine().float_metric() == pytest.approx(tiny_engine.float_metric(), abs=0.05)
    assert "def tiny_model" in open_study("tiny_model").provenance.space_text


def test_what_cannot_be_searched_is_refused(inside, float_model, arrays, space):
    with pytest.raises(ConfigError, match=r"x_validation, y_validation\[, x_test, y_test\]\), but got tuple of 3"):
        search(float_model, arrays[:3], space)
    with pytest.raises(DataError, match="one entry a sample"):
        search(float_model, (arrays[0], arrays[3], *arrays[2:]), space)
    untested = search(float_model, arrays[:4], Space(kernel=space.kernel), trials=1, name="untested", **OPTIONS)
    with pytest.raises(StudyError, match="the data has none"):
        untested.finetune()


@pytest.mark.parametrize("jobs", [0, -4])
def test_a_run_needs_a_process(found, inside, float_model, arrays, space, jobs):
    with pytest.raises(ConfigError, match=f"`jobs` must be at least 1, but got {jobs}"):
        search(float_model, arrays, space, trials=3, jobs=jobs, **{**OPTIONS, "name": "unmade"})
    assert "unmade" not in study_names()
    with pytest.raises(ConfigError, match="`jobs` must be at least 1"):
        found.run(3, jobs=jobs)


def test_a_study_at_its_end_gets_back_the_trials_of_dead_processes(found, inside):
    study = open_study("tiny")
    with holding() as (holder, _):
        study.ask(found.space, dataclasses.replace(holder, token="dead", process=2**22 + 1))
    found.run(1)
    assert [record.state for record in study.records()][-2:] == [State.BROKEN, State.WAITING]


def test_two_processes_train_objects_of_python(float_model, arrays, space, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = search(float_model, arrays, space, trials=2, uniform=[8], jobs=2, **OPTIONS)
    records = made.study.records()
    assert [record.state for record in records] == [State.COMPLETE] * 2
    assert [record.origin for record in records] == ["uniform 8", "random"]
    assert [path.name for path in sorted(made.study.folder.glob("trial-*"))] == ["trial-0.npz", "trial-1.npz"]
    assert len(list((made.study.folder / "workers").iterdir())) == 2


def test_the_command_line_says_how_to_go_on_with_it(found, inside, monkeypatch, capsys):
    from mpsearch.cli.app import main

    monkeypatch.setattr(sys, "argv", ["mpsearch", "finetune", "tiny"])
    with pytest.raises(SystemExit) as stop:
        main()
    assert "made from Python objects" in f"{stop.value.code}{capsys.readouterr().err}"


def test_search_is_a_public_name():
    assert mpsearch.search is search
    with pytest.raises(TypeError, match="missing 3 required positional arguments"):
        mpsearch.search()


def test_a_notebook_shows_a_bar_where_it_can(monkeypatch, capsys):
    from mpsearch import progress

    monkeypatch.setattr("rich.console._is_jupyter", lambda: True)
    monkeypatch.setattr(progress, "find_spec", lambda name: None)
    assert not progress._in_notebook()  # rich needs ipywidgets there: plain lines
    monkeypatch.setattr(progress, "find_spec", lambda name: object())
    assert progress._in_notebook()
    monkeypatch.setattr("rich.console._is_jupyter", lambda: False)
    assert not progress._in_notebook()


def test_the_package_names_what_it_has():
    assert all(getattr(mpsearch, name) is not None for name in mpsearch.__all__)


def test_harms_are_measured_and_answer_budgets_and_rank(float_model, arrays, space, inside):
    found = search(float_model, arrays, space, trials=2, name="harms", **OPTIONS)
    with pytest.raises(StudyError, match="aren't known yet"):
        found.importance()
    rows = found.sensitivity(samples=64)
    assert [row.choice for row in rows] == [choice.name for choice in found.space.choices]
    solved = found.solve({"flash": 900})
    assert solved.config in found.space
    assert solved.values[0] <= 900
    importances = found.importance()
    assert importances.trainings == len(found.study.records())
    assert {row.choice for row in importances.rows} == {row.choice for row in rows}
    analysed = found.analyse(samples=32)
    assert [row.site for row in analysed.analysis.sites] == list(found.space.sites)
    with pytest.raises(ConfigError, match="leave one of them out"):
        found.analyse(train=True, alpha="auto_po2")
    assert all(candidate.believed is not None for candidate in found.top(2))
