"""Make a study of a space file, and make sure that it still fits."""

import datetime
import difflib
from collections.abc import Mapping
from typing import Any

from mpsearch.costs.bits import BitCost
from mpsearch.data import Data
from mpsearch.errors import StudyError
from mpsearch.network.sites import facts_of
from mpsearch.search.engine import backend_versions
from mpsearch.space import ResolvedSpace
from mpsearch.spacefile import SpaceFile, recorded_path
from mpsearch.study import Provenance, Study

DIFFERENCE_LINES = 40


def resolve(file: SpaceFile, data: Data | None) -> ResolvedSpace:
    """The exact space of a space file. Builds the model, but needs no weights.

    Without data the model's inputs are taken to have values below zero.
    """
    space, nonnegative = file.space, data is not None and data.nonnegative_inputs
    facts = facts_of(file.task.build(), nonnegative, space.requantize_merge_inputs, space.batch_norm == "keep")
    return space.resolve(facts)


def provenance_of(
    file: SpaceFile, data: Data, space: ResolvedSpace, seed: int, sampler: str, pruner: str
) -> Provenance:
    """What a study of `file` would be made of."""
    reference = BitCost(space.facts, file.reference).reference_cost
    return Provenance(
        space_path=recorded_path(file.path),
        space_text=file.text,
        space_hash=file.hash,
        space_fingerprint=space.fingerprint,
        space_size=str(space.size),
        data_fingerprint=data.fingerprint,
        versions=backend_versions(),
        seed=seed,
        sampler=sampler,
        pruner=pruner,
        metric=file.task.metric,
        reference_costs={
            "parameter_bits": reference.parameter_bits,
            "activation_bits": reference.activation_bits,
            "total_bits": reference.total_bits,
        },
        sites=[dict(row) for row in space.rows()],
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )


def check_unchanged(study: Study, file: SpaceFile, data: Data, space: ResolvedSpace, accept: bool = False) -> None:
    """Refuse to go on with a study whose space file or data changed.

    Args:
        study: made earlier.
        file, data, space: as they are now.
        accept: take over a change that leaves the choices as they are, and note it in the study's history.

    Raises:
        StudyError: something changed and `accept` is false, or the choices themselves changed: trials under
            other menus can't be compared by a sampler.
    """
    was = study.provenance
    now = {
        "space_text": file.text,
        "space_hash": file.hash,
        "data_fingerprint": data.fingerprint,
        "space_fingerprint": space.fingerprint,
    }
    changes: Mapping[str, Any] = {key: value for key, value in now.items() if getattr(was, key) != value}
    if not changes:
        return
    shown = []
    if "space_hash" in changes:
        lines = difflib.unified_diff(
            was.space_text.splitlines(), file.text.splitlines(), "in the study", str(file.path), lineterm="", n=1
        )
        shown += list(lines)[:DIFFERENCE_LINES] or ["a module that the space file imports changed"]
    if "data_fingerprint" in changes:
        shown.append(f"data: {was.data_fingerprint} in the study, {data.fingerprint} now")
    difference = "\n".join(shown)
    if "space_fingerprint" in changes:
        raise StudyError(
            f"the choices of `{study.name}` changed, and its trials can't be compared with new ones: "
            f"create a new study with --name, or undo the change\n{difference}"
        )
    if not accept:
        raise StudyError(
            f"what `{study.name}` was made of changed; to go on all the same give --accept-change\n{difference}"
        )
    study.accept(changes)
