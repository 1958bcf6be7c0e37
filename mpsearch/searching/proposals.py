"""What a sampler proposes next, asked on a copy of the study in memory.

A database takes a write for each parameter that a sampler suggests: with 184 sites that is seconds. On a copy in
memory it is a fraction of one, and the whole trial is then stored at once.

The copy holds the trials that ended, in order of their places in the study, without those that were cut off. So a
proposal depends on the seed, the place and the results before it alone, not on interruptions.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
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
    """

    def __init__(self, sampler: str, options: Mapping[str, Value], seed: int) -> None:
        self._sampler, self._options, self._seed = sampler, options, seed
        self._copied: list[int] = []
        self._asked: tuple[int, int] | None = None  # id in the copy, and place, of a trial that hasn't ended there
        self._study = _empty()

    def propose(
        self,
        ended: Sequence[FrozenTrial],
        distributions: Mapping[str, BaseDistribution],
        sequence: int,
        allowed: Callable[[Mapping[str, Any]], Mapping[str, Any]] = lambda parameters: parameters,
    ) -> Proposal:
        """The next proposal.

        Args:
            ended: complete, pruned and failed trials, in order of their places.
            distributions: of the parameters.
            sequence: place of the trial that is asked for.
            allowed: moves parameters into the space's limits; samplers learn from what it gives.
        """
        self._copy(ended)
        self._study.sampler = make_sampler(self._sampler, derived_seed(self._seed, sequence, "sampler"), self._options)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            trial = self._study.ask(dict(distributions))
        storage, parameters = self._study._storage, dict(allowed(trial.params))
        for name, value in parameters.items():
            if value != trial.params[name]:
                kind = distributions[name]
                storage.set_trial_param(trial._trial_id, name, kind.to_internal_repr(value), kind)
        self._asked = (trial._trial_id, sequence)
        return Proposal(parameters, dict(storage.get_trial_system_attrs(trial._trial_id)))

    def _copy(self, ended: Sequence[FrozenTrial]) -> None:
        """Bring the copy up to date; made anew where it isn't the beginning of what ended."""
        known, numbers = len(self._copied), [trial.number for trial in ended]
        fits = numbers[:known] == self._copied
        if fits and self._asked is not None:  # a queued trial was asked for its memory alone
            fits = len(ended) > known and ended[known].user_attrs.get("sequence") == self._asked[1]
            fits = fits and ended[known].params == self._study._storage.get_trial(self._asked[0]).params
        if not fits:
            self._study, self._asked, known = _empty(), None, 0
        storage, study_id = self._study._storage, self._study._study_id
        for trial in ended[known:]:
            if self._asked is None:
                storage.create_new_trial(study_id, template_trial=_bare(trial))
                continue
            for step, value in trial.intermediate_values.items():
                storage.set_trial_intermediate_value(self._asked[0], step, value)
            storage.set_trial_state_values(self._asked[0], trial.state, trial.values)
            self._asked = None
        self._copied = numbers


def _empty() -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.create_study(storage=optuna.storages.InMemoryStorage(), direction="maximize")


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
