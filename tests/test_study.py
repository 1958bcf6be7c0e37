"""Creating, finding and refusing studies; what they hold."""

import dataclasses
import errno
import json
import sqlite3
from pathlib import Path

import optuna
import pytest

import mpsearch
from mpsearch.creation import (
    check_unchanged,
    engine_of,
    float_weights,
    note_weights,
    prepared,
    provenance_of,
    resolve,
    uniform_config,
)
from mpsearch.errors import ConfigError, StudyError
from mpsearch.records import State, TrialRecord
from mpsearch.runners.weights import forget_weights
from mpsearch.spacefile import load_space_file
from mpsearch.study import Study, create_study, open_study, study_names


def test_a_study_remembers_what_it_was_made_of(tiny_study, tiny_engine):
    tiny_study("mine", "tpe", "median", 7)
    was = open_study("mine").provenance
    assert was.space_text == tiny_engine.file.text
    assert was.data_fingerprint == tiny_engine.data.fingerprint
    assert (
        was.space_fingerprint
        == tiny_engine.network.space.fingerprint
        == resolve(tiny_engine.file, tiny_engine.data).fingerprint
    )
    assert (was.sampler, was.pruner, was.seed, was.metric) == ("tpe", "median", 7, "accuracy")
    assert int(was.space_size) == tiny_engine.network.space.size
    assert {"keras", "tensorflow", "qkeras-v3", "optuna", "python"} <= set(was.versions)
    assert was.reference_costs["total_bits"] == tiny_engine.cost.reference_cost.total_bits
    json.dumps(vars(was))


def test_names_are_unique_and_misspelt_ones_are_guessed(tiny_study):
    tiny_study("mine")
    with pytest.raises(StudyError, match="there is a study `mine` already"):
        tiny_study("mine")
    with pytest.raises(StudyError, match="did you mean `mine`"):
        open_study("mien")
    assert study_names() == ["mine"]


def test_without_a_database_the_way_to_one_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StudyError, match="mpsearch study create"):
        open_study("any")
    assert not (tmp_path / "studies").exists()


def test_a_storage_that_cannot_be_opened_is_named_without_its_password(monkeypatch):
    monkeypatch.setattr("mpsearch.storages.FIRST_PATIENCE", 0.0)
    with pytest.raises(StudyError, match="can't open the storage") as raised:
        open_study("any", "postgresql://user:secret@localhost/nowhere")
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    "url", ["sqlite://", "sqlite:///:memory:", "sqlite+pysqlite://", "sqlite:///file:x?mode=memory&uri=true"]
)
def test_storages_that_forget_everything_are_refused(url):
    with pytest.raises(StudyError, match="a study must outlive its process"):
        study_names(url)


def test_studies_of_one_name_never_share_a_folder(tiny_study, tiny_engine, tmp_path):
    first = tiny_study("mine")
    (tmp_path / "studies" / "mpsearch.db").unlink()
    again = tiny_study("mine", seed=1)
    elsewhere = create_study("mine", first.provenance, f"sqlite:///{tmp_path / 'studies' / 'other.db'}")
    assert len({study.folder for study in (first, again, elsewhere)}) == 3
    assert {study.folder.parent for study in (first, again, elsewhere)} == {
        Path("studies/runs"), tmp_path / "studies" / "runs",
    }  # fmt: skip
    assert open_study("mine").folder == again.folder


@pytest.mark.parametrize(
    ("pruner", "options"),
    [
        ("median", {"n_startup_trials": 2}),
        ("percentile", {"percentile": 30.0, "n_startup_trials": 2}),
        ("hyperband", {"min_resource": 1, "max_resource": 8, "reduction_factor": 2}),
        ("wilcoxon", {"p_threshold": 0.2, "n_startup_steps": 2}),
        ("none", {}),
    ],
)
def test_pruners_stop_hopeless_trials_and_spare_the_best(tiny_study, tiny_engine, pruner, options):
    """Curves of eight epochs: every third trial lies far below all others, and each of these above those before it."""
    made = tiny_study("mine", "random", pruner, pruner_options=options)
    study, lengths = open_study("mine"), {True: [], False: []}
    for number in range(18):
        asked, *_ = study.ask(tiny_engine.network.space)
        hopeless = number % 3 == 2
        for epoch in range(8):
            if study.report(asked, epoch, (0.1 if hopeless else 0.8) + 0.01 * number + 0.001 * epoch):
                study.fail(asked, "pruned", pruned=True)
                break
        else:
            study.complete(asked, TrialRecord(asked, State.COMPLETE, metric=0.5, score=0.5))
        lengths[hopeless].append(epoch + 1)
    assert made.provenance.pruner_options == options
    assert lengths[False] == [8] * 12
    if pruner == "none":
        assert lengths[True] == [8] * 6
    else:  # hyperband trains one of its brackets to the end
        assert sum(length < 8 for length in lengths[True]) >= (2 if pruner == "hyperband" else 6)


