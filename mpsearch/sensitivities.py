"""Sensitivities: how much each spec of each choice harms the float model, as plain data kept with a study."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from mpsearch.config import Config, Role
from mpsearch.errors import StudyError
from mpsearch.searching.guided import Guide
from mpsearch.searching.scoring import Scoring
from mpsearch.searching.surrogate import Prior
from mpsearch.space import ResolvedSpace
from mpsearch.study import Study

SAMPLES = 256  # measured: `benchmarks/probe_samples.py`
METHOD = 3
"""Raised where sensitivities are measured in another way, so that those that are kept are measured again."""
SENSITIVITY, UNTRAINED, FLOAT = "sensitivity", "untrained", "float"
# Measured: `benchmarks/recovery.py`, and `studies/search/RESULTS.md`
LEFT = 0.125  # of a metric's loss by quantization, what training leaves: the prior's mean, and about as uncertain
KERNELS = 0.4  # what training leaves of a narrow kernel's harm, in parts of what it leaves of a narrow feature map's
_LEAST_LOSS = 0.01


@dataclass(frozen=True)
class Sensitivity:
    """What each spec of one choice does, all other choices being wide.

    Attributes:
        choice: its name.
        sites: that share its spec.
        specs: as text, in the order of the menu.
        divergences: for each spec, how far the outputs are from those of the wide config, 0 where they are the same;
            of class scores the mean Kullback-Leibler divergence in nats, else the mean squared difference in parts of
            the outputs' variance; summed over outputs.
        losses: for each spec, how much the loss rises; it may fall.
        seconds: that measuring took.
        key: what it depends on; where that is still the same, it isn't measured again.
        role: of its first site.
    """

    choice: str
    sites: tuple[str, ...]
    specs: tuple[str, ...]
    divergences: tuple[float, ...]
    losses: tuple[float, ...]
    seconds: float
    key: Mapping[str, Any]
    role: str

    @property
    def damages(self) -> np.ndarray:
        """What adds up over choices: for each spec the root of its divergence; see `searching.surrogate`.

        Of kernels it is less by `KERNELS`: training adapts a kernel to its codes, a feature map's codes stay coarse.
        """
        left = KERNELS if self.role == Role.KERNEL else 1.0
        return left * np.sqrt(np.maximum(np.array(self.divergences), 0.0))

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Sensitivity":
        """That of `to_json`'s data."""
        rows = {key: tuple(data[key]) for key in ("sites", "specs", "divergences", "losses")}
        return cls(**{**data, **rows})


def key_of(study: Study, samples: int) -> dict[str, Any]:
    """What sensitivities depend on."""
    was = study.provenance
    return {"conditions": was.conditions, "space": was.space_fingerprint, "method": METHOD, "samples": samples}


def keep(study: Study, row: Sensitivity) -> None:
    """Keep a sensitivity with a study, in place of an earlier one of its choice."""
    study.keep(f"{SENSITIVITY} {row.choice}", row.to_json())


def kept(study: Study, samples: int | None = None) -> dict[str, Sensitivity]:
    """The sensitivities that are kept with a study, by choice; none that is outdated.

    Args:
        study: with them.
        samples: only those that were measured on so many; None: on however many.
    """
    wanted = key_of(study, samples or 0)
    if samples is None:
        del wanted["samples"]
    rows = [data for data in study.kept(f"{SENSITIVITY} ").values() if wanted.items() <= data["key"].items()]
    return {row["choice"]: Sensitivity.from_json(row) for row in rows}


def are_known(study: Study, space: ResolvedSpace) -> bool:
    """Whether all that a guide needs is kept with a study."""
    choices = {choice.name for choice in space.choices}
    found = kept(study)
    return found.keys() >= choices and prior_of(study, list(found.values())) is not None


def known(study: Study, space: ResolvedSpace) -> tuple[list[Sensitivity], Prior]:
    """The sensitivities of all choices of a space, in its order, and what is believed before the first trial.

    Raises:
        StudyError: some aren't known, or the space isn't the study's.
    """
    if space.fingerprint != study.provenance.space_fingerprint:
        raise StudyError(f"the choices of `{study.name}` changed: undo the change, or create a new study with --name")
    found = kept(study)
    missing = [choice.name for choice in space.choices if choice.name not in found]
    prior = None if missing else prior_of(study, list(found.values()))
    if prior is None:
        some = 0 < len(missing) < len(space.choices)
        which = f"{len(missing)} sensitivities" if some else "the sensitivities"
        raise StudyError(f"{which} of `{study.name}` aren't known yet: mpsearch sensitivity {study.name}")
    return [found[choice.name] for choice in space.choices], prior


def guide_of(study: Study, space: ResolvedSpace, scoring: Scoring) -> Guide:
    """What proposes a study's configs by their sensitivities.

    Raises:
        StudyError: these aren't known.
    """
    rows, prior = known(study, space)
    return Guide(space, scoring, [row.damages for row in rows], prior)


def prior_of(study: Study, rows: Sequence[Sensitivity]) -> Prior | None:
    """What is believed of metrics before the first trial; None where measuring hasn't come to its end.

    Args:
        study: with what was measured besides.
        rows: its sensitivities, in any order.
    """
    untrained = study.kept(UNTRAINED).get(UNTRAINED)
    if untrained is None or any(row.key != untrained.get("key") for row in rows):
        return None
    if {row.choice for row in rows} != untrained["specs"].keys():
        return None
    harm = float(sum(row.damages[row.specs.index(untrained["specs"][row.choice])] for row in rows))
    lost = max(untrained["float"] - untrained["validation"], _LEAST_LOSS)
    return Prior(untrained["float"], LEFT * lost / max(harm, 1e-6))


def narrowest(space: ResolvedSpace) -> Config:
    """The narrowest config of a space."""
    return space.uniform(1)
