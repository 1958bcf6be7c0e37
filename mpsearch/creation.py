"""Make a study of a space file, make sure that it still fits, and build the engine for it."""

import dataclasses
import datetime
import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mpsearch.aiming import check_methods, reachable
from mpsearch.changes import (
    check_file,
    forgiving_of,
    has_begun,
    refuse_other_scores,
    scoring_differences,
    space_file_of,
    text_difference,
    unaccepted,
)
from mpsearch.config import Alpha, Config
from mpsearch.costs.bits import BitCost
from mpsearch.data import Data
from mpsearch.errors import ConfigError, StudyError
from mpsearch.floatmodel import cached_weights, find_weights, float_model
from mpsearch.folders import cache_folder
from mpsearch.goal import Goal
from mpsearch.methods import SAMPLERS, Value, check_method
from mpsearch.network.sites import facts_of
from mpsearch.provenance import Provenance
from mpsearch.searching.engine import Engine, backend_versions
from mpsearch.searching.parameters import distributions
from mpsearch.searching.samplers import check_space
from mpsearch.searching.scoring import Scoring, recorded_name
from mpsearch.space import ResolvedSpace
from mpsearch.spacefile import SpaceFile, recorded_path
from mpsearch.study import Study
from mpsearch.training import Report, check_task
from mpsearch.version import __version__

_OF_THE_FILE = ("space_text", "space_hash", "space_fingerprint", "space_size", "data_fingerprint", "metric",
                "reference_costs", "sites", "forgiving")  # fmt: skip
Say = Callable[[str], None]
"""Is told what a user should know, a line each time."""


def resolve(file: SpaceFile, data: Data | None) -> ResolvedSpace:
    """The exact space of a space file. Builds the model, but needs no weights.

    Without data the model's inputs are taken to have values below zero.
    """
    space, nonnegative = file.space, data is not None and data.nonnegative_inputs
    facts = facts_of(file.task.example, nonnegative, space.requantize_merge_inputs, space.batch_norm == "keep")
    return space.resolve(facts)


def provenance_of(
    file: SpaceFile,
    data: Data,
    space: ResolvedSpace,
    seed: int,
    sampler: str,
    pruner: str,
    sampler_options: Mapping[str, Value] | None = None,
    pruner_options: Mapping[str, Value] | None = None,
    goal: Goal | None = None,
) -> Provenance:
    """What a study of `file` would be made of.

    Raises:
        ConfigError: there is no such sampler, or it can't search this space or work towards the goal; the task names a
            loss, metric or optimizer that there isn't, or its class weights don't fit the data.
    """
    check_method("sampler", sampler, SAMPLERS, sampler_options or {})
    check_space(sampler, distributions(space))
    check_methods(goal or Goal(), sampler, pruner)
    check_task(file.task, file.task.example, data)
    return Provenance(
        space_path=recorded_path(file.path),
        space_text=file.text,
        space_hash=file.hash,
        space_fingerprint=space.fingerprint,
        space_size=str(space.size),
        data_fingerprint=data.fingerprint,
        versions=versions(),
        seed=seed,
        sampler=sampler,
        pruner=pruner,
        metric=file.task.metric,
        reference_costs=reference_costs(file, space),
        sites=[dict(row) for row in space.rows()],
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        float_weights=float_weights(file, data),
        forgiving=dataclasses.asdict(file.forgiving),
        sampler_options=dict(sampler_options or {}),
        pruner_options=dict(pruner_options or {}),
        goal=(goal or Goal()).to_json(),
    )


def versions() -> dict[str, str]:
    """Versions of mpsearch, Python, and the packages that training depends on."""
    return {"mpsearch": __version__, **backend_versions()}


def reference_costs(file: SpaceFile, space: ResolvedSpace) -> dict[str, int]:
    """What costs are compared with, by name, units included."""
    reference = BitCost(space.facts, file.reference).reference_cost
    return {
        "parameter_bits": reference.parameter_bits,
        "activation_bits": reference.activation_bits,
        "total_bits": reference.total_bits,
    }


def float_weights(file: SpaceFile, data: Data) -> str:
    """SHA-256 of the file of float weights, 16 hex digits; empty where there is none yet."""
    try:
        return hashlib.sha256(float_weights_file(file, data).read_bytes()).hexdigest()[:16]
    except FileNotFoundError:
        return ""


def float_weights_file(file: SpaceFile, data: Data) -> Path:
    """Where the float weights are, or will be once they are trained.

    Raises:
        DataMissingError: the file that the task names isn't there.
    """
    task = file.task
    return cached_weights(task, data) if task.weights is None else find_weights(task.weights, file.path.parent)


