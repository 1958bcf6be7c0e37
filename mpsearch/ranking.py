"""Ranking configs by what is believed of their scores, else by the mean of their trainings.

A config's score in a search is one training with one seed, and the best of many such scores is likely a lucky one.
Where a study's sensitivities are known, all its trainings together say what to believe of each config. Repeats train a
config again with other seeds; their mean has a confidence interval. They are kept beside the trials, and samplers never
see them.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev
from typing import Any

from mpsearch.beliefs import Trained, beliefs_of, is_on_menus
from mpsearch.records import State, TrialRecord
from mpsearch.searching.steadying import curve_of
from mpsearch.study import Study

CONFIDENCE = 0.95
REPEAT = "repeat"
FINETUNED = "finetuned"


@dataclass(frozen=True)
class Candidate:
    """A config with all its trainings.

    Attributes:
        record: the trial that trained it first.
        scores, metrics: of all its trainings that gave one, the trial's first.
        failed: repeats that gave none.
        finetuned: its fine-tunings, as plain data.
        believed: the score that all of the study's trainings together lead one to expect; None where its sensitivities
            aren't known, for trials before an accepted change, and for configs with specs outside the menus.
        believed_metric: the metric likewise.
    """

    record: TrialRecord
    scores: tuple[float, ...]
    metrics: tuple[float, ...]
    failed: int = 0
    finetuned: tuple[Mapping[str, Any], ...] = ()
    believed: float | None = None
    believed_metric: float | None = None

    def __repr__(self) -> str:
        doubt = "" if self.half_width is None else f" ± {self.half_width:.4f} ({CONFIDENCE:.0%})"
        return f"<trial {self.record.number}: mean score {self.mean:.4f}{doubt}, trainings {len(self.scores)}>"

    @property
    def mean(self) -> float:
        """Mean score."""
        return fmean(self.scores)

    @property
    def half_width(self) -> float | None:
        """Half the width of the mean's confidence interval; None for a single training.

        t · s / √n with Student's t for n − 1 degrees of freedom: seeds are taken as independent draws of a normal
        distribution.
        """
        n = len(self.scores)
        if n < 2:
            return None
        from scipy.stats import t

        return float(t.ppf((1 + CONFIDENCE) / 2, n - 1)) * stdev(self.scores) / n**0.5

    def to_json(self) -> dict[str, Any]:
        """Plain data: the trial's, the statistics, and the gaps between validation and test."""
        return {
            **self.record.to_json(),
            "mean": self.mean,
            "half_width": self.half_width,
            "believed": self.believed,
            "believed_metric": self.believed_metric,
            "confidence": CONFIDENCE,
            "scores": list(self.scores),
            "metrics": list(self.metrics),
            "failed_repeats": self.failed,
            "finetuned": [{**tuned, "gap": gap(tuned)} for tuned in self.finetuned],
        }


def gap(tuned: Mapping[str, Any]) -> float:
    """Metric on the validation split, by which a model was chosen, less that on the test split, which is untouched."""
    return float(tuned["validation"]) - float(tuned["test"])


def ranked(study: Study, count: int | None = None) -> list[Candidate]:
    """The configs with the highest believed scores, or mean scores, best first; ties to the earlier trial.

    Those of which nothing can be believed, since they were trained before an accepted change or have specs outside the
    menus, come after the others; those whose metric, believed or mean, is below the least that the goal asks for, last.
    """
    kept = study.kept("")
    found = _with_beliefs(study, [_candidate(record, kept) for record in study.best(None)])

    def place(c: Candidate) -> tuple[bool, bool, float, int]:
        score = c.mean if c.believed is None else c.believed
        metric = fmean(c.metrics) if c.believed_metric is None else c.believed_metric
        return metric < floor, are_believed and c.believed is None, -score, c.record.number

    floor = -math.inf if study.goal.floor is None else study.goal.floor
    are_believed = any(candidate.believed is not None for candidate in found)
    return sorted(found, key=place)[:count]


def trainings(study: Study) -> list[Trained]:
    """All trainings of a study that say something of a config, those that were stopped early too; none before a change.

    Trials are in the order of their numbers, each with its repeats after it.
    """
    kept, metric, found = study.kept(""), study.provenance.metric, list[Trained]()
    for record in sorted(study.records(), key=lambda r: r.number):
        if record.config is None or record.before_change or record.answered_from is not None:
            continue
        if record.state is State.COMPLETE:
            found.append(Trained(record.config, record.metric, curve_of(record.curve, metric)))
            found += [
                Trained(record.config, repeat["metric"], curve_of(repeat["curve"], metric))
                for repeat in _repeats(kept, record.number)
                if repeat["metric"] is not None
            ]
        elif record.state is State.PRUNED:
            found.append(Trained(record.config, None, curve_of(record.curve, metric)))
    return found


def _with_beliefs(study: Study, candidates: Sequence[Candidate]) -> list[Candidate]:
    """Candidates with what is believed of their scores, as far as that is known."""
    beliefs = beliefs_of(study, trainings(study))
    if beliefs is None:
        return list(candidates)
    present = [(c.record, c.record.config) for c in candidates if not c.record.before_change]
    able = [(r, config) for r, config in present if config is not None and is_on_menus(beliefs.rows, config)]
    found = beliefs.metrics([config for _, config in able])
    metrics = {record.number: float(metric) for (record, _), metric in zip(able, found, strict=True)}

    def with_belief(c: Candidate) -> Candidate:
        metric, delta = metrics.get(c.record.number), c.record.delta
        if metric is None or delta is None:
            return c
        return replace(c, believed=metric * (1.0 + delta), believed_metric=metric)

    return [with_belief(candidate) for candidate in candidates]


def _repeats(kept: Mapping[str, Any], number: int) -> list[Mapping[str, Any]]:
    """What is kept of a trial's repeats."""
    return [value for key, value in kept.items() if key.startswith(repeat_key(number, 0)[:-1])]


def repeat_key(number: int, index: int) -> str:
    """Under which a study keeps repeat `index` (from 1) of a trial."""
    return f"{REPEAT} {number} {index}"


def doubts(candidates: Sequence[Candidate], name: str) -> list[str]:
    """What is to be said where a ranking compares means with single trainings."""
    if len(candidates) and len(candidates[0].scores) == 1:
        return [
            f"trial {candidates[0].record.number} was trained once, and the best of many is often a lucky one: "
            f"mpsearch study repeat {name} --top 3 --repeats 3"
        ]
    return []


def _candidate(record: TrialRecord, kept: Mapping[str, Any]) -> Candidate:
    repeats = _repeats(kept, record.number)
    whole = [repeat for repeat in repeats if repeat["score"] is not None]
    assert record.score is not None
    assert record.metric is not None
    tuned = [
        value
        for key, value in sorted(kept.items())
        if key.startswith(f"{FINETUNED} ") and value["trial"] == record.number
    ]
    return Candidate(
        record,
        (record.score, *(repeat["score"] for repeat in whole)),
        (record.metric, *(repeat["metric"] for repeat in whole)),
        len(repeats) - len(whole),
        tuple(tuned),
    )
