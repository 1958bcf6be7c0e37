"""Ranking configs by the mean of their trainings, with its confidence interval.

A config's score in a search is one training with one seed, and the best of many such scores is likely a lucky one.
Repeats train a config again with other seeds. They are kept beside the trials, so that samplers never see them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from mpsearch.records import TrialRecord
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
    """

    record: TrialRecord
    scores: tuple[float, ...]
    metrics: tuple[float, ...]
    failed: int = 0
    finetuned: tuple[Mapping[str, Any], ...] = ()

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
    """The configs with the highest mean scores, best first; ties to the earlier trial.

    Those whose metric is below the least that the goal asks for come last.
    """
    kept = study.kept("")
    found = [_candidate(record, kept) for record in study.best(None)]
    found.sort(key=lambda c: (study.is_short(c.record), -c.mean, c.record.number))
    return found[:count]


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
    repeats = [value for key, value in kept.items() if key.startswith(repeat_key(record.number, 0)[:-1])]
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
