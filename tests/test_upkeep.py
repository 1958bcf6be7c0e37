"""Renaming, deleting, copying, exporting and importing studies: nothing is lost on the way."""

import csv
import io
import json
from pathlib import Path

import pytest

from mpsearch.errors import StudyError
from mpsearch.finetuning import weights_of
from mpsearch.records import State, TrialRecord
from mpsearch.runners.weights import save_weights, weights_file
from mpsearch.study import open_study, study_names
from mpsearch.upkeep import copy_study, delete_study, import_study, rename_study, to_csv, to_json


@pytest.fixture
def study(tiny_study, tiny_engine):
    """A study with a complete, a failed, a broken and a waiting trial, weights, a note, tags and a repeat."""
    made, space = tiny_study("mine", "tpe", "median", 3, {"n_startup_trials": 2}), tiny_engine.network.space
    made.enqueue(space, space.uniform(8), "uniform 8")
    number, config, *_ = made.ask(space)
    curve = [{"loss": 1.5, "val_accuracy": 0.5, "score": 0.25}]
    made.report(number, 0, 0.25)
    costs = {"total_bits": 12, "parameter_bits": 8, "activation_bits": 4}
    record = TrialRecord(0, State.COMPLETE, metric=0.5, score=0.6, costs=costs, delta=0.2, epochs=1, seconds=1.5,
                         curve=curve)  # fmt: skip
    save_weights(weights_file(made, 0), tiny_engine.network.state(), config)
    made.complete(number, record)
    made.fail(made.ask(space)[0], 'TrainingError: [/bold] loss, "nan"')
    made.interrupt(made.ask(space)[0])
    made.tag(["paper", "cifar"])
    made.set_remark("a first try")
    made.set_remark("odd", 1)
    made.keep("repeat 0 1", {"score": 0.5, "metric": 0.4, "curve": []})
    return made


def content(study):
    """All of a study but its name, id and folder."""
    data = to_json(study)
    unique = {key: data["provenance"].pop(key) for key in ("id", "folder")}
    assert all(unique.values())
    del data["name"], data["provenance"]
    return json.loads(json.dumps(data))


def states(study):
    return [record.state for record in study.records()]


def test_a_renamed_study_keeps_all_and_its_folder(study, tiny_study):
    before, folder = content(study), study.folder
    tiny_study("other")
    renamed = rename_study("mine", "yours")
    assert study_names() == ["yours", "other"] or study_names() == ["other", "yours"]
    assert content(renamed) == before
    assert renamed.folder == folder
    assert weights_of(open_study("yours"), renamed.record(0)) is not None
    with pytest.raises(StudyError, match=r"there is a study `other` in .* already"):
        rename_study("yours", "other")


def test_a_renamed_study_of_format_1_finds_its_folder(study):
    was = vars(study.provenance)
    study._study.set_user_attr("mpsearch", {**{k: v for k, v in was.items() if k not in ("id", "folder")}, "format": 1})
    study.folder.rename("studies/runs/mine")
    rename_study("mine", "yours")
    assert weights_of(open_study("yours"), open_study("yours").record(0)) is not None


def test_a_deleted_study_takes_its_files_with_it_and_no_others(study, tiny_study):
    other = tiny_study("other")
    other.folder.mkdir(parents=True)
    delete_study("mine")
    assert study_names() == ["other"]
    assert not study.folder.exists()
    assert other.folder.exists()


@pytest.mark.parametrize("change", [lambda: rename_study("mine", "new"), lambda: delete_study("mine"),
                                    lambda: copy_study("mine", "new")])  # fmt: skip
def test_a_study_that_runs_is_left_alone(study, change):
    with study.shared(), pytest.raises(StudyError, match="another process"):
        change()
    assert study_names() == ["mine"]


def test_a_copy_has_trials_weights_and_notes_of_its_own(study, tiny_engine):
    copy = copy_study("mine", "second")
    assert content(copy) == content(study)
    assert copy.folder != study.folder
    assert weights_of(copy, copy.record(0)) is not None
    assert copy.provenance.id != study.provenance.id
    delete_study("mine")
    assert weights_of(copy, copy.record(0)) is not None
    number, _, sequence, *_ = copy.ask(tiny_engine.network.space)
    assert (number, sequence) == (3, 2)  # the queued one, in its place