def test_unknown_samplers_and_pruners_are_refused(tiny_study):
    with pytest.raises(
        ConfigError,
        match="sampler must be one of auto, tpe, gp, random, grid, qmc, nsga2, nsga3, cmaes, but got 'best'",
    ):
        tiny_study(sampler="best")
    with pytest.raises(ConfigError, match="pruner must be one of"):
        tiny_study(pruner="hard")


def test_studies_of_others_and_of_later_versions_are_refused(tiny_study, tmp_path):
    study = tiny_study("mine")
    optuna.create_study(storage=study._study._storage, study_name="other")
    with pytest.raises(StudyError, match="wasn't made by mpsearch"):
        open_study("other")
    later = {**vars(study.provenance), "format": 99, "versions": {"mpsearch": "7.1.0"}, "new": 1}
    study._study.set_user_attr("mpsearch", later)
    with pytest.raises(StudyError, match=r"format 99, .* use mpsearch 7\.1\.0 or later"):
        open_study("mine")


NEW_IN_FORMAT_2 = ("id", "folder", "float_weights", "forgiving", "sampler_options", "pruner_options")


def age(study):
    """Make a study look as format 1 wrote it."""
    older = {key: value for key, value in vars(study.provenance).items() if key not in NEW_IN_FORMAT_2}
    older["versions"] = {key: value for key, value in older["versions"].items() if key != "mpsearch"}
    study._study.set_user_attr("mpsearch", {**older, "format": 1})


def check(study, file, engine, space=None, accept=False, data=None, weights=None):
    weights = float_weights(file, data or engine.data) if weights is None else weights
    return check_unchanged(study, file, data or engine.data, space or engine.network.space, accept, weights)


def test_a_study_of_format_1_opens_keeps_its_folder_and_is_brought_up_to_date(tiny_study, tiny_engine):
    made = tiny_study("old")
    record_a_trial(made, tiny_engine)
    age(made)
    study = open_study("old")
    assert study.folder == Path("studies/runs/old")
    assert study.provenance.format == 1
    check(study, tiny_engine.file, tiny_engine)
    again = open_study("old")
    assert again.provenance.format == 4
    assert again.provenance.float_weights == float_weights(tiny_engine.file, tiny_engine.data) != ""
    assert again.provenance.forgiving["delta_p"] == 5.0
    assert again.folder == Path("studies/runs/old")
    assert not again.record(0).before_change


def record_a_trial(study, engine):
    number, config, *_ = study.ask(engine.network.space)
    costs = engine.costs(config).to_json()
    study.complete(number, TrialRecord(number, State.COMPLETE, metric=0.5, score=0.5, costs=costs, delta=0.0))
    return config


def test_trials_from_before_an_accepted_change_are_marked_and_answer_nothing(tiny_study, tiny_engine, tmp_path):
    study = tiny_study()
    config = record_a_trial(study, tiny_engine)
    assert study.earlier(config.fingerprint).number == 0
    file, space = changed(tiny_engine, tmp_path, "learning_rate=2e-3", "learning_rate=3e-3")
    check(study, file, tiny_engine, space, accept=True)
    study = open_study("tiny")
    assert study.record(0).before_change
    assert study.earlier(config.fingerprint) is None
    other = record_a_trial(study, tiny_engine)
    assert not study.record(1).before_change
    assert study.earlier(other.fingerprint).number == 1
    check(study, tiny_engine.file, tiny_engine, accept=True)  # undone
    assert [record.before_change for record in study.records()] == [False, True]


def test_trials_of_format_1_are_those_from_before_the_first_change(tiny_study, tiny_engine, tmp_path, monkeypatch):
    study = tiny_study()
    with monkeypatch.context() as patch:
        known = Study._start_attributes
        patch.setattr(
            Study,
            "_start_attributes",
            lambda *a: {key: value for key, value in known(*a).items() if key != "conditions"},
        )
        record_a_trial(study, tiny_engine)  # without conditions, as format 1 wrote it
    age(study)
    study = open_study("tiny")
    assert not study.record(0).before_change
    file, space = changed(tiny_engine, tmp_path, "learning_rate=2e-3", "learning_rate=3e-3")
    check(study, file, tiny_engine, space, accept=True)
    assert open_study("tiny").record(0).before_change