def uniform_config(space: ResolvedSpace, width: int) -> Config:
    """The config with one width wherever menus have it, and the next wider one elsewhere.

    Raises:
        ConfigError: no menu has it.
    """
    known = sorted({menu_width for choice in space.choices for menu_width in choice.menu.widths})
    if width not in known:
        raise ConfigError(
            f"no menu of the space has {width} bits, so no config is uniform in them; menus have "
            f"{', '.join(str(menu_width) for menu_width in known)}"
        )
    return space.uniform(width)


def check_unchanged(
    study: Study, file: SpaceFile, data: Data, space: ResolvedSpace, accept: bool = False, weights: str | None = None
) -> list[str]:
    """Refuse to go on with a study whose space file, data or float weights changed.

    A study none of whose trials has begun takes the change over: one without trials altogether, one with queued trials
    as far as choices and scores stay.

    Args:
        study: made earlier.
        file, data, space: as they are now.
        accept: take over a change that leaves choices and scores as they are, and note it in the study's history.
        weights: what `float_weights` gives now; None leaves them unchecked, as do those that are yet to be trained.

    Returns:
        Notes on what changed without being refused: versions of packages, and what a study takes over.

    Raises:
        StudyError: something changed, trials have begun and `accept` is false; or there are trials, and the choices
            themselves or what makes up a score changed: such trials can't be compared; or another process runs a study
            that is to take a change over.
        ConfigError: the study has no trials, and its sampler can't search the space, or no training could use the task.
    """
    study.reread()
    empty = not study.records()
    if not empty:
        _refuse_incomparable(study, file, space)
    study.complement(_unknown_yet(study, file, weights))
    was = study.provenance
    now = {"space_text": file.text, "space_hash": file.hash, "data_fingerprint": data.fingerprint}
    if empty and (was.space_hash, was.data_fingerprint, was.space_fingerprint) != (
        file.hash,
        data.fingerprint,
        space.fingerprint,
    ):
        now = _made_of(study, file, data, space)
    if weights:
        now["float_weights"] = weights
    changes = {key: value for key, value in now.items() if getattr(was, key) != value}
    if not changes:
        return _changed_versions(study)
    shown = text_difference(study, file) if "space_hash" in changes else []
    if "data_fingerprint" in changes:
        shown.append(f"data: {was.data_fingerprint} in the study, {data.fingerprint} now")
    if "float_weights" in changes:
        shown.append(f"float weights: {was.float_weights} in the study, {weights} now")
    if not has_begun(study):
        with study.exclusive():  # nobody may begin one meanwhile
            study.accept(changes)
        note = f"note: no trial of `{study.name}` has begun, so that it takes over what changed"
        return [note, *shown, *_changed_versions(study)]
    if not accept:
        raise unaccepted(study, shown)
    study.accept(changes)
    return _changed_versions(study)


def _made_of(study: Study, file: SpaceFile, data: Data, space: ResolvedSpace) -> dict[str, Any]:
    """What of the provenance a study without trials would have, were it made now with the same sampler and pruner."""
    was = study.provenance
    reachable(file, space, study.goal)
    options = was.sampler_options, was.pruner_options
    made = provenance_of(file, data, space, was.seed, was.sampler, was.pruner, *options, study.goal)
    plain = json.loads(json.dumps(vars(made)))  # as a storage gives it back
    return {key: value for key, value in plain.items() if key in _OF_THE_FILE}


def _refuse_incomparable(study: Study, file: SpaceFile, space: ResolvedSpace) -> None:
    """Refuse other choices, and whatever gives scores another meaning.

    Raises:
        StudyError: there are such changes.
    """
    was = study.provenance
    scoring = scoring_differences(study, file)
    costs = reference_costs(file, space)
    if dict(was.reference_costs) != costs:
        scoring.append(
            f"reference: {was.reference_costs['total_bits']:,} bits in the study, {costs['total_bits']:,} now"
        )
    refuse_other_scores(study, file, [*scoring, *_changed_costs(study, file, space)])
    if was.space_fingerprint != space.fingerprint:
        raise StudyError(
            f"the choices of `{study.name}` changed, and its trials can't be compared with new ones: "
            f"create a new study with --name, or undo the change\n" + "\n".join(text_difference(study, file))
        )


