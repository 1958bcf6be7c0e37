"""Keep studies over months: rename, delete, copy, export and import them."""

import csv
import datetime
import io
import json
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import distribution_to_json, json_to_distribution
from optuna.trial import FrozenTrial, TrialState

from mpsearch.errors import StudyError
from mpsearch.provenance import FORMAT, Provenance, format_refusal
from mpsearch.ranking import FINETUNED
from mpsearch.resilience import TOKEN
from mpsearch.storages import open_storage, rename, shown
from mpsearch.study import Study, check_name, create_study, open_study, study_names
from mpsearch.version import __version__

KIND = "mpsearch study"


def rename_study(name: str, new: str, storage: str | None = None) -> Study:
    """Give a study another name; its files stay in their folder.

    Raises:
        StudyError: there is no such study, there is one of the new name, that is empty, or another process runs it.
    """
    check_name(new)
    study = open_study(name, storage)
    _refuse_known(new, storage)
    with study.exclusive():
        study.complement({} if study.provenance.folder else {"folder": study.folder.name})
        # Optuna has no call for it; a copy would lose what its samplers and dashboards refer to by number
        rename(open_storage(storage), name, new)
    return open_study(new, storage)


def delete_study(name: str, storage: str | None = None) -> None:
    """Delete a study, its weights and its fine-tunings.

    Raises:
        StudyError: there is no such study, or another process runs it.
    """
    study = open_study(name, storage)
    with study.exclusive():
        discard(study, storage)


def discard(study: Study, storage: str | None) -> None:
    """Delete a study that this process holds, or that nobody else knows yet."""
    optuna.delete_study(study_name=study.name, storage=open_storage(storage))
    shutil.rmtree(study.folder, ignore_errors=True)


def copy_study(name: str, new: str, storage: str | None = None) -> Study:
    """A second study with the same trials, weights and fine-tunings, to go on with in another way.

    Raises:
        StudyError: there is no such study, there is one of the new name, that is empty, or another process runs it.
    """
    study = open_study(name, storage)
    _refuse_known(new, storage)
    with study.exclusive():
        made = restore(new, to_json(study), storage)
        copy_files(study, made)
    return made


def copy_files(study: Study, made: Study) -> None:
    """Copy a study's weights and fine-tunings to the folder of its copy."""
    ignored = shutil.ignore_patterns("run.lock", "partial-*")
    shutil.copytree(study.folder, made.folder, ignore=ignored, dirs_exist_ok=True, copy_function=_copy_if_there)
    for tuned in made.kept(f"{FINETUNED} ").values():
        result = Path(tuned["folder"]) / "result.json"
        if result.exists():
            result.write_text(json.dumps(tuned, indent=1))


def _copy_if_there(source: str, target: str) -> None:
    """Copy a file that a run may be deleting: weights of trials that aren't among the best any more."""
    with suppress(FileNotFoundError):
        shutil.copy2(source, target)


def to_json(study: Study) -> dict[str, Any]:
    """All of a study but its weights, as plain data that `import_study` reads."""
    attributes = study.kept("")
    return {
        "kind": KIND,
        "format": FORMAT,
        "mpsearch": __version__,
        "name": study.name,
        "provenance": dict(vars(study.provenance)),
        "attributes": {key: value for key, value in attributes.items() if key != "mpsearch"},
        "trials": [_trial_to_json(trial) for trial in study.frozen_trials()],
    }


def to_csv(study: Study) -> str:
    """The trials as a table, a row each: what is known of them, then the spec of every site."""
    records = study.records()
    costs = sorted({name for record in records for name in record.costs})
    sites = dict.fromkeys(site for record in records if record.config is not None for site in record.config)
    plain = ("number", "state", "origin", "metric", "score", "delta", "epochs", "seconds", "sequence", "fingerprint",
             "answered_from", "before_change", "cause")  # fmt: skip
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*plain, *costs, *sites])
    for record in records:
        specs: Mapping[str, Any] = record.config or {}
        values = [getattr(record, name) for name in plain] + [record.costs.get(name) for name in costs]
        writer.writerow([*("" if value is None else value for value in values), *(specs.get(s, "") for s in sites)])
    return text.getvalue()