OTHER_SCORES = {
    "metric": ("training=Training(epochs=2", 'metric="top_k_categorical_accuracy", training=Training(epochs=2'),
    "forgiving factor": ("\nspace.skip", "\nimport mpsearch\nforgiving = mpsearch.ForgivingFactor(1.0)\nspace.skip"),
    "reference": ("\nspace.skip", "\nimport mpsearch\nreference = mpsearch.ReferenceBits(8)\nspace.skip"),
}


@pytest.mark.parametrize("what", OTHER_SCORES)
def test_a_change_of_what_makes_up_a_score_is_refused_even_when_accepted(tiny_study, tiny_engine, tmp_path, what):
    study = tiny_study()
    record_a_trial(study, tiny_engine)
    file, space = changed(tiny_engine, tmp_path, *OTHER_SCORES[what])
    with pytest.raises(StudyError, match=f"can't be compared(?s:.*)\n{what}"):
        check(study, file, tiny_engine, space, accept=True)
    if what == "forgiving factor":
        age(study)
        with pytest.raises(StudyError, match=f"can't be compared(?s:.*)\n{what}"):
            check(open_study("tiny"), file, tiny_engine, space, accept=True)


def test_replaced_float_weights_are_a_change(tiny_study, tiny_engine):
    study = tiny_study()
    record_a_trial(study, tiny_engine)
    assert study.provenance.float_weights == float_weights(tiny_engine.file, tiny_engine.data)
    with pytest.raises(StudyError, match=r"float weights: .* in the study, 123 now"):
        check(study, tiny_engine.file, tiny_engine, weights="123")
    assert check(study, tiny_engine.file, tiny_engine, weights="") == []  # they are to be trained, and compared then
    check(study, tiny_engine.file, tiny_engine, weights="123", accept=True)
    assert study.record(0).before_change


def test_other_versions_are_noted_once(tiny_study, tiny_engine, monkeypatch):
    study = tiny_study()
    assert study.provenance.versions["mpsearch"] == mpsearch.__version__
    monkeypatch.setattr("mpsearch.creation.__version__", "9.9")
    (note,) = check(study, tiny_engine.file, tiny_engine)
    assert f"mpsearch was {mpsearch.__version__} in the study and is 9.9 now" in note
    assert check(study, tiny_engine.file, tiny_engine) == []
    assert study.history[0]["versions"]["mpsearch"] == mpsearch.__version__


def test_versions_that_come_and_go_with_the_nodes_of_a_cluster_are_kept_once(tiny_study, tiny_engine, monkeypatch):
    study, (here, there) = tiny_study(), (mpsearch.__version__, "9.9")
    for version in (there, here, there, here):
        monkeypatch.setattr("mpsearch.creation.__version__", version)
        check(study, tiny_engine.file, tiny_engine)
    assert len(study.history) == 1


def test_what_two_processes_add_to_the_provenance_at_the_same_time_stays(tiny_study, tiny_engine):
    study, other = tiny_study(), open_study("tiny")
    study.accept({"float_weights": ""})
    other.reread()
    study.complement({"float_weights": "123"})
    other.accept({"versions": {"mpsearch": "9.9"}})
    was = open_study("tiny").provenance
    assert (was.float_weights, was.versions) == ("123", {"mpsearch": "9.9"})


def test_a_node_without_float_weights_trains_them_and_goes_on_if_they_are_the_studys(
    tiny_study, tiny_engine, tmp_path, monkeypatch
):
    study = tiny_study()
    record_a_trial(study, tiny_engine)
    monkeypatch.setattr("mpsearch.creation.space_file_of", lambda study: tiny_engine.file)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another node"))
    assert float_weights(tiny_engine.file, tiny_engine.data) == ""
    prepared(study)
    assert float_weights(tiny_engine.file, tiny_engine.data) == study.provenance.float_weights
    known = study.provenance.float_weights
    study.accept({"float_weights": "123"})
    with pytest.raises(StudyError, match=r"trained here \(.*\) aren't those that `tiny` knows \(123\).*XDG_CACHE_HOME"):
        note_weights(study, tiny_engine.file, tiny_engine.data)
    note_weights(study, tiny_engine.file, tiny_engine.data, accept=True)
    assert open_study("tiny").provenance.float_weights == known


def test_a_changed_file_is_refused_before_anything_heavy_is_done(tiny_study, tiny_engine, tmp_path, monkeypatch):
    study = tiny_study()
    record_a_trial(study, tiny_engine)
    file, _ = changed(tiny_engine, tmp_path, "epochs=6", "epochs=7")  # of the float model
    monkeypatch.setattr("mpsearch.creation.space_file_of", lambda study: file)
    monkeypatch.setattr("mpsearch.task.Task.build", None)
    object.__setattr__(file.task, "data", None)
    with pytest.raises(StudyError, match="--accept-change"):
        engine_of(study)


