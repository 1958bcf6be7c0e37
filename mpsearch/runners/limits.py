"""When a run of trials ends."""

import math
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass

from mpsearch.errors import ConfigError
from mpsearch.records import State, TrialRecord

_ENDED = (State.COMPLETE, State.PRUNED, State.FAILED)


@dataclass(frozen=True)
class Limits:
    """Ends of a run; the first one that is reached counts. They are looked at between trials.

    Attributes:
        trials: complete, pruned and failed trials that the study shall have.
        seconds: of this run; no trial begins after them.
        score: a score that is good enough.
        patience: trials in a row, over all runs, without a better score; pruned ones count.
    """

    trials: int | None = None
    seconds: float | None = None
    score: float | None = None
    patience: int | None = None

    def __post_init__(self) -> None:
        if (self.trials, self.seconds, self.score, self.patience) == (None, None, None, None):
            raise ConfigError("a run needs an end: a number of trials, a time, a score or a patience")
        for name in ("trials", "seconds", "patience"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigError(f"`{name}` must be above 0, but got {value}")
        if self.score is not None and not math.isfinite(self.score):
            raise ConfigError(f"`score` must be a number that a trial can reach, but got {self.score}")

    def taken(self, records: Sequence[TrialRecord]) -> bool:
        """Whether the trials that ended, with those that run now, are all that there shall be."""
        counted = sum(record.state in (*_ENDED, State.RUNNING) for record in records)
        return self.trials is not None and counted >= self.trials

    def surplus(self, records: Sequence[TrialRecord], number: int, queued: bool) -> bool:
        """Whether a trial that has just begun is one too many, as others began at the same moment.

        Args:
            records: all trials of the study, as they are after it began.
            number: of the trial.
            queued: whether it waited before. Such a trial gives way to all others: of a new one the numbers say which
                was earlier, of this one they don't.
        """
        return self.taken([r for r in records if (r.number != number if queued else r.number < number)])

    def reached(self, records: Sequence[TrialRecord], started: float, floor: float | None = None) -> str | None:
        """Why a run is at its end, None where it isn't; empty where it has all its trials.

        Args:
            records: all trials of the study.
            started: `time.monotonic()` when the run began.
            floor: the least metric; the score of a trial below it counts for nothing.
        """
        ended = sorted((r for r in records if r.state in _ENDED), key=lambda r: (r.sequence, r.number))
        good = [r.state is State.COMPLETE and not (floor is not None and (r.metric or 0.0) < floor) for r in ended]
        scores = [r.score if whole else None for r, whole in zip(ended, good, strict=True)]
        best = max((score for score in scores if score is not None), default=None)
        if self.score is not None and best is not None and best >= self.score:
            return f"trial {ended[scores.index(best)].number} has score {best:.4f}, and {self.score} was asked for"
        if self.trials is not None and len(ended) >= self.trials:
            return ""
        if self.patience is not None:
            since = len(ended) if best is None else len(ended) - 1 - scores.index(best)
            if since >= self.patience:
                found = "no trial completed" if best is None else f"none better than {best:.4f}"
                return f"{since} trials without a better score: {found}"
        if self.seconds is not None and time.monotonic() - started >= self.seconds:
            return f"the time of {duration(self.seconds)} is over"
        return None


def parse_duration(text: str) -> float:
    """Seconds of a duration such as 2h, 1h30m, 90m, 45s or 600 (seconds); a number behind a unit needs its own.

    >>> parse_duration("1h30m")
    5400.0

    Raises:
        ConfigError: it is none, or nothing is left of it.
    """
    text = text.strip().lower()
    whole = f"{text}s" if re.fullmatch(r"[\d.]+", text) else text
    number = r"\d+\.?\d*|\.\d+"
    found = re.fullmatch(rf"(?=.)(?:({number})h)?(?:({number})m)?(?:({number})s)?", whole)
    if found is None:
        raise ConfigError(f"a duration is written as 2h, 1h30m, 90m or 45s, but got {text!r}")
    hours, minutes, seconds = (float(part or 0) for part in found.groups())
    total = hours * 3600 + minutes * 60 + seconds
    if not total > 0:
        raise ConfigError(f"a duration must be above zero, but got {text!r}")
    return total


def duration(seconds: float) -> str:
    """A duration as it is written.

    >>> duration(5400)
    '1h30m'
    """
    hours, rest = divmod(round(seconds), 3600)
    minutes, rest = divmod(rest, 60)
    parts = [f"{n}{unit}" for n, unit in ((hours, "h"), (minutes, "m"), (rest, "s")) if n]
    return "".join(parts) or f"{seconds:g}s"
