"""What is known of a measured baseline, as plain data."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from mpsearch.errors import ConfigError
from mpsearch.study import Study
from mpsearch.suggestions import suggestion

BASELINE = "baseline"
KB = 1024 * 8  # bits
METHODS = ("min-max", "percentile", "MSE", "entropy")
FLAT_WIDTHS = (4, 8, 16)
NAMES = (
    "float",
    "PTQ dynamic range",
    *(f"PTQ {method}{cle}{bc}" for cle in ("", " + CLE") for method in METHODS for bc in ("", " + BC")),
    "QAT int8",
    *(f"flat {width}, {alpha}" for width in FLAT_WIDTHS for alpha in ("auto", "auto_po2")),
    "best mixed",
    "best mixed, auto_po2",
)
"""Names of all rows, in the order of the table."""
RECIPES = ("trial", "finetuning")
METHOD = 1
"""Raised where rows are measured in another way, so that those that are kept are measured again."""


@dataclass(frozen=True)
class Baseline:
    """A row of the table of baselines.

    Attributes:
        name: of the row.
        validation, test: metric on the splits; None where training failed, or the data has no test split.
        further: the task's further metrics on the test split.
        parameter_bits, activation_bits: its bit costs.
        delta: the Forgiving Factor's δ of what the study's score counts, a fraction.
        score: validation metric × Forgiving Factor.
        epochs: trained.
        seconds: to make it of the float model: calibration and training, without judging it on the splits, and
            without building and tracing the networks that rows share.
        judging_seconds: to judge it.
        note: what else is to be said, for instance of the sites, or why it failed.
        key: what it depends on; where that is still the same, it isn't measured again.
        costs: the goal's costs other than bits.
    """

    name: str
    validation: float | None
    test: float | None
    parameter_bits: int
    activation_bits: int
    delta: float
    score: float | None
    epochs: int
    seconds: float
    judging_seconds: float = 0.0
    note: str = ""
    further: Mapping[str, float] = field(default_factory=dict)
    key: Mapping[str, Any] = field(default_factory=dict)
    costs: Mapping[str, float] = field(default_factory=dict)

    def __repr__(self) -> str:
        if self.validation is None:
            return f"<{self.name}: failed, {self.note}>"
        test = "" if self.test is None else f", test {self.test:.4f}"
        return f"<{self.name}: validation {self.validation:.4f}{test}, score {self.score:.4f}>"

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def keep(study: Study, baseline: Baseline) -> None:
    """Keep a row with the study, in place of an earlier one of its name."""
    study.keep(f"{BASELINE} {baseline.key['recipe']} {baseline.name}", baseline.to_json())


def kept(study: Study, recipe: str) -> dict[str, Baseline]:
    """The rows that are kept with the study for a recipe, by name, in the order of the table; none that is outdated."""
    rows = [Baseline(**data) for data in study.kept(f"{BASELINE} {recipe} ").values()]
    present = {"conditions": study.provenance.conditions, "method": METHOD}
    found = {row.name: row for row in rows if present.items() <= row.key.items()}
    return {name: found[name] for name in NAMES if name in found}


def check_rows(only: Sequence[str], recipe: str, calibration: int) -> None:
    """Refuse what can't be asked for, before anything is loaded.

    Raises:
        ConfigError: no such recipe or row, or too few samples.
    """
    if recipe not in RECIPES:
        raise ConfigError(f"the recipe must be {' or '.join(RECIPES)}, but got {recipe!r}")
    if calibration < 1:
        raise ConfigError(f"calibration needs at least 1 sample, but got {calibration}")
    for pattern in only:
        if not any(fnmatchcase(name, pattern) for name in NAMES):
            known = ", ".join(map(repr, NAMES))
            raise ConfigError(
                f"no row is called {pattern!r}; there are {known}{suggestion(pattern, NAMES, before='; ')}"
            )