def test_a_uniform_config_needs_a_menu_with_its_width(tiny_engine):
    space = tiny_engine.network.space
    assert uniform_config(space, 8) == space.uniform(8)
    with pytest.raises(ConfigError, match=r"no menu of the space has 5 bits.*2, 4, 8, 16"):
        uniform_config(space, 5)


def changed(engine, tmp_path, old, new):
    assert old in engine.file.text
    path = tmp_path / "tiny.py"
    path.write_text(engine.file.text.replace(old, new))
    file = load_space_file(path)
    return file, resolve(file, engine.data)


def test_a_changed_space_file_is_refused_with_the_difference_unless_accepted(tiny_study, tiny_engine, tmp_path):
    study, data = tiny_study(), tiny_engine.data
    record_a_trial(study, tiny_engine)
    check_unchanged(study, tiny_engine.file, data, tiny_engine.network.space)
    file, space = changed(tiny_engine, tmp_path, "learning_rate=2e-3", "learning_rate=3e-3")
    with pytest.raises(StudyError, match=r"--accept-change(?s:.*)\n-.*2e-3(?s:.*)\n\+.*3e-3"):
        check_unchanged(study, file, data, space)
    check_unchanged(study, file, data, space, accept=True)
    check_unchanged(open_study("tiny"), file, data, space)
    assert study._study.user_attrs["history"][0]["space_text"] == tiny_engine.file.text


def test_changed_choices_are_refused_even_when_accepted(tiny_study, tiny_engine, tmp_path):
    study = tiny_study()
    record_a_trial(study, tiny_engine)
    file, space = changed(tiny_engine, tmp_path, "bits(2, 4, 8", "bits(2, 3, 4, 8")
    with pytest.raises(StudyError, match="can't be compared"):
        check_unchanged(study, file, tiny_engine.data, space, accept=True)


def test_changed_data_is_refused(tiny_study, tiny_engine):
    data = dataclasses.replace(tiny_engine.data, test=tiny_engine.data.test.head(5))
    study = tiny_study()
    record_a_trial(study, tiny_engine)
    with pytest.raises(StudyError, match="data: "):
        check_unchanged(study, tiny_engine.file, data, tiny_engine.network.space)


def test_a_trial_that_is_not_there_is_named(tiny_study):
    with pytest.raises(StudyError, match="no trial 3"):
        tiny_study().record(3)


def test_provenance_is_plain_data(tiny_engine):
    made = provenance_of(tiny_engine.file, tiny_engine.data, tiny_engine.network.space, 0, "tpe", "none")
    assert json.loads(json.dumps(vars(made)))["space_hash"] == tiny_engine.file.hash


def test_float_weights_that_another_process_noted_meanwhile_must_be_the_same(tiny_study, tiny_engine):
    file, data = tiny_engine.file, tiny_engine.data
    tiny_study()._set_provenance(float_weights="")  # as where none were trained yet
    here, there, elsewhere = (open_study("tiny") for _ in range(3))
    here.complement({"float_weights": float_weights(file, data)})
    note_weights(there, file, data)
    assert there.provenance.float_weights == here.provenance.float_weights
    here.complement({"float_weights": "another"})
    with pytest.raises(StudyError, match=r"weights trained here .* that `tiny` knows \(another\).*XDG_CACHE_HOME"):
        note_weights(elsewhere, file, data)
    assert open_study("tiny").provenance.float_weights == "another"


@pytest.mark.parametrize(
    "error", [sqlite3.OperationalError("locking protocol"), OSError(errno.ENOLCK, "No locks available")]
)
@pytest.mark.parametrize("way", ["shared", "exclusive"])
def test_where_files_cannot_be_locked_an_error_says_what_to_do(tiny_study, monkeypatch, way, error):
    def refuse(lock, timeout):
        raise error

    study = tiny_study()
    for kind in ("read", "write"):
        monkeypatch.setattr(f"filelock.ReadWriteLock.acquire_{kind}", refuse)
    with pytest.raises(StudyError, match=r"can't lock .*run\.lock \(.*lock.*\): its folder must be writable, and on a"):
        getattr(study, way)().__enter__()


def test_half_written_weights_of_trials_that_do_not_run_are_removed(tiny_study, tiny_engine):
    study = tiny_study()
    study.folder.mkdir(parents=True)
    record_a_trial(study, tiny_engine)
    running = study.ask(tiny_engine.network.space).number
    for number in (0, running):
        study.folder.joinpath(f"partial-trial-{number}.npz").touch()
    forget_weights(study)
    assert [path.name for path in study.folder.glob("partial-*")] == [f"partial-trial-{running}.npz"]
