"""What a sampler proposes next, asked on a copy of the study in memory.

A database takes a write for each parameter that a sampler suggests: with 184 sites that is seconds. On a copy in
memory it is a fraction of one, and the whole trial is then stored at once.

The copy holds the trials that ended, without those that were cut off, and those that other processes train now: tpe
takes these for bad ones ("constant liar"), so that workers look at different places. What ended is copied in the order
of places in the study. So where one process trains one trial after the other, a proposal depends on the seed, the place
and the results before it alone, not on interruptions.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from mpsearch.methods import Value
from mpsearch.searching.samplers import derived_seed, make_sampler


@dataclass(frozen=True)
class Proposal:
    """What a sampler proposes.

    Attributes:
        parameters: name to value.
        memory: what the sampler has to find with the trial later, for instance its generation.
    """

    parameters: dict[str, Any]
    memory: dict[str, Any]


class Proposer:
    """Asks one sampler for one study.

    Args:
        sampler: its name.
        options: its options.
        seed: the study's.
        directions: of each value of a trial.
    """

    def __init__(
        self,
        sampler: str,
        options: Mapping[str, Value],
        seed: int,
        directions: Sequence[StudyDirection] = (StudyDirection.MAXIMIZE,),
    ) -> None:
        self._sampler, self._options, self._seed, self._directions = sampler, options, seed, directions
        self._asked: int | None = None  # id in the copy of a proposal that isn't a trial yet
        self._begin()

    def propose(
        self,
        ended: Sequence[FrozenTrial],
        running: Sequence[FrozenTrial],
        distributions: Mapping[str, BaseDistribution],
        sequence: int,
        allowed: Callable[[Mapping[str, Any]], Mapping[str, Any]] = lambda parameters: parameters,
        salt: str = "",
    ) -> Proposal:
        """The next proposal.

        Args:
            ended: complete, pruned and failed trials, in order of their places.
            running: trials that are being trained.
            distributions: of the parameters.
            sequence: place of the trial that is asked for.
            allowed: moves parameters into the space's limits; samplers learn from what it gives.
            salt: makes proposals for one place differ, where several processes propose at the same time.
        """
        self._copy(ended, running)
        seed = derived_seed(self._seed, sequence, f"sampler{salt}")
        self._study.sampler = make_sampler(self._sampler, seed, self._options)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            trial = self._study.ask(dict(distributions))
        storage, parameters = self._study._storage, dict(allowed(trial.params))
        for name, value in parameters.items():
            if value != trial.params[name]:
                kind = distributions[name]
                storage.set_trial_param(trial._trial_id, name, kind.to_internal_repr(value), kind)
        self._asked = trial._trial_id
        return Proposal(parameters, dict(storage.get_trial_system_attrs(trial._trial_id)))

    def begun(self, number: int) -> None:
        """Tell that the last proposal is trained now, as the trial with this number; else it is forgotten."""
        assert self._asked is not None
        self._open[number], self._asked = self._asked, None

    def _begin(self) -> None:
        self._study = _empty(self._directions)
        self._ended: set[int] = set()  # numbers of the trials that ended, of those in the copy
        self._open: dict[int, int] = {}  # numbers of the trials that run there, to their ids in it
        self._asked = None
        self._latest, self._in_order = (-1, -1), True  # the last place that was copied, and whether none came late

    def _copy(self, ended: Sequence[FrozenTrial], running: Sequence[FrozenTrial]) -> None:
        """Bring the copy up to date; made anew where a trial vanished from the study, or came late to one process."""
        numbers, alive = {trial.number for trial in ended}, {trial.number for trial in running}
        late = not self._in_order or any(_place(t) < self._latest for t in ended if t.number not in self._ended)
        vanished = not (self._ended <= numbers and self._open.keys() <= numbers | alive)
        if self._asked is not None or vanished or (late and not running):
            self._begin()
        storage, study_id = self._study._storage, self._study._study_id
        for trial in ended:
            if trial.number in self._ended:
                continue
            if (copied := self._open.pop(trial.number, None)) is None:
                storage.create_new_trial(study_id, template_trial=_bare(trial))
            else:
                for step, value in trial.intermediate_values.items():
                    storage.set_trial_intermediate_value(copied, step, value)
                storage.set_trial_state_values(copied, trial.state, trial.values)
            self._ended.add(trial.number)
            self._in_order = self._in_order and _place(trial) > self._latest
            self._latest = max(self._latest, _place(trial))
        for trial in running:
            if trial.number not in self._open:
                self._open[trial.number] = storage.create_new_trial(study_id, template_trial=_bare(trial))


def _place(trial: FrozenTrial) -> tuple[int, int]:
    return trial.user_attrs.get("sequence", -1), trial.number


def _empty(directions: Sequence[StudyDirection]) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.create_study(storage=optuna.storages.InMemoryStorage(), directions=list(directions))


def _bare(trial: FrozenTrial) -> FrozenTrial:
    """A trial without the attributes that samplers don't read."""
    return FrozenTrial(
        number=trial.number,
        state=TrialState(trial.state),
        value=None,
        values=trial.values,
        datetime_start=trial.datetime_start,
        datetime_complete=trial.datetime_complete,
        params=trial.params,
        distributions=trial.distributions,
        user_attrs={},
        system_attrs=trial.system_attrs,
        intermediate_values=trial.intermediate_values,
        trial_id=-1,
    )