def _changed_costs(study: Study, file: SpaceFile, space: ResolvedSpace) -> list[str]:
    """The first trial whose recorded costs, as far as they are the objective's, aren't what they would be now."""
    scoring = Scoring.of(file, space.facts, study.goal)
    for name in study.goal.costs:
        for record in study.records():
            was = record.costs.get(recorded_name(name))
            if was is None or record.config is None or record.config not in space:
                continue
            now = scoring.costs(record.config).to_json()[recorded_name(name)]
            if not math.isclose(was, now, rel_tol=1e-9):
                return [f"{name} of trial {record.number}: {was:,.10g} in the study, {now:,.10g} now"]
    return []


def engine_of(
    study: Study,
    accept: bool = False,
    extra_alphas: Sequence[Alpha] = (),
    report: Report | None = None,
    say: Say = lambda line: None,
) -> Engine:
    """The engine for a study's space file, if that hasn't changed.

    What can refuse the study comes first: nothing is trained for a study that is then refused.

    Args:
        study: made earlier.
        accept: take over a change that leaves choices and scores as they are.
        extra_alphas: scale modes that sites can take besides those of their menus.
        report: called after each epoch, where the float model has to be trained.
        say: is told what a user should know.

    Raises:
        StudyError: the space file is gone, or what the study was made of changed.
    """
    file, data, _ = checked_inputs(study, accept, say)
    engine = Engine(file, report, extra_alphas, data, study.goal)
    note_weights(study, file, data, accept)
    return engine


def prepared(
    study: Study, accept: bool = False, report: Report | None = None, say: Say = lambda line: None
) -> tuple[SpaceFile, Data, ResolvedSpace]:
    """The space file, data and space of a study whose engines other processes build; its float weights are there then.

    Args:
        study: made earlier.
        accept: take over a change that leaves choices and scores as they are.
        report: called after each epoch, where the float model has to be trained.
        say: is told what a user should know.

    Raises:
        StudyError: as `engine_of`.
    """
    file, data, space = checked_inputs(study, accept, say)
    float_model(file.task, data, file.path.parent, report)
    note_weights(study, file, data, accept)
    return file, data, space


def checked_inputs(
    study: Study, accept: bool = False, say: Say = lambda line: None
) -> tuple[SpaceFile, Data, ResolvedSpace]:
    """The space file, data and space of a study, if they haven't changed, or the change is accepted.

    Raises:
        StudyError: as `engine_of`.
    """
    file = space_file_of(study)
    check_file(study, file, accept)
    data = file.task.data()
    space = resolve(file, data)
    for note in check_unchanged(study, file, data, space, accept, float_weights(file, data)):
        say(note)
    return file, data, space


def note_weights(study: Study, file: SpaceFile, data: Data, accept: bool = False) -> None:
    """Note which float weights trials start from, where the study doesn't know that yet.

    Args:
        study: made for the file.
        file, data: by which weights have been trained meanwhile, where there were none.
        accept: go on with others than those that the study's trials started from.

    Raises:
        StudyError: the study knows others: of another process, or of a cache that is elsewhere or lost.
    """
    found = float_weights(file, data)
    if study.provenance.float_weights == found:
        return
    study.reread()
    known = study.provenance.float_weights
    if not known:
        study.complement({"float_weights": found})
        study.reread()  # another node may have done the same at this moment
        known = study.provenance.float_weights
    if known != found and accept:
        study.accept({"float_weights": found})
    elif known != found:
        raise StudyError(
            f"the float weights trained here ({found}) aren't those that `{study.name}` knows ({known}), from another "
            f"node or process: let all of them use one folder for {cache_folder()}, for which XDG_CACHE_HOME can be "
            "set, or name a file of weights in the task; where those are lost --accept-change (from Python "
            "accept_change=True) goes on with the new ones"
        )


def _unknown_yet(study: Study, file: SpaceFile, weights: str | None) -> dict[str, Any]:
    was = study.provenance
    found: dict[str, Any] = {}
    if not was.float_weights and weights:
        found["float_weights"] = weights
    forgiving = forgiving_of(was, file)
    if was.forgiving is None and forgiving is not None:
        found["forgiving"] = dataclasses.asdict(forgiving)
    return found


def _changed_versions(study: Study) -> list[str]:
    """Notes on packages whose version is another than the study's, which takes the new ones over."""
    was, now = study.provenance.versions, versions()
    if was == now:
        return []
    if now not in [before.get("versions") for before in study.history]:  # nodes of a cluster may differ for good
        study.accept({"versions": now})
    return [
        f"note: {name} was {was.get(name, 'unknown')} in the study and is {now.get(name, 'absent')} now; results may "
        "differ slightly"
        for name in sorted({*was, *now})
        if was.get(name) != now.get(name)
    ]
