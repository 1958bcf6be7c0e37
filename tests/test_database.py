"""SQL databases: what is read and written in a few queries is what Optuna's own storage reads and writes."""

import copy
import datetime
import math

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState, create_trial
from sqlalchemy.pool import NullPool

from mpsearch import database
from mpsearch.database import Database


def trials() -> list[FrozenTrial]:
    """One of each kind."""
    known = {"c": CategoricalDistribution((4, "auto", None)), "i": IntDistribution(2, 16, log=True)}
    known["f"] = FloatDistribution(0.0, 1.0)
    chosen = {"c": None, "i": 8, "f": 0.25}
    common = {"params": chosen, "distributions": known, "user_attrs": {"a": [1, {"b": None}], "": "ü"}}
    then = datetime.datetime(2026, 3, 1, 12, 30, 15)
    complete = create_trial(
        state=TrialState.COMPLETE, value=math.inf, **common, system_attrs={"s": 0.5},
        intermediate_values={0: 0.1, 3: math.nan, 7: -math.inf},
    )  # fmt: skip
    complete.datetime_start, complete.datetime_complete = then, then + datetime.timedelta(seconds=1.5)
    return [
        create_trial(state=TrialState.WAITING, **common),
        create_trial(state=TrialState.RUNNING, params={"i": 3}, distributions={"i": known["i"]}),
        complete,
        create_trial(state=TrialState.FAIL),
        create_trial(state=TrialState.PRUNED, value=0.25, intermediate_values={1: 0.25}),
    ]


@pytest.fixture(params=["sqlite", "postgres", "mysql"])
def opened(request, tmp_path):
    """Opens ours, or Optuna's own, storage of one database."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path}/s.db"
    elif request.param == "mysql":
        url = request.getfixturevalue("mysql_url").replace("mysql://", "mysql+pymysql://")
    else:
        url = request.getfixturevalue("postgres_url").replace("postgresql://", "postgresql+psycopg://")
    made = []

    def open_one(kind=Database):
        made.append(kind(url, engine_kwargs={"poolclass": NullPool}))
        return made[-1]

    yield open_one
    for storage in made:
        storage.remove_session()
        storage.engine.dispose()


def plain(found: list[FrozenTrial]) -> list[str]:
    """Trials as text that can be compared, NaN with itself; attributes have no order."""
    return [repr(vars(t) | {"_user_attrs": sorted(t.user_attrs.items(), key=str)}) for t in found]


def test_trials_are_read_as_optuna_reads_them_whoever_wrote_them(opened):
    ours, theirs = opened(), opened(RDBStorage)
    study = ours.create_new_study([optuna.study.StudyDirection.MAXIMIZE], "s")
    other = ours.create_new_study([optuna.study.StudyDirection.MAXIMIZE], "other")
    for template in trials():
        for storage in (ours, theirs):
            storage.create_new_trial(study, copy.deepcopy(template))
        ours.create_new_trial(other, copy.deepcopy(template))
    ours.create_new_trial(study)
    for which in ((None, set(), -1), (None, {1, 4}, 5), (None, set(), 99), ([TrialState.COMPLETE], {1}, 3)):
        found = plain(ours._get_trials(study, *which))
        assert found == plain(theirs._get_trials(study, *which))
        assert found or which[2] == 99
    assert len(ours.get_all_trials(study)) == 11


def test_what_is_written_reads_back_as_it_was(opened):
    storage = opened()
    study = storage.create_new_study([optuna.study.StudyDirection.MAXIMIZE], "s")
    for template in trials():
        storage.create_new_trial(study, copy.deepcopy(template))
    for number, (found, template) in enumerate(zip(storage.get_all_trials(study), trials(), strict=True)):
        template.number, template._trial_id = number, found._trial_id
        if number != 2:  # optuna.trial.create_trial takes the time, which comes back as it was stored
            template.datetime_start = found.datetime_start
            template.datetime_complete = found.datetime_complete
        elif storage.engine.dialect.name == "mysql":  # it keeps whole seconds
            assert abs(template.datetime_complete - found.datetime_complete) < datetime.timedelta(seconds=1)
            template.datetime_complete = found.datetime_complete
        assert plain([found]) == plain([template])


def test_many_unfinished_trials_are_read_without_naming_each(opened, monkeypatch):
    monkeypatch.setattr(database, "NAMED_IDS", 2)
    storage = opened()
    study = storage.create_new_study([optuna.study.StudyDirection.MAXIMIZE], "s")
    ids = [storage.create_new_trial(study) for _ in range(8)]
    wanted = {ids[1], ids[2], ids[4]}
    found = storage._get_trials(study, None, wanted, ids[5])
    assert [trial._trial_id for trial in found] == [ids[1], ids[2], ids[4], ids[6], ids[7]]


def test_a_queued_trial_that_gets_its_parameters_later_is_read_with_them(opened):
    storage, known = opened(), IntDistribution(2, 16)
    study = storage.create_new_study([optuna.study.StudyDirection.MAXIMIZE], "s")
    queued = create_trial(state=TrialState.WAITING, user_attrs={database.WHOLE: "0123"})
    trial = storage.create_new_trial(study, queued)
    assert storage.get_all_trials(study)[0].params == {}
    storage.set_trial_state_values(trial, TrialState.RUNNING)
    storage.set_trial_param(trial, "i", 8, known)
    assert storage.get_all_trials(study)[0].params == {"i": 8}


def test_a_study_that_is_gone_is_an_error_as_in_optuna(opened):
    with pytest.raises(KeyError):
        opened()._get_trials(7, None, set(), -1)


def test_values_of_epochs_are_stored_as_optuna_stores_them(opened):
    ours, theirs = opened(), opened(RDBStorage)
    study = ours.create_new_study([optuna.study.StudyDirection.MAXIMIZE], "s")
    first, second = ours.create_new_trial(study), ours.create_new_trial(study)
    for storage, trial in ((ours, first), (theirs, second)):
        for epoch, score in enumerate((0.5, math.nan, math.inf, -math.inf, 0.25)):
            storage.set_trial_intermediate_value(trial, epoch, score)
        storage.set_trial_intermediate_value(trial, 1, 0.75)
    found = [repr(theirs.get_trial(trial).intermediate_values) for trial in (first, second)]
    assert found == ["{0: 0.5, 1: 0.75, 2: inf, 3: -inf, 4: 0.25}"] * 2
    ours.set_trial_state_values(first, TrialState.FAIL)
    with pytest.raises(UpdateFinishedTrialError):
        ours.set_trial_intermediate_value(first, 5, 0.5)
    with pytest.raises(KeyError):
        ours.set_trial_intermediate_value(99, 0, 0.5)
