"""Trial records: what a study knows of each trial, as plain data."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from mpsearch.config import Alpha, Config
from mpsearch.errors import ConfigError, StudyError


class State(StrEnum):
    """How a trial ended.

    BROKEN trials were cut off (the process died or was interrupted); their config is tried again.
    """

    COMPLETE = "complete"
    PRUNED = "pruned"
    FAILED = "failed"
    BROKEN = "broken"
    RUNNING = "running"
    WAITING = "waiting"


@dataclass(frozen=True)
class TrialRecord:
    """One trial of a study.

    Attributes:
        number: in the study, from 0.
        state: how it ended.
        config: the specs; None while it waits.
        fingerprint: of the config.
        sequence: its place in the study, from 0; a config that is tried again keeps its place, and with it its seeds.
        metric: best validation metric of its epochs.
        score: metric × Forgiving Factor.
        costs: name to the number: `parameter_bits`, `activation_bits`, `total_bits`, and the goal's other costs.
        delta: the Forgiving Factor's δ, a fraction.
        epochs: number of epochs trained.
        seconds: wall time of its training, also where it was pruned or failed.
        curve: logs of each epoch.
        cause: why it failed, was pruned or broke.
        origin: who proposed the config: the sampler's name, `uniform 8`, `tried again`.
        answered_from: number of the earlier trial with the same config whose result this one took over.
        conditions: fingerprint of what it was trained under: space file, data and float weights.
        before_change: whether these differ from the study's present ones, after a change that was accepted.
        proposed: of a config that the sampler auto proposed, what was believed of it then: its `metric`, the standard
            `deviation` of that, and `why` it was proposed.
    """

    number: int
    state: State
    config: Config | None = None
    fingerprint: str = ""
    sequence: int = -1
    metric: float | None = None
    score: float | None = None
    costs: dict[str, float] = field(default_factory=dict)
    delta: float | None = None
    epochs: int = 0
    seconds: float = 0.0
    curve: list[dict[str, float]] = field(default_factory=list)
    cause: str = ""
    origin: str = ""
    answered_from: int | None = None
    conditions: str = ""
    before_change: bool = False
    proposed: Mapping[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        data = {name: value for name, value in vars(self).items() if name not in ("config", "state")}
        return {**data, "state": self.state.value, "config": None if self.config is None else self.config.to_json()}


def config_to_tune(record: TrialRecord, changed_alpha: Alpha | None) -> Config:
    """A trial's config, after a change of scale mode where one is asked for.

    Raises:
        StudyError: the trial has no config.
        ConfigError: the scale mode can't be changed so.
    """
    if record.config is None:
        raise StudyError(f"trial {record.number} has no config ({record.state})")
    if changed_alpha is None:
        return record.config
    if changed_alpha is not Alpha.AUTO_PO2:
        raise ConfigError(
            f"--alpha must be auto_po2, which can take the place of auto at every site, but got {changed_alpha}"
        )
    if not any(spec.alpha is Alpha.AUTO for spec in record.config.values()):
        raise ConfigError(
            f"trial {record.number} has no site with scale mode auto, so {changed_alpha} would "
            "change nothing: leave --alpha out"
        )
    return record.config.with_alpha(Alpha.AUTO, changed_alpha)