def test_a_copy_has_its_fine_tunings_in_its_own_folder(study):
    folder = study.folder / "finetuned" / "trial-0"
    folder.mkdir(parents=True)
    tuned = {"trial": 0, "validation": 0.5, "folder": str(folder)}
    (folder / "result.json").write_text(json.dumps(tuned))
    (folder / "epochs.csv").write_text("loss")
    study.keep("finetuned trial-0", tuned)
    copy = copy_study("mine", "second")
    delete_study("mine")
    kept = open_study("second").kept("finetuned ")["finetuned trial-0"]
    assert kept == {**tuned, "folder": str(copy.folder / "finetuned" / "trial-0")}
    assert json.loads((Path(kept["folder"]) / "result.json").read_text()) == kept
    assert (Path(kept["folder"]) / "epochs.csv").read_text() == "loss"


@pytest.mark.parametrize("name", ["", "  "])
def test_no_study_gets_an_empty_name(study, tiny_study, tmp_path, name):
    (tmp_path / "mine.json").write_text(json.dumps(to_json(study)))
    for change in (
        lambda: tiny_study(name),
        lambda: rename_study("mine", name),
        lambda: copy_study("mine", name),
        lambda: import_study(tmp_path / "mine.json", name),
    ):
        with pytest.raises(StudyError, match="a study needs a name that isn't empty, but got '"):
            change()
    assert study_names() == ["mine"]


def test_an_exported_study_is_imported_as_it_was_but_for_weights(study, tiny_engine, tmp_path, monkeypatch):
    file = tmp_path / "mine.json"
    file.write_text(json.dumps(to_json(study)))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    back = import_study(file)
    assert content(open_study("mine")) == json.loads(json.dumps(content(back)))
    assert states(back) == [State.COMPLETE, State.FAILED, State.BROKEN, State.WAITING]
    assert (back.tags, back.remark(), back.remark(1)) == (("cifar", "paper"), "a first try", "odd")
    assert weights_of(back, back.record(0)) is None
    monkeypatch.chdir(tmp_path)
    original, imported = study.records(), back.records()
    assert original == imported
    with pytest.raises(StudyError, match=r"there is a study `mine` in .* already: give another --name \("):
        import_study(file)
    assert import_study(file, "again").finished == study.finished
    monkeypatch.chdir(elsewhere)
    proposals = []
    for made in (study, back):
        made.ask(tiny_engine.network.space)  # the queued one
        proposals.append(made.ask(tiny_engine.network.space)[1])
    assert proposals[0] == proposals[1]


def test_trials_of_format_1_keep_what_they_were_trained_under(study, tmp_path):
    data = to_json(study)
    for trial in data["trials"]:
        trial["attributes"].pop("conditions", None)
    for key in ("id", "folder", "float_weights", "forgiving", "sampler_options", "pruner_options"):
        del data["provenance"][key]
    data["provenance"]["format"] = data["format"] = 1
    (tmp_path / "old.json").write_text(json.dumps(data))
    back = import_study(tmp_path / "old.json", "old")
    assert not back.record(0).before_change
    back.accept({"data_fingerprint": "other"})
    assert back.record(0).before_change


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "can't read"),
        ("[1]", "is no exported study"),
        ('{"trials": []}', "is no exported study"),
        ('{"kind": "mpsearch study", "format": 99, "mpsearch": "7.0"}', r"has format 99, .* use mpsearch 7.0 or later"),
    ],
)
def test_files_that_are_no_export_are_refused(tmp_path, text, message):
    (tmp_path / "file.json").write_text(text)
    with pytest.raises(StudyError, match=message):
        import_study(tmp_path / "file.json")


def test_the_table_has_a_row_a_trial_and_a_column_a_site(study, tiny_engine):
    rows = list(csv.DictReader(io.StringIO(to_csv(study))))
    assert [row["state"] for row in rows] == ["complete", "failed", "broken", "waiting"]
    assert rows[0]["total_bits"] == "12"
    assert float(rows[0]["score"]) == 0.6
    assert rows[1]["cause"] == 'TrainingError: [/bold] loss, "nan"'
    config = study.record(0).config
    assert {site: rows[0][site] for site in config} == {site: str(spec) for site, spec in config.items()}
    assert rows[3]["conv/kernel"] == ""


def test_tags_and_notes_come_and_go(study):
    study.tag(["new", "paper"])
    assert open_study("mine").tags == ("cifar", "new", "paper")
    study.tag(["paper"], remove=True)
    assert study.tags == ("cifar", "new")
    with pytest.raises(StudyError, match="no tag paper; its tags: cifar, new"):
        study.tag(["paper"], remove=True)
    study.set_remark("", 1)
    assert (study.remark(1), study.remark()) == ("", "a first try")
    with pytest.raises(StudyError, match="no trial 77"):
        study.set_remark("x", 77)
    assert Path(study.folder).exists()
