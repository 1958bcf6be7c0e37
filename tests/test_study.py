"""Creating, finding and refusing studies; what they hold."""

import dataclasses
import json

import optuna
import pytest

from mpsearch.creation import check_unchanged, provenance_of, resolve
from mpsearch.errors import ConfigError, StudyError
from mpsearch.spacefile import load_space_file
from mpsearch.study import open_study, study_names


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


def test_a_storage_that_cannot_be_opened_is_named_without_its_password():
    with pytest.raises(StudyError, match="can't open the storage") as raised:
        open_study("any", "postgresql://user:secret@localhost/nowhere")
    assert "secret" not in str(raised.value)


def test_unknown_samplers_and_pruners_are_refused(tiny_study):
    with pytest.raises(ConfigError, match="sampler must be one of tpe, random, grid, but got 'best'"):
        tiny_study(sampler="best")
    with pytest.raises(ConfigError, match="pruner must be one of"):
        tiny_study(pruner="hard")


def test_studies_of_others_and_of_later_versions_are_refused(tiny_study, tmp_path):
    study = tiny_study("mine")
    optuna.create_study(storage=study._study._storage, study_name="other")
    with pytest.raises(StudyError, match="wasn't made by mpsearch"):
        open_study("other")
    study._study.set_user_attr("mpsearch", {**vars(study.provenance), "format": 99})
    with pytest.raises(StudyError, match="format 99"):
        open_study("mine")


def changed(engine, tmp_path, old, new):
    assert old in engine.file.text
    path = tmp_path / "tiny.py"
    path.write_text(engine.file.text.replace(old, new))
    file = load_space_file(path)
    return file, resolve(file, engine.data)


def test_a_changed_space_file_is_refused_with_the_difference_unless_accepted(tiny_study, tiny_engine, tmp_path):
    study, data = tiny_study(), tiny_engine.data
    check_unchanged(study, tiny_engine.file, data, tiny_engine.network.space)
    file, space = changed(tiny_engine, tmp_path, "learning_rate=2e-3", "learning_rate=3e-3")
    with pytest.raises(StudyError, match=r"--accept-change(?s:.*)\n-.*2e-3(?s:.*)\n\+.*3e-3"):
        check_unchanged(study, file, data, space)
    check_unchanged(study, file, data, space, accept=True)
    check_unchanged(open_study("tiny"), file, data, space)
    assert study._study.user_attrs["history"][0]["space_text"] == tiny_engine.file.text


def test_changed_choices_are_refused_even_when_accepted(tiny_study, tiny_engine, tmp_path):
    study = tiny_study()
    file, space = changed(tiny_engine, tmp_path, "bits(2, 4, 8", "bits(2, 3, 4, 8")
    with pytest.raises(StudyError, match="can't be compared"):
        check_unchanged(study, file, tiny_engine.data, space, accept=True)


def test_changed_data_is_refused(tiny_study, tiny_engine):
    data = dataclasses.replace(tiny_engine.data, test=tiny_engine.data.test.head(5))
    with pytest.raises(StudyError, match="data: "):
        check_unchanged(tiny_study(), tiny_engine.file, data, tiny_engine.network.space)


def test_a_trial_that_is_not_there_is_named(tiny_study):
    with pytest.raises(StudyError, match="no trial 3"):
        tiny_study().record(3)


def test_provenance_is_plain_data(tiny_engine):
    made = provenance_of(tiny_engine.file, tiny_engine.data, tiny_engine.network.space, 0, "tpe", "none")
    assert json.loads(json.dumps(vars(made)))["space_hash"] == tiny_engine.file.hash
