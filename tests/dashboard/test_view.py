"""The view of a study that the dashboard shows: equal to its records, up to date, and without effect on it."""

import json
import math
from pathlib import Path

import pytest

from mpsearch.by_layer import rows_by_layer
from mpsearch.dashboard.files import Files, artifacts_of
from mpsearch.dashboard.notes import LINE, remark_in
from mpsearch.dashboard.view import STUDY_ID, OutdatedNoteError, StudyView
from mpsearch.errors import StudyError
from mpsearch.export.folders import export_folders, remember_export
from mpsearch.markdown import markdown_table
from mpsearch.records import State, TrialRecord
from mpsearch.study import open_study


@pytest.fixture
def study(tiny_study, tiny_engine):
    """A study with a complete trial, a pruned one, a failed one, one that was cut off, and two that wait."""
    made, space = tiny_study("mine"), tiny_engine.network.space
    for how in ("complete", "pruned", "failed"):
        asked = made.ask(space)
        costs = tiny_engine.costs(asked.config).to_json()
        for epoch, score in enumerate((0.5, 0.625)):
            made.report(asked.number, epoch, score)
        done = TrialRecord(asked.number, State.COMPLETE, metric=0.6, score=0.625, costs=costs, delta=0.04, epochs=2)
        if how == "complete":
            made.complete(asked.number, done)
        else:
            made.fail(asked.number, "loss is nan" if how == "failed" else "hopeless", how == "pruned", done)
    made.interrupt(made.ask(space).number)
    made.enqueue(space, made.record(0).config, "idea")
    made.set_remark("a late rise", 1)
    return made


def bodies(view):
    attributes = view.get_study_system_attrs(STUDY_ID)
    return {key: value for key, value in attributes.items() if "note_str" in key}


def test_it_is_equal_to_the_records(study):
    view = StudyView(study)
    records, trials = study.records(), view.get_all_trials(STUDY_ID)
    frozen = study.frozen_trials()
    assert [t.number for t in trials] == [r.number for r in records]
    assert [t.state for t in trials] == [t.state for t in frozen]
    assert [t.values for t in trials] == [t.values for t in frozen]
    assert [t.intermediate_values for t in trials] == [t.intermediate_values for t in frozen]
    assert [(t.datetime_start, t.datetime_complete) for t in trials] == [
        (t.datetime_start, t.datetime_complete) for t in frozen
    ]
    assert view.get_study_directions(STUDY_ID) == study._study.directions
    assert view.get_study_system_attrs(STUDY_ID)["study:metric_names"] == ["score"]
    for trial, record, was in zip(trials, records, frozen, strict=True):
        assert set(trial.params) == {name.removesuffix(" alpha") for name in was.params}
        config = record.config or records[0].config  # of those that wait
        if record.config is not None or record.origin == "idea":
            assert trial.params == {site: str(config[site]) for site in trial.params}
    complete, pruned, failed, broken, retry, idea = (trial.user_attrs for trial in trials)
    assert (complete["accuracy"], complete["δ"], complete["epochs"]) == (0.6, 0.04, 2)
    assert complete["total_bits"] == records[0].costs["total_bits"]
    assert (pruned["cause"], failed["cause"]) == ("hopeless", "loss is nan")
    assert (broken["cause"], broken["cut off"]) == ("interrupted", True)
    assert (retry["origin"], idea["origin"]) == ("random", "idea")


def test_its_choices_are_the_menus_narrowest_first(study, tiny_engine):
    space = tiny_engine.network.space
    trial = StudyView(study).get_trial(0)
    for choice in space.free:
        assert list(trial.distributions[choice.name].choices) == [str(spec) for spec in choice.specs]


def test_it_follows_the_study(study, tiny_engine):
    view = StudyView(study, fresh=0.0)
    asked = study.ask(tiny_engine.network.space)
    study.report(asked.number, 0, 0.25)
    shown = view.get_trial(asked.number)
    assert (shown.state.name, shown.intermediate_values) == ("RUNNING", {0: 0.25})
    assert "epochs" not in shown.user_attrs
    study.complete(asked.number, TrialRecord(asked.number, State.COMPLETE, metric=0.5, score=0.5))
    assert view.get_trial(asked.number).value == 0.5
    assert "complete" in bodies(view)[f"dashboard:{asked.number}:note_str:0"]


def test_what_was_read_is_shown_for_a_while_and_on_when_the_storage_fails(study, tiny_engine, monkeypatch):
    said = []
    late = StudyView(study, fresh=math.inf)
    view = StudyView(study, fresh=0.0, trouble=said.append)
    count = len(study.records())
    study.ask(tiny_engine.network.space)
    assert len(late.get_all_trials(STUDY_ID)) == count

    def away(of):
        raise StudyError("it is away")

    monkeypatch.setattr("mpsearch.dashboard.view.readable_trials", away)
    assert len(view.get_all_trials(STUDY_ID)) == count
    assert len(view.get_all_trials(STUDY_ID)) == count
    assert said == ["the study can't be read any more, what was read last is shown: it is away"]


