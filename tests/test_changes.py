"""What a study takes over of a changed space file while none of its trials has begun."""

import dataclasses

import pytest

from mpsearch.changes import check_file
from mpsearch.creation import check_unchanged, float_weights, resolve
from mpsearch.errors import ConfigError, StudyError
from mpsearch.spacefile import load_space_file
from mpsearch.study import open_study


@pytest.fixture
def changed(tiny_engine, tmp_path):
    """The tiny space file with a text in place of another, and its space."""

    def make(old, new):
        assert old in tiny_engine.file.text
        path = tmp_path / "tiny.py"
        path.write_text(tiny_engine.file.text.replace(old, new))
        file = load_space_file(path)
        return file, resolve(file, tiny_engine.data)

    return make


RECIPE = ("learning_rate=2e-3", "learning_rate=3e-3")
CHOICES = ("bits(2, 4, 8", "bits(2, 3, 4, 8")
SCORING = {
    "metric": ("training=Training(epochs=2", 'metric="top_k_categorical_accuracy", training=Training(epochs=2'),
    "forgiving": ("\nspace.skip", "\nimport mpsearch\nforgiving = mpsearch.ForgivingFactor(1.0)\nspace.skip"),
    "reference_costs": ("\nspace.skip", "\nimport mpsearch\nreference = mpsearch.ReferenceBits(8)\nspace.skip"),
}


def taken(study, engine, file, space):
    """The notes on a change that a study takes over, unasked."""
    check_file(study, file)
    return check_unchanged(study, file, engine.data, space, weights=float_weights(file, engine.data))


@pytest.mark.parametrize("queued", [False, True])
def test_a_study_whose_trials_have_not_begun_takes_a_new_recipe_over(tiny_study, tiny_engine, changed, queued):
    study = tiny_study()
    if queued:
        study.enqueue(tiny_engine.network.space, tiny_engine.network.space.uniform(8), "uniform 8")
    file, space = changed(*RECIPE)
    first, *shown = taken(study, tiny_engine, file, space)
    assert first == "note: no trial of `tiny` has begun, so that it takes over what changed"
    assert any("3e-3" in line for line in shown)
    again = open_study("tiny")
    assert again.provenance.space_text == file.text
    assert again.history[0]["space_text"] == tiny_engine.file.text
    assert taken(again, tiny_engine, file, space) == []
    number, *_ = again.ask(space)
    assert not again.record(number).before_change


def test_new_data_and_weights_are_taken_over_before_the_first_trial(tiny_study, tiny_engine):
    study = tiny_study()
    data = dataclasses.replace(tiny_engine.data, test=tiny_engine.data.test.head(5))
    notes = check_unchanged(study, tiny_engine.file, data, tiny_engine.network.space, weights="123")
    assert [line.split(":")[0] for line in notes] == ["note", "data", "float weights"]
    was = open_study("tiny").provenance
    assert (was.data_fingerprint, was.float_weights) == (data.fingerprint, "123")


def test_a_trial_that_has_begun_keeps_a_change_from_being_taken_over(tiny_study, tiny_engine, changed):
    study = tiny_study()
    study.ask(tiny_engine.network.space)
    file, space = changed(*RECIPE)
    with pytest.raises(StudyError, match="--accept-change"):
        check_file(study, file)
    with pytest.raises(StudyError, match="--accept-change"):
        check_unchanged(study, file, tiny_engine.data, space)


def test_a_study_without_trials_takes_other_choices_over_and_proposes_them(tiny_study, tiny_engine, changed):
    study = tiny_study()
    file, space = changed(*CHOICES)
    assert taken(study, tiny_engine, file, space)[0].startswith("note: no trial")
    again = open_study("tiny")
    was = again.provenance
    assert (was.space_fingerprint, was.space_size) == (space.fingerprint, str(space.size))
    widths = {spec.bits for _ in range(20) for site, spec in again.ask(space)[1].items() if site.endswith("kernel")}
    assert 3 in widths
    assert taken(again, tiny_engine, file, space) == []
    assert was.sites == [dict(row) for row in space.rows()]


@pytest.mark.parametrize("what", SCORING)
def test_a_study_without_trials_takes_another_score_over(tiny_study, tiny_engine, changed, what):
    study = tiny_study()
    before = getattr(study.provenance, what)
    file, space = changed(*SCORING[what])
    assert taken(study, tiny_engine, file, space)[0].startswith("note: no trial")
    again = open_study("tiny")
    assert getattr(again.provenance, what) != before
    assert taken(again, tiny_engine, file, space) == []


@pytest.mark.parametrize("change", [CHOICES, *SCORING.values()], ids=["choices", *SCORING])
def test_queued_trials_keep_choices_and_scores_from_being_taken_over(tiny_study, tiny_engine, changed, change):
    study = tiny_study()
    study.enqueue(tiny_engine.network.space, tiny_engine.network.space.uniform(8), "uniform 8")
    file, space = changed(*change)
    with pytest.raises(StudyError, match="can't be compared"):
        check_unchanged(study, file, tiny_engine.data, space)
    assert open_study("tiny").provenance.space_text == tiny_engine.file.text


def test_a_study_that_another_process_runs_takes_nothing_over(tiny_study, tiny_engine, changed):
    study = tiny_study()
    file, space = changed(*RECIPE)
    with study.exclusive(), pytest.raises(StudyError, match="another process is running"):
        taken(open_study("tiny"), tiny_engine, file, space)
    assert open_study("tiny").provenance.space_text == tiny_engine.file.text


def test_what_no_training_could_use_is_not_taken_over(tiny_study, tiny_engine, changed):
    study = tiny_study()
    file, space = changed("training=Training(epochs=2", 'metric="accurac", training=Training(epochs=2')
    with pytest.raises(ConfigError, match="did you mean 'accuracy'"):
        taken(study, tiny_engine, file, space)
    assert open_study("tiny").provenance.space_text == tiny_engine.file.text
