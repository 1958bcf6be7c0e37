"""Studies go from storage to storage whole, or not at all."""

import json
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from mpsearch import transfer
from mpsearch.errors import StudyError
from mpsearch.leases import Holder, held_by
from mpsearch.storages import open_storage
from mpsearch.study import create_study, open_study, study_names
from mpsearch.transfer import Copied, copy_studies
from mpsearch.upkeep import to_json

SOURCE, TARGET = "sqlite:///a/a.db", "sqlite:///b/b.db"


@pytest.fixture
def mine(provenance, tmp_path, monkeypatch):
    """A study with trials of every state but running, notes, weights and a fine-tuning."""
    monkeypatch.chdir(tmp_path)
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    study = create_study("mine", provenance, SOURCE)
    for state, value in ((TrialState.COMPLETE, 1 / 3), (TrialState.FAIL, None), (TrialState.WAITING, None)):
        study.add_frozen(create_trial(state=state, value=value, user_attrs={"score": value}, system_attrs={"m": [1]},
                                      intermediate_values={0: 0.5, 1: float("inf")}))  # fmt: skip
    study.tag(["paper"])
    study.set_remark("first")
    tuned = study.folder / "finetuned" / "trial-0"
    tuned.mkdir(parents=True)
    (study.folder / "weights").write_text("w")
    study.keep("finetuned trial-0", {"trial": 0, "folder": str(tuned)})
    (tuned / "result.json").write_text(json.dumps({"trial": 0, "folder": str(tuned)}))
    return study


def test_a_copy_has_all_trials_attributes_and_files(mine):
    assert copy_studies(SOURCE, TARGET) == ([Copied("mine", 3, True)], [])
    copy = open_study("mine", TARGET)
    assert to_json(copy)["trials"] == to_json(mine)["trials"]
    assert copy.records() == mine.records()
    assert (copy.tags, copy.remark()) == (("paper",), "first")
    assert copy.provenance.id != mine.provenance.id
    assert copy.folder.parent == Path("b/runs")
    assert (copy.folder / "weights").read_text() == "w"
    assert copy.kept("finetuned ")["finetuned trial-0"]["folder"] == str(copy.folder / "finetuned" / "trial-0")
    assert open_study("mine", SOURCE).records() == mine.records()


def test_a_file_that_isn_t_there_is_refused_and_not_made(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StudyError, match=r"there is no none\.db"):
        copy_studies("sqlite:///none.db", "sqlite:///other.db")
    assert list(tmp_path.iterdir()) == []


def test_studies_are_chosen_by_name_and_others_left_out(mine, provenance):
    create_study("second", provenance, SOURCE)
    optuna.create_study(study_name="foreign", storage=open_storage(SOURCE))
    assert copy_studies(SOURCE, TARGET, ["second"]) == ([Copied("second", 0, False)], [])
    assert study_names(TARGET) == ["second"]
    with pytest.raises(StudyError, match=r"no study `third` in sqlite:///a/a\.db; there are mine, second, foreign"):
        copy_studies(SOURCE, TARGET, ["mine", "third"])
    with pytest.raises(StudyError, match="`foreign` wasn't made by mpsearch"):
        copy_studies(SOURCE, TARGET, ["foreign"])
    with pytest.raises(StudyError, match="has a study `second` already, and nothing was copied"):
        copy_studies(SOURCE, TARGET)
    assert study_names(TARGET) == ["second"]
    assert copy_studies(SOURCE, TARGET, ["mine"]) == ([Copied("mine", 3, True)], [])


@pytest.mark.parametrize("other", [SOURCE, "sqlite:////{folder}/a/a.db", "sqlite:///b/../a/a.db"])
def test_a_storage_is_not_copied_to_itself(mine, tmp_path, other):
    with pytest.raises(StudyError, match="mpsearch study copy NAME NEW"):
        copy_studies(SOURCE, other.format(folder=tmp_path))


def test_running_trials_are_copied_only_where_that_is_asked_for(mine):
    mine.add_frozen(create_trial(state=TrialState.RUNNING, user_attrs={"origin": "random"}))
    with pytest.raises(StudyError, match="trial 3 of `mine` is running, and nothing was copied"):
        copy_studies(SOURCE, TARGET)
    assert study_names(TARGET) == []
    assert copy_studies(SOURCE, TARGET, running=True) == ([Copied("mine", 4, True)], [])
    assert open_study("mine", TARGET).recover() == open_study("mine", SOURCE).recover() == [3]


def test_a_trial_whose_process_on_another_machine_may_be_dead_is_copied_as_it_is(mine):
    elsewhere = held_by(Holder("theirs", "another machine", 1, "5"))
    mine.add_frozen(create_trial(state=TrialState.RUNNING, user_attrs={"origin": "random", **elsewhere}))
    assert copy_studies(SOURCE, TARGET, running=True) == ([Copied("mine", 4, True)], [])
    assert [trial.number for trial in open_study("mine", TARGET).running()] == [3]


def test_a_database_that_keeps_whole_seconds_takes_a_copy_as_well(mine, mysql_url):
    assert copy_studies(SOURCE, mysql_url) == ([Copied("mine", 3, True)], [])


def test_a_copy_that_differs_is_said_and_leaves_nothing_behind(mine, monkeypatch):
    restore = transfer.restore

    def careless(name, data, storage):
        del data["trials"][0]["curve"]["1"]
        made = restore(name, data, storage)
        data["trials"][0]["curve"]["1"] = float("inf")
        return made

    monkeypatch.setattr(transfer, "restore", careless)
    with pytest.raises(StudyError, match=r"the copy of `mine` in sqlite:///b/b\.db differs in trial 0"):
        copy_studies(SOURCE, TARGET)
    assert study_names(TARGET) == []
    assert [path for path in Path("b").rglob("*") if path.is_file()] == [Path("b/b.db")]