def test_looking_changes_nothing(study):
    database = Path("studies/mpsearch.db")
    before, attributes = database.read_bytes(), dict(study._study.user_attrs)
    view = StudyView(open_study("mine"), fresh=0.0)
    view.get_all_trials(STUDY_ID)
    assert database.read_bytes() == before
    assert open_study("mine")._study.user_attrs == attributes


def test_it_can_t_be_written_to(study):
    view = StudyView(study)
    for write in (
        lambda: view.delete_study(STUDY_ID),
        lambda: view.create_new_study([]),
        lambda: view.create_new_trial(STUDY_ID),
        lambda: view.set_study_user_attr(STUDY_ID, "a", 1),
        lambda: view.set_study_system_attr(STUDY_ID, "a", 1),
        lambda: view.set_trial_user_attr(0, "a", 1),
        lambda: view.set_trial_system_attr(0, "a", 1),
        lambda: view.set_trial_state_values(0, view.get_trial(0).state),
        lambda: view.set_trial_intermediate_value(0, 0, 1.0),
        lambda: view.set_trial_param(0, "a", 1.0, None),
    ):
        with pytest.raises(StudyError, match="only notes can be changed"):
            write()


def test_a_note_says_what_is_known_and_keeps_what_the_user_writes(study):
    view = StudyView(study)
    note = bodies(view)["dashboard:1:note_str:0"]
    assert note.startswith(f"a late rise\n\n{LINE}\n\n**Trial 1**: pruned, hopeless\n\nProposed by random")
    assert "| total_bits |" in note
    assert markdown_table(rows_by_layer(study.record(1).config)) in note

    view.write_note(1, 2, f"it rises late\n\n{LINE}\n\nscribbled below")
    assert study.remark(1) == "it rises late"
    assert bodies(view)["dashboard:1:note_str:0"] == note.replace("a late rise", "it rises late")
    assert view.get_study_system_attrs(STUDY_ID)["dashboard:1:note_ver"] == 2
    view.write_note(1, 3, f"it rises late\n\n{LINE}\n\nscribbled again")  # nothing of it is the user's
    assert view.get_study_system_attrs(STUDY_ID)["dashboard:1:note_ver"] == 3
    with pytest.raises(OutdatedNoteError, match="copy what you wrote"):
        view.write_note(1, 3, "too late")
    view.write_note(None, 2, "without the line, all of it is mine")
    assert (study.remark(), study.remark(1)) == ("without the line, all of it is mine", "it rises late")
    assert remark_in(LINE) == ""


def test_a_note_on_the_study_says_what_to_type(study):
    note = bodies(StudyView(study, "sqlite:///other.db"))["dashboard:note_str:0"]
    assert "| sampler | random |" in note
    assert "mpsearch study run mine --trials N --storage sqlite:///other.db" in note


def test_notes_can_be_written_while_it_is_run_but_not_while_it_is_changed(study, monkeypatch):
    monkeypatch.setattr("mpsearch.study.LOCK_WAIT", 0.0)
    view, other = StudyView(study), open_study("mine")
    with other.shared():
        view.write_note(None, 2, "meanwhile")
    assert other.remark() == "meanwhile"
    with other.exclusive(), pytest.raises(StudyError, match="is changing the study"):
        view.write_note(None, 3, "meanwhile again")


def test_the_report_and_exports_are_artifacts(study, tmp_path):
    assert artifacts_of(study.folder) == []
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "model.onnx").write_bytes(b"onnx")
    about = {"study": "mine", "trial": 2, "weights": "trial", "files": {"onnx": {"path": "model.onnx"}}}
    (folder / "export.json").write_text(json.dumps(about))
    study.folder.mkdir(parents=True, exist_ok=True)
    (study.folder / "report.html").write_text("<html>")
    for path in (folder, folder, tmp_path / "gone"):
        remember_export(study.folder, path)
    assert [found.path for found in export_folders(study.folder)] == [folder]
    view = StudyView(study)
    artifacts = [json.loads(v) for k, v in view.get_trial(2).system_attrs.items() if k.startswith("artifacts:")]
    assert [artifact["filename"] for artifact in artifacts] == ["out-export.json", "out-model.onnx"]
    files = Files(view.artifacts)
    with files.open_reader(artifacts[1]["artifact_id"]) as read:
        assert read.read() == b"onnx"
    (report,) = (v for k, v in view.get_study_system_attrs(STUDY_ID).items() if k.startswith("artifacts:"))
    assert json.loads(report)["mimetype"] == "text/html"