def import_study(path: Path, name: str | None = None, storage: str | None = None) -> Study:
    """A study from the file of an export; without its weights, which the file doesn't hold.

    Args:
        path: JSON, as `to_json` gives it.
        name: of the study; default: as it was.
        storage: where it is to be kept.

    Raises:
        StudyError: the file is no such export, is of a later version, or there is a study of this name.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StudyError(f"can't read {path}: {error}") from error
    if not isinstance(data, dict) or data.get("kind") != KIND:
        raise StudyError(f"{path} is no exported study: make one with `mpsearch study export NAME --format json`")
    if data.get("format", FORMAT) > FORMAT:
        raise format_refusal(f"the study in {path}", data["format"], data.get("mpsearch"))
    lacking = [key for key in ("format", "name", "provenance", "attributes", "trials") if key not in data]
    if lacking:
        raise StudyError(f"{path} is no whole study, it lacks {', '.join(lacking)}: export it again")
    name = str(data["name"]) if name is None else name
    if storage is not None or name in _names(storage):
        _refuse_known(name, storage, "another --name (from Python name=…)")
    return restore(name, data, storage)


def restore(name: str, data: Mapping[str, Any], storage: str | None) -> Study:
    """A new study with what `to_json` gave."""
    study = create_study(name, replace(Provenance(**data["provenance"]), format=FORMAT), storage)
    for key, value in data["attributes"].items():
        if key.startswith(f"{FINETUNED} "):  # its files belong to the new study
            value = {**value, "folder": str(study.folder / FINETUNED / Path(value["folder"]).name)}
        study.keep(key, value)
    if data["provenance"]["format"] < FORMAT:
        study.mark_untagged(data["provenance"])
    for trial in data["trials"]:
        study.add_frozen(_trial_from_json(trial))
    return study


def _trial_to_json(trial: FrozenTrial) -> dict[str, Any]:
    return {
        "number": trial.number,
        "state": trial.state.name.lower(),
        "values": trial.values,
        "parameters": trial.params,
        "distributions": {key: json.loads(distribution_to_json(d)) for key, d in trial.distributions.items()},
        "attributes": {key: value for key, value in trial.user_attrs.items() if key != TOKEN},
        "system_attributes": trial.system_attrs,
        "curve": {str(step): value for step, value in trial.intermediate_values.items()},
        "started": _written(trial.datetime_start),
        "ended": _written(trial.datetime_complete),
    }


def _trial_from_json(data: Mapping[str, Any]) -> FrozenTrial:
    score = data.get("score")  # up to format 3
    return FrozenTrial(
        number=data["number"],
        state=TrialState[data["state"].upper()],
        value=None,
        values=data.get("values", None if score is None else [score]),
        datetime_start=_read(data["started"]),
        datetime_complete=_read(data["ended"]),
        params=dict(data["parameters"]),
        distributions={key: json_to_distribution(json.dumps(d)) for key, d in data["distributions"].items()},
        user_attrs=dict(data["attributes"]),
        system_attrs=dict(data["system_attributes"]),
        intermediate_values={int(step): value for step, value in data["curve"].items()},
        trial_id=-1,
    )


def _written(moment: datetime.datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def _read(text: str | None) -> datetime.datetime | None:
    return None if text is None else datetime.datetime.fromisoformat(text)


def _names(storage: str | None) -> list[str]:
    try:
        return study_names(storage)
    except StudyError:  # there is no default database yet; it is made
        return []


def _refuse_known(name: str, storage: str | None, instead: str = "another name") -> None:
    if name in _names(storage):
        raise StudyError(f"there is a study `{name}` in {shown(storage)} already: give {instead}")
