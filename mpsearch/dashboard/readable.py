"""Trials as people read them: parameters are what sites take, `4 auto`, in place of positions on their menus."""

from collections.abc import Mapping, Sequence
from typing import Any

from optuna.distributions import CategoricalDistribution
from optuna.trial import FrozenTrial

from mpsearch.costs.sizes import NAMED
from mpsearch.goal import Objective
from mpsearch.records import State, TrialRecord
from mpsearch.study import Study

Labels = Mapping[str, tuple[str, ...]]
"""Site to what its menu holds, as people read it, narrowest first."""


def readable_trials(study: Study) -> list[FrozenTrial]:
    """All trials of a study, in order of their numbers, which are their ids as well."""
    labels = menus(study)
    pareto = study.goal.objective is Objective.PARETO
    with study.look():
        both = list(zip(study.frozen_trials(), study.records(), strict=True))
    return [_readable(trial, record, labels, study.provenance.metric, pareto) for trial, record in both]


def menus(study: Study) -> Labels:
    """The menus of a study's sites, of the table that it keeps."""
    return {f"{row['layer']}/{row['tensor']}": labels_of(str(row["menu"])) for row in study.provenance.sites}


def labels_of(menu: str) -> tuple[str, ...]:
    """What a menu holds.

    >>> labels_of("4/8 auto|auto_po2 signed (tied to conv_0/kernel)")
    ('4 auto signed', '4 auto_po2 signed', '8 auto signed', '8 auto_po2 signed')
    """
    words = menu.partition(" (tied")[0].split(" ")
    if len(words) < 2:  # float
        return ()
    widths, alphas, *options = words
    return tuple(
        " ".join((width, alpha, *options)) for width in widths.split("/") for alpha in alphas.split("|")
    )  # as a spec is written


def metric_names(study: Study) -> list[str]:
    """What a study's values are, in order."""
    if study.goal.objective is Objective.SCORE:
        return ["score"]
    return [study.provenance.metric, *(_with_unit(cost) for cost in study.goal.costs)]


def attributes(record: TrialRecord, metric: str, with_score: bool = False) -> dict[str, Any]:
    """What is known of a trial, by names that people read.

    Args:
        record: of the trial.
        metric: its metric's name.
        with_score: whether the score isn't its value already.
    """
    ended = record.state not in (State.RUNNING, State.WAITING)
    known: dict[str, Any] = {
        metric: record.metric,
        **({"score": record.score} if with_score else {}),
        **{_with_unit(name): value for name, value in record.costs.items()},
        "δ": record.delta,
        "epochs": record.epochs if ended else None,
        "seconds": round(record.seconds, 1) if ended else None,
        "origin": record.origin or None,
        "cause": record.cause or None,
        "cut off": True if record.state is State.BROKEN else None,
        "answered from trial": record.answered_from,
        "trained before an accepted change": True if record.before_change and ended else None,
    }
    if record.proposed is not None:
        known |= {
            "proposed as": record.proposed["why"],
            f"believed {metric}": record.proposed["metric"],
            "± of that": record.proposed["deviation"],
        }
    return {name: value for name, value in known.items() if value is not None}


def _readable(trial: FrozenTrial, record: TrialRecord, labels: Labels, metric: str, pareto: bool) -> FrozenTrial:
    taken = _taken(trial, record, labels)
    return FrozenTrial(
        number=trial.number,
        state=trial.state,
        value=None,
        values=trial.values,
        datetime_start=trial.datetime_start,
        datetime_complete=trial.datetime_complete,
        params=taken,
        distributions={
            site: CategoricalDistribution(_choices(labels.get(site, ()), value)) for site, value in taken.items()
        },
        user_attrs=attributes(record, metric, pareto),
        system_attrs={},
        intermediate_values=dict(trial.intermediate_values),
        trial_id=trial.number,
    )


def _taken(trial: FrozenTrial, record: TrialRecord, labels: Labels) -> dict[str, str]:
    """What the sites take that a trial decided on; from its config, or while it waits from its parameters."""
    sites = dict.fromkeys(name.removesuffix(" alpha") for name in trial.params)
    if record.config is not None:
        return {site: str(record.config[site]) for site in sites if site in record.config}
    found = {}
    for site in sites:
        menu = labels.get(site, ())
        alpha = trial.params.get(f"{site} alpha")
        of_alpha = [label for label in menu if alpha is None or label.split(" ")[1].partition(".")[0] == alpha]
        position = trial.params.get(site, 0)
        if position < len(of_alpha):
            found[site] = of_alpha[position]
    return found


def _choices(menu: Sequence[str], value: str) -> tuple[str, ...]:
    return (*menu,) if value in menu else (*menu, value)


def _with_unit(cost: str) -> str:
    unit = NAMED.get(cost, "")
    return cost if unit in ("", "bits") else f"{cost} ({unit})"
