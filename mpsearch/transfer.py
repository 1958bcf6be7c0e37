"""Transfer: copy studies from one storage to another."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import optuna
from optuna.trial import TrialState

from mpsearch.addresses import parse_address
from mpsearch.errors import StudyError
from mpsearch.ranking import FINETUNED
from mpsearch.storages import close, open_storage, shown
from mpsearch.study import Study, open_study
from mpsearch.upkeep import copy_files, discard, restore, to_json

TIMES = ("started", "ended")  # of a trial, as `to_json` gives it


@dataclass(frozen=True)
class Copied:
    """A study that was copied.

    Attributes:
        name: of the study.
        trials: their number.
        files: whether there were weights and logs on this machine, which were copied as well.
    """

    name: str
    trials: int
    files: bool


def copy_studies(
    source: str | None, target: str | None, names: Sequence[str] = (), running: bool = False
) -> tuple[list[Copied], list[str]]:
    """Copy studies to another storage, whole, and compare each copy with its original.

    The copies have ids and folders of their own. What fails on the way leaves no half of a study behind.

    Args:
        source, target: URLs.
        names: of the studies; default: all that mpsearch made.
        running: copy studies that have running trials as well. Their copies' trials count as running too, until a
            run of the copy finds that nobody runs them and queues their configs again.

    Returns:
        The studies that were copied, and the names of those that weren't made by mpsearch.

    Raises:
        StudyError: the two are the same, a study isn't there, is there already in the target, is being run, or the
            copy differs from it.
    """
    if _place(source) == _place(target):
        raise StudyError(f"both are {shown(source)}: within a storage `mpsearch study copy NAME NEW` copies a study")
    file = parse_address(source).file
    if file is not None and not file.exists():
        raise StudyError(f"there is no {file}, from which studies could be copied: give another storage")
    found = {study.study_name: study for study in open_storage(source).get_all_studies()}
    unknown = [name for name in names if name not in found]
    if unknown:
        raise StudyError(f"there is no study `{unknown[0]}` in {shown(source)}; there are {', '.join(found) or 'none'}")
    foreign = [name for name, study in found.items() if "mpsearch" not in study.user_attrs]
    chosen = list(dict.fromkeys(names)) or [name for name in found if name not in foreign]
    taken = {study.study_name for study in open_storage(target, create=True).get_all_studies()}
    known = [name for name in chosen if name in taken]
    if known:
        raise StudyError(
            f"{shown(target)} has {_named(known)} already, and nothing was copied: choose others with --study, or "
            "rename or delete those"
        )
    studies = [open_study(name, source) for name in chosen]
    if not running:
        _refuse_running(studies)
    return [_copied(study, target, running) for study in studies], foreign if not names else []


def _refuse_running(studies: Sequence[Study]) -> None:
    for study in studies:
        numbers = [trial.number for trial in study.frozen_trials() if trial.state == TrialState.RUNNING]
        if numbers:
            raise StudyError(
                f"trial {numbers[0]} of `{study.name}` is running, and nothing was copied: let its run end; if its "
                "process died, `mpsearch study run` clears up, or --running copies it as it is"
            )


def _copied(study: Study, target: str | None, running: bool) -> Copied:
    with study.shared() if running else study.exclusive():
        data = to_json(study)
        made = restore(study.name, data, target)
        try:
            _compare(data, made, target)
            files = any(path.name != "run.lock" for path in study.folder.iterdir())
            if files:
                copy_files(study, made)
        except BaseException:
            discard(made, target)
            raise
    return Copied(study.name, len(data["trials"]), files)


def _compare(data: dict[str, Any], made: Study, target: str | None) -> None:
    """Read a copy over a connection of its own, and compare it with what was to be copied."""
    storage = open_storage(target, fresh=True)
    try:
        back = to_json(Study(optuna.load_study(study_name=made.name, storage=storage), made.folder))
    finally:
        close(storage)
    kept = {key: value for key, value in data["attributes"].items() if not key.startswith(f"{FINETUNED} ")}
    pairs = [(f"attribute {key}", value, back["attributes"].get(key)) for key, value in kept.items()]
    pairs += [(f"number of {part}", len(data[part]), len(back[part])) for part in ("attributes", "trials")]
    for trial, other in zip(data["trials"], back["trials"]):  # noqa: B905
        whole = trial | {key: other[key] for key in TIMES if _about(trial[key], other[key])}  # MySQL keeps no fractions
        pairs.append((f"trial {trial['number']}", whole, other))
    for what, original, copy in pairs:
        if _text(original) != _text(copy):
            raise StudyError(f"the copy of `{made.name}` in {shown(target)} differs in {what}; it was deleted again")


def _about(time: str | None, other: str | None) -> bool:
    """Whether two times are less than a second apart."""
    if time is None or other is None:
        return time is other
    return abs(datetime.fromisoformat(time) - datetime.fromisoformat(other)).total_seconds() < 1


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _place(url: str | None) -> str:
    address = parse_address(url)
    return address.url if address.file is None else str(address.file.resolve())


def _named(names: Sequence[str]) -> str:
    return ("a study " if len(names) == 1 else "studies ") + ", ".join(f"`{name}`" for name in names)
