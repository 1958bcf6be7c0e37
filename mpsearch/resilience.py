"""Resilience: a storage that waits while its database is away, and then does what was asked for exactly once."""

import secrets
import sys
import threading
import time
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import optuna
from optuna.distributions import BaseDistribution
from optuna.exceptions import DuplicatedStudyError, UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.study._frozen import FrozenStudy
from optuna.trial import FrozenTrial, TrialState

from mpsearch.addresses import Address
from mpsearch.errors import StudyError
from mpsearch.faults import Fault, diagnose

PATIENCE = 120.0  # seconds that a storage may be away
TOKEN = "mpsearch token"  # user attribute by which a trial is found whose creation was cut off
_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 5.0  # seconds between tries; each is twice the one before

Result = TypeVar("Result")
_operation = threading.local()


def is_writing() -> bool:
    """Whether this thread's present operation writes."""
    return getattr(_operation, "writes", False)


class ResilientStorage(BaseStorage):
    """An Optuna storage that outlives short absences of its database.

    An operation that fails since the database is away is tried again, at growing intervals, for `patience` seconds;
    a line on standard error says when the waiting begins and ends. What failed may have been done all the same, its
    answer lost: reading and setting values are simply repeated, the others look first for what they would do.
    A trial that is created bears a token in its user attributes, by which it is found. Only of a queued trial that
    is to be started nobody can tell who started it: it counts as started by another. A process that serves a storage
    to others leaves their trials the tokens that they gave them.

    Args:
        connect: makes the storage, and makes it anew after its connection was lost.
        address: what messages call it.
        patience: seconds that it may be away.
        tokens: whether trials get tokens: where an answer can be lost.

    Attributes:
        serves: whether trials come from other processes' storages of this kind.

    Raises:
        StudyError: the storage stays away, its disk is full, it can't be written, or it fails in another way that
            waiting doesn't mend. Errors of the caller are Optuna's.
    """

    def __init__(
        self, connect: Callable[[], BaseStorage], address: Address, patience: float = PATIENCE, tokens: bool = True
    ) -> None:
        self.address = address
        self.patience = patience
        self.serves = False
        self._connect = connect
        self._tokens = tokens
        self._lock = threading.Lock()
        self._waiting = 0  # threads
        self._reached = False
        self._inner = self.attempt(lambda _: self._connected())

    @property
    def inner(self) -> BaseStorage:
        """Optuna's storage."""
        return self._inner

    def attempt(self, operation: Callable[[int], Result], writes: bool = False) -> Result:
        """Do something, again and again while the storage is away.

        Args:
            operation: gets the number of tries that failed.
            writes: whether it changes anything.
        """
        failures, pause, since = 0, _FIRST_PAUSE, 0.0
        try:
            while True:
                try:
                    with _writing(writes):
                        result = operation(failures)
                    self._reached = True
                    return result
                except Exception as error:
                    fault = diagnose(error)
                    if fault is None:
                        raise
                    now = time.monotonic()
                    since = since if failures else now
                    if not fault.passes or now - since + pause > self.patience:
                        cause = None if self.address.gives_away(error) else error
                        raise self._refusal(fault, now - since) from cause
                    if not failures:
                        self._say_away(fault)
                failures += 1
                time.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
                if self.address.kind == "grpc":  # a channel that lost its server may pause for two minutes by itself
                    self._inner = self._connect()
        finally:
            if failures:
                self._say_back(time.monotonic() - since, sys.exc_info()[0] is None)

    def _connected(self) -> BaseStorage:
        """A storage that has answered."""
        made = self._connect()
        if self.address.kind == "grpc":  # it connects when it is asked something
            made.get_all_studies()
        return made

    def _refusal(self, fault: Fault, seconds: float) -> StudyError:
        where, reason = self.address.shown, self.address.redacted(fault.text)
        if fault.cause == "full":
            return StudyError(f"the disk of the storage {where} is full ({reason}): make room, then go on")
        if fault.cause == "readonly":
            return StudyError(
                f"the storage {where} can't be written ({reason}): make its file and the folder around it writable, "
                "or give another --storage"
            )
        if not self._reached:
            waited = f" for {seconds:.0f} s" if fault.passes and seconds >= 1 else ""
            return StudyError(f"can't open the storage {where}{waited}: {reason}")
        if fault.passes:
            return StudyError(
                f"the storage {where} was away for {seconds:.0f} s ({reason}): when it runs again, the same command "
                "goes on"
            )
        return StudyError(f"the storage {where} failed: {reason}")

    def _say_away(self, fault: Fault) -> None:
        with self._lock:
            self._waiting += 1
            if self._waiting == 1:
                reason = self.address.redacted(fault.text)
                _say(f"the storage {self.address.shown} is away ({reason}); waiting up to {self.patience:.0f} s")

    def _say_back(self, seconds: float, succeeded: bool) -> None:
        with self._lock:
            self._waiting -= 1
            if succeeded and self._waiting == 0:
                _say(f"the storage {self.address.shown} is back after {seconds:.0f} s")

    def _read(self, name: str, *arguments: Any, **options: Any) -> Any:
        return self.attempt(lambda _: getattr(self._inner, name)(*arguments, **options))

    def _write(self, name: str, *arguments: Any) -> Any:
        return self.attempt(lambda _: getattr(self._inner, name)(*arguments), writes=True)

    # --- what can't simply be repeated

    def create_new_study(self, directions: Sequence[StudyDirection], study_name: str | None = None) -> int:
        name = study_name or f"study-{secrets.token_hex(16)}"

        def create(failures: int) -> int:
            try:
                return self._inner.create_new_study(directions, name)
            except DuplicatedStudyError:
                if failures:  # an empty study of this name is the one of the try whose answer was lost
                    found = self._inner.get_study_id_from_name(name)
                    if not self._inner.get_study_user_attrs(found) and not self._inner.get_n_trials(found):
                        return found
                raise

        return self.attempt(create, writes=True)

    def delete_study(self, study_id: int) -> None:
        def delete(failures: int) -> None:
            try:
                self._inner.delete_study(study_id)
            except KeyError:
                if not failures:
                    raise

        self.attempt(delete, writes=True)

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        if not self._tokens:
            return self._write("create_new_trial", study_id, template_trial)
        template = template_trial
        if template is None or not (self.serves and TOKEN in template.user_attrs):
            template = _marked(template)
        token = template.user_attrs[TOKEN]

        def create(failures: int) -> int:
            if failures:
                for trial in reversed(self._inner.get_all_trials(study_id, deepcopy=False)):
                    if trial.user_attrs.get(TOKEN) == token:
                        return trial._trial_id
            return self._inner.create_new_trial(study_id, template)

        return self.attempt(create, writes=True)

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        def set_values(failures: int) -> bool:
            try:
                return self._inner.set_trial_state_values(trial_id, state, values)
            except UpdateFinishedTrialError:
                if failures:
                    trial = self._inner.get_trial(trial_id)
                    if trial.state == state and _same(trial.values, values):
                        return True
                raise

        return self.attempt(set_values, writes=True)

    # --- what can be repeated

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        self._write("set_study_user_attr", study_id, key, value)

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        self._write("set_study_system_attr", study_id, key, value)

    def set_trial_param(
        self, trial_id: int, param_name: str, param_value_internal: float, distribution: BaseDistribution
    ) -> None:
        self._write("set_trial_param", trial_id, param_name, param_value_internal, distribution)

    def set_trial_intermediate_value(self, trial_id: int, step: int, intermediate_value: float) -> None:
        self._write("set_trial_intermediate_value", trial_id, step, intermediate_value)

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        self._write("set_trial_user_attr", trial_id, key, value)

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        self._write("set_trial_system_attr", trial_id, key, value)

    def get_study_id_from_name(self, study_name: str) -> int:
        return self._read("get_study_id_from_name", study_name)

    def get_study_name_from_id(self, study_id: int) -> str:
        return self._read("get_study_name_from_id", study_id)

    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        return self._read("get_study_directions", study_id)

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        return self._read("get_study_user_attrs", study_id)

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        return self._read("get_study_system_attrs", study_id)

    def get_all_studies(self) -> list[FrozenStudy]:
        return self._read("get_all_studies")

    def get_trial_id_from_study_id_trial_number(self, study_id: int, trial_number: int) -> int:
        return self._read("get_trial_id_from_study_id_trial_number", study_id, trial_number)

    def get_trial(self, trial_id: int) -> FrozenTrial:
        return self._read("get_trial", trial_id)

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        return self._read("get_all_trials", study_id, deepcopy=deepcopy, states=states)

    def get_best_trial(self, study_id: int) -> FrozenTrial:
        return self._read("get_best_trial", study_id)

    def remove_session(self) -> None:
        self._inner.remove_session()


@contextmanager
def _writing(writes: bool) -> Iterator[None]:
    before = is_writing()
    _operation.writes = writes
    try:
        yield
    finally:
        _operation.writes = before


def _marked(template: FrozenTrial | None) -> FrozenTrial:
    """A template for a trial, with a token of its own."""
    if template is None:
        return optuna.trial.create_trial(state=TrialState.RUNNING, user_attrs={TOKEN: secrets.token_hex(16)})
    return FrozenTrial(
        number=template.number,
        state=template.state,
        value=None,
        values=template.values,
        datetime_start=template.datetime_start,
        datetime_complete=template.datetime_complete,
        params=template.params,
        distributions=template.distributions,
        user_attrs={**template.user_attrs, TOKEN: secrets.token_hex(16)},
        system_attrs=template.system_attrs,
        intermediate_values=template.intermediate_values,
        trial_id=template._trial_id,
    )


def _same(kept: Sequence[float] | None, sent: Sequence[float] | None) -> bool:
    """Whether values are those that were sent; sending none leaves what there is."""
    return sent is None or (kept is not None and [float(v) for v in kept] == [float(v) for v in sent])


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
