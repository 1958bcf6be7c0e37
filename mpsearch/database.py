"""Optuna's storage of an SQL database, made for many workers: no trial twice, and few queries for each."""

import copy
import datetime
import json
from collections import defaultdict, deque
from collections.abc import Container
from functools import lru_cache
from typing import Any

import optuna
import sqlalchemy
import sqlalchemy.orm
from optuna.distributions import BaseDistribution
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from optuna.storages._rdb.storage import _create_scoped_session
from optuna.trial import FrozenTrial, TrialState

from mpsearch.resilience import TOKEN

NAMED_IDS = 500  # ids of trials that a query names
WHOLE = "fingerprint"  # a trial with this attribute has all its parameters


class Database(RDBStorage):
    """Optuna's storage of an SQL database; takes its arguments, and its tables are Optuna's.

    Optuna repeats what failed, though it may have been done: here a trial is known by its token. A trial is written in
    one go, and trials are read in six queries without objects of the mapper for each row, of which Optuna makes
    hundreds; parameters of a trial that runs are read once.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._begun: deque[str] = deque(maxlen=1000)  # tokens of the trials that were last begun to be made
        self._parameters: dict[int, tuple[dict[str, Any], dict[str, BaseDistribution]]] = {}  # of unfinished trials
        try:
            super().__init__(*arguments, **options)
        except BaseException:
            if hasattr(self, "engine"):
                self.engine.dispose()
            raise

    def _get_prepared_new_trial(
        self, study_id: int, template_trial: FrozenTrial | None, session: sqlalchemy.orm.Session
    ) -> models.TrialModel:
        token = None if template_trial is None else template_trial.user_attrs.get(TOKEN)
        if token in self._begun:  # the study is locked here: nobody else is making the same trial
            attribute = models.TrialUserAttributeModel
            made = (
                session.query(models.TrialModel)
                .join(attribute)
                .filter(models.TrialModel.study_id == study_id)
                .filter(attribute.key == TOKEN, attribute.value_json == json.dumps(token))
                .first()
            )
            if made is not None:
                return made
        if token is not None:
            self._begun.append(token)
        if template_trial is None:
            return super()._get_prepared_new_trial(study_id, None, session)
        bare = copy.copy(template_trial)
        bare.params, bare.user_attrs, bare.system_attrs = {}, {}, {}
        trial = super()._get_prepared_new_trial(study_id, bare, session)
        session.add_all(_parts(int(trial.trial_id), template_trial))
        return trial

    def _set_trial_intermediate_value_without_commit(
        self, session: sqlalchemy.orm.Session, trial_id: int, step: int, intermediate_value: float
    ) -> None:
        connection, trial, value = session.connection(), models.TrialModel, models.TrialIntermediateValueModel
        state = connection.execute(sqlalchemy.select(trial.state).where(trial.trial_id == trial_id)).scalar()
        if state is None:
            raise KeyError(f"there is no trial with the id {trial_id}")
        self.check_trial_is_updatable(trial_id, state)
        stored, kind = value.intermediate_value_to_stored_repr(intermediate_value)
        columns = {"intermediate_value": stored, "intermediate_value_type": kind}
        place = {"trial_id": trial_id, "step": step}
        update = sqlalchemy.update(value).where(value.trial_id == trial_id, value.step == step)
        if connection.execute(update.values(columns)).rowcount == 0:
            connection.execute(sqlalchemy.insert(value).values(place | columns))

    def _get_trials(
        self,
        study_id: int,
        states: Container[TrialState] | None,
        included_trial_ids: set[int],
        trial_id_greater_than: int,
    ) -> list[FrozenTrial]:
        named = sorted(each for each in included_trial_ids if each <= trial_id_greater_than)
        table = models.TrialModel
        wanted = table.study_id == study_id
        if trial_id_greater_than >= 0:
            new = table.trial_id > trial_id_greater_than
            again = table.trial_id.in_(named) if len(named) <= NAMED_IDS else table.trial_id >= named[0]
            wanted = sqlalchemy.and_(wanted, sqlalchemy.or_(again, new) if named else new)
        with _create_scoped_session(self.scoped_session) as session:
            models.StudyModel.find_or_raise_by_id(study_id, session)
            trials = self._read(session.connection(), wanted)
        asked = set(named)
        return [
            trial
            for trial in trials
            if (states is None or trial.state in states)
            and (trial._trial_id > trial_id_greater_than or trial._trial_id in asked)
        ]

    def _read(self, connection: sqlalchemy.Connection, wanted: sqlalchemy.ColumnElement[bool]) -> list[FrozenTrial]:
        """The trials that a condition holds for, in order of their ids."""
        trial, value, step = models.TrialModel, models.TrialValueModel, models.TrialIntermediateValueModel
        columns = trial.trial_id, trial.number, trial.state, trial._datetime_start_utc, trial._datetime_complete_utc
        query = sqlalchemy.select(*columns).where(wanted).order_by(trial.trial_id)
        trials = connection.execute(query).all()
        ids = [row[0] for row in trials]
        unknown = [each for each in ids if each not in self._parameters]
        chosen = _rows(connection, models.TrialParamModel, unknown, "param_name", "param_value", "distribution_json")
        users = _rows(connection, models.TrialUserAttributeModel, ids, "key", "value_json")
        systems = _rows(connection, models.TrialSystemAttributeModel, ids, "key", "value_json")
        steps = _rows(connection, step, ids, "step", "intermediate_value", "intermediate_value_type")
        ended = [row[0] for row in trials if row[2].is_finished()]
        values = _rows(connection, value, ended, "objective", "value", "value_type")
        found = []
        for trial_id, number, state, begun, complete in trials:
            attributes = {key: _value(text) for key, text in users[trial_id]}
            if trial_id in self._parameters:
                parameters, known = self._parameters[trial_id]
            else:
                known = {name: _distribution(text) for name, _, text in chosen[trial_id]}
                parameters = {name: known[name].to_external_repr(stored) for name, stored, _ in chosen[trial_id]}
            if state.is_finished():
                self._parameters.pop(trial_id, None)  # it isn't read again
            elif WHOLE in attributes and parameters:  # a queued trial may get its parameters later
                self._parameters[trial_id] = parameters, known
            objectives = sorted(
                (place, value.stored_repr_to_value(x, value.TrialValueType[kind]))
                for place, x, kind in values[trial_id]
            )
            found.append(
                FrozenTrial(
                    number=number,
                    state=state,
                    value=None,
                    values=[x for _, x in objectives] or None,
                    datetime_start=_local(begun),
                    datetime_complete=_local(complete),
                    params=dict(parameters),
                    distributions=dict(known),
                    user_attrs=attributes,
                    system_attrs={key: _value(text) for key, text in systems[trial_id]},
                    intermediate_values={
                        epoch: step.stored_repr_to_intermediate_value(x, step.TrialIntermediateValueType[kind])
                        for epoch, x, kind in steps[trial_id]
                    },
                    trial_id=trial_id,
                )
            )
        return found


def _parts(trial_id: int, template: FrozenTrial) -> list[Any]:
    """Rows of a new trial's parameters and attributes.

    Optuna asks before each whether there is one already, and for another trial's distribution; a new trial has none,
    and a study's distributions are those of its space.
    """
    parameters = [
        models.TrialParamModel(
            trial_id=trial_id,
            param_name=name,
            param_value=template.distributions[name].to_internal_repr(value),
            distribution_json=optuna.distributions.distribution_to_json(template.distributions[name]),
        )
        for name, value in template.params.items()
    ]
    attributes = [
        kind(trial_id=trial_id, key=key, value_json=json.dumps(value))
        for kind, values in (
            (models.TrialUserAttributeModel, template.user_attrs),
            (models.TrialSystemAttributeModel, template.system_attrs),
        )
        for key, value in values.items()
    ]
    return [*parameters, *attributes]


def _rows(connection: sqlalchemy.Connection, table: Any, trials: list[int], *names: str) -> dict[int, list[Any]]:
    """Columns of a table by trial, in the order in which the rows were written; enumerations as their names.

    The query goes to the driver as it stands: SQLAlchemy takes longer to write one that names trials than a server
    takes to answer it.
    """
    found = defaultdict[int, list[Any]](list)
    quote = connection.dialect.identifier_preparer.quote
    columns = ", ".join(quote(name) for name in ("trial_id", *names))
    key = quote(sqlalchemy.inspect(table).primary_key[0].name)
    for start in range(0, len(trials), NAMED_IDS):
        some = ", ".join(str(int(each)) for each in trials[start : start + NAMED_IDS])
        query = f"SELECT {columns} FROM {table.__tablename__} WHERE trial_id IN ({some}) ORDER BY {key}"
        for trial, *row in connection.exec_driver_sql(query).all():
            found[trial].append(row)
    return found


@lru_cache(maxsize=10_000)
def _value(text: str) -> Any:
    """An attribute's value; trials share it, as they share what Optuna's cache gives."""
    return json.loads(text)


@lru_cache(maxsize=10_000)
def _distribution(text: str) -> BaseDistribution:
    return optuna.distributions.json_to_distribution(text)


def _local(stored: datetime.datetime | None) -> datetime.datetime | None:
    """A stored time, naive UTC, as Optuna gives it: naive local time."""
    return None if stored is None else stored.replace(tzinfo=datetime.UTC).astimezone().replace(tzinfo=None)
