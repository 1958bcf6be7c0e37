"""Provenance: what a study was made of."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mpsearch.errors import StudyError
from mpsearch.methods import Value

FORMAT = 4  # of what a study holds; raised when older code can't read it


@dataclass(frozen=True)
class Provenance:
    """What a study was made of; enough to say later exactly what it was.

    Attributes:
        space_path, space_text, space_hash: the space file.
        space_fingerprint: of the resolved space.
        space_size: number of configs, in decimal digits (it may exceed any integer type).
        data_fingerprint: of all splits.
        versions: of Python and the packages that training depends on.
        seed: of the study.
        sampler, pruner: names.
        metric: name of the metric.
        reference_costs: name to number, as in a trial's costs.
        sites: rows of the space's table.
        created: date and time, ISO 8601, UTC.
        format: of the records; 1 has none of the fields below, up to 2 a trial's result is many attributes, up to 3
            there is no goal.
        id: unique to the study, also among those of one name.
        folder: name of the folder for its files; studies without one use their name.
        float_weights: SHA-256 of the file of float weights, 16 hex digits; empty where it isn't known yet.
        forgiving: the Forgiving Factor's parameters; None where they aren't known.
        sampler_options, pruner_options: option to its value; those left out have their defaults.
        goal: what is looked for, as of `Goal.to_json`; empty up to format 3: the score over bits.
    """

    space_path: str
    space_text: str
    space_hash: str
    space_fingerprint: str
    space_size: str
    data_fingerprint: str
    versions: Mapping[str, str]
    seed: int
    sampler: str
    pruner: str
    metric: str
    reference_costs: Mapping[str, int]
    sites: list[dict[str, Any]]
    created: str
    format: int = FORMAT
    id: str = ""
    folder: str = ""
    float_weights: str = ""
    forgiving: Mapping[str, float] | None = None
    sampler_options: Mapping[str, Value] = field(default_factory=dict)
    pruner_options: Mapping[str, Value] = field(default_factory=dict)
    goal: Mapping[str, Any] = field(default_factory=dict)

    @property
    def conditions(self) -> str:
        """What trials are trained under: space file, data and float weights, as 16 hex digits."""
        return _digest(self.space_hash, self.data_fingerprint, self.float_weights)


def format_refusal(what: str, found: int, written_by: str | None) -> StudyError:
    """The error for data of a later format."""
    wanted = f"mpsearch {written_by} or later" if written_by else "a later mpsearch"
    return StudyError(f"{what} has format {found}, but this version reads up to {FORMAT}: use {wanted}")


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
