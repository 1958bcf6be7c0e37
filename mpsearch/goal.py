"""Goal: what a study looks for, and within which limits."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from mpsearch.costs.measured import Row
from mpsearch.costs.profile import Profile
from mpsearch.errors import ConfigError


class Objective(StrEnum):
    """What makes one config better than another.

    SCORE: metric × (1 + δ), with δ the Forgiving Factor's of one cost.
    PARETO: no single number: all configs are kept that none surpasses in the metric and in each cost.
    """

    SCORE = "score"
    PARETO = "pareto"


@dataclass(frozen=True)
class Goal:
    """What a study looks for.

    Attributes:
        objective: what makes a config better than another.
        costs: their names; of the objective "score" one, whose δ counts.
        limits: name of a cost to the most that it may be, in the cost's unit. No config beyond one is trained.
        floor: the least metric of a config that is any good; None: there is none.
        profile: of the hardware; None: nothing is known of it.
        latencies: of measured layers; none: latency is by the profile.
        narrows: whether widths that the profile's device doesn't have are taken off the menus.
    """

    objective: Objective = Objective.SCORE
    costs: tuple[str, ...] = ("bits",)
    limits: Mapping[str, float] = field(default_factory=dict)
    floor: float | None = None
    profile: Profile | None = None
    latencies: tuple[Row, ...] = ()
    narrows: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "costs", tuple(self.costs))
        try:
            object.__setattr__(self, "objective", Objective(self.objective))
        except ValueError:
            raise ConfigError(
                f"the objective must be {' or '.join(Objective)}, but got {str(self.objective)!r}"
            ) from None
        if not self.costs or len(set(self.costs)) != len(self.costs):
            raise ConfigError(f"an objective needs costs, each once, but got {list(self.costs)}")
        if self.objective is Objective.SCORE and len(self.costs) > 1:
            raise ConfigError(
                f"the objective score takes one cost, but got {', '.join(self.costs)}: for several give the objective "
                "pareto"
            )
        for name, most in self.limits.items():
            if not most >= 0:
                raise ConfigError(f"the limit on {name} must be at least 0, but got {most:g}")
        if self.floor is not None and not 0 < self.floor <= 1:
            raise ConfigError(f"the least metric must be above 0 and at most 1, but got {self.floor:g}")

    @property
    def all_costs(self) -> tuple[str, ...]:
        """Names of the costs of the objective and of the limits, each once."""
        return tuple(dict.fromkeys((*self.costs, *self.limits)))

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        own = {"objective": self.objective.value, "costs": list(self.costs), "limits": dict(self.limits)}
        return {**asdict(self), **own}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Goal":
        """The goal of `to_json`'s data; that of studies before there were goals is empty."""
        found = dict(data)
        if found.get("profile") is not None:
            pairs = tuple((kernel, feature_map) for kernel, feature_map in found["profile"]["pairs"])
            widths = tuple((kind, least, most) for kind, least, most in found["profile"].get("widths", ()))
            found["profile"] = Profile(**{**found["profile"], "pairs": pairs, "widths": widths})
        if "latencies" in found:
            found["latencies"] = tuple(Row(**row) for row in found["latencies"])
        return cls(**found)


def split_limits(given: Sequence[str], metric: str) -> tuple[dict[str, str], str | None]:
    """Limits as they are typed, `flash=2MB`, as cost to text; and that on the metric, `accuracy=0.8`.

    Raises:
        ConfigError: one isn't written so, or stands there twice.
    """
    found: dict[str, str] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not (name and equals and value):
            raise ConfigError(f"a limit is written as flash=2MB or {metric}=0.8, but got {text!r}")
        if name in found:
            raise ConfigError(f"there are two limits on {name}: {found[name]} and {value}")
        found[name] = value
    return {name: value for name, value in found.items() if name != metric}, found.get(metric)
