"""What a report says, gathered from a study as plain data; nothing of it needs the model."""

import csv
import datetime
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from mpsearch.baselines.record import RECIPES, Baseline
from mpsearch.baselines.record import kept as kept_baselines
from mpsearch.config import Config
from mpsearch.costs.model import Cost
from mpsearch.costs.registry import Device, make_cost
from mpsearch.costs.sizes import NAMED
from mpsearch.costs.specs import Specs
from mpsearch.errors import ConfigError, StudyError
from mpsearch.export.folders import ABOUT, export_folders
from mpsearch.facts import ModelFacts
from mpsearch.goal import Objective
from mpsearch.importance import importances
from mpsearch.ranking import FINETUNED, ranked
from mpsearch.records import TrialRecord
from mpsearch.sensitivities import kept as kept_sensitivities
from mpsearch.spacefile import SpaceFile
from mpsearch.study import Study
from mpsearch.surveying import Surveyed, costs_of, survey

FORMAT = 1
"""Of a report's plain data; raised when older code can't read it."""
EVALUATED = "evaluated"
TABLE_COSTS = ("bits", "flash", "ram")
"""Of the table of the answer, besides the goal's."""


@dataclass(frozen=True)
class Report:
    """What a report says, all of it plain data.

    Attributes:
        name: of the study.
        metric: its name.
        objective, limits, floor: what was looked for: see `Goal`.
        units: cost to its unit.
        axis: the cost that the front is shown over.
        best: number of the trial that answers the question.
        others: numbers of other trials worth a look: the next of the ranking, or the front's.
        rows: the best config and what it is compared with: `name`, `trial`, `validation`, `test`, `costs`, `score`. A
            metric that nobody measured is None.
        trials: each as of `TrialRecord.to_json`, with `began` and `ended`, ISO 8601, UTC.
        sites: `name`, `layer`, `layer_class`, `role`, `elements` and `macs` of each quantized tensor, in network order.
        energy: operation to what it takes with the best config and with the flat 8-bit one, pJ.
        front: `trial`, `metric`, `cost`, `costs` and `member` of each config; `hypervolume`, `knee`, `reference`.
        baselines: as of `Baseline.to_json`, with `recipe`.
        sensitivities: as of `Sensitivity.to_json`.
        importance: as of `Importance.to_json`, the tensor that costs most metric first.
        finetuned: as of `FineTuned.to_json`, with `curve`: logs of each epoch.
        evaluated: what `--evaluate` found: see `mpsearch.report.evaluating`; None where it wasn't done.
        exports: as of `Exported.to_json`, with trial and weights.
        provenance: as of the study.
        remark: what its user wrote on it.
        format: of this data.
    """

    name: str
    metric: str
    objective: str
    limits: Mapping[str, float]
    floor: float | None
    units: Mapping[str, str]
    axis: str
    best: int
    others: Sequence[int]
    rows: Sequence[Mapping[str, Any]]
    trials: Sequence[Mapping[str, Any]]
    sites: Sequence[Mapping[str, Any]]
    energy: Mapping[str, Mapping[str, float]]
    front: Mapping[str, Any]
    baselines: Sequence[Mapping[str, Any]]
    sensitivities: Sequence[Mapping[str, Any]]
    importance: Sequence[Mapping[str, Any]]
    finetuned: Sequence[Mapping[str, Any]]
    evaluated: Mapping[str, Any] | None
    exports: Sequence[Mapping[str, Any]]
    provenance: Mapping[str, Any]
    remark: str = ""
    format: int = FORMAT

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Any) -> "Report":
        """The report of `to_json`'s data.

        Raises:
            ConfigError: it isn't a report's, or one of a later format.
        """
        names = {field.name for field in fields(cls)}
        if not isinstance(data, Mapping) or "format" not in data or not names.issuperset(data):
            raise ConfigError("this isn't the data of a report, which `mpsearch report NAME --json` prints")
        if data["format"] > FORMAT:
            raise ConfigError(
                f"the report has format {data['format']}, but this version reads up to {FORMAT}: use a later mpsearch"
            )
        try:
            return cls(**data)
        except TypeError as error:
            raise ConfigError(f"the data of the report isn't whole: {error}") from error

    def trial(self, number: int) -> Mapping[str, Any]:
        """The trial of a number."""
        return next(trial for trial in self.trials if trial["number"] == number)

    @property
    def answer(self) -> Mapping[str, Any]:
        """The row of the best config."""
        return next(row for row in self.rows if row["trial"] == self.best)


def gather(
    study: Study, file: SpaceFile, facts: ModelFacts, trial: int | None = None, axis: str | None = None, others: int = 4
) -> Report:
    """Gather what a report says.

    Args:
        study: with a complete trial.
        file: its space file.
        facts: of its model.
        trial: number of the trial that is the answer; None: the best of the ranking, or the knee of the front where
            that is the objective.
        axis: name of the cost that the front is shown over; None: the objective's first one.
        others: how many other configs are shown beside the best.

    Raises:
        StudyError: it has no complete trial, or not this one.
        ConfigError: there is no such cost.
    """
    goal, metric = study.goal, study.provenance.metric
    axis = axis or goal.costs[0]
    found = survey(study, file, facts, [axis])
    members = [found.records[place].number for place in found.front.members]
    knee = _knee(found)
    ranking = [candidate.record.number for candidate in ranked(study)]
    if trial is not None:
        best = study.trained(study.record(trial)).number
        if best not in ranking:
            raise StudyError(f"trial {trial} has no result ({study.record(trial).state}): give a complete one")
    else:
        balanced = _knee(survey(study, file, facts)) if goal.objective is Objective.PARETO else None
        best = ranking[0] if balanced is None else balanced
    beside = members if goal.objective is Objective.PARETO else ranking
    record = study.record(best)
    costs = _costs(study, file, facts, axis)
    config = record.config
    assert config is not None
    resolved = file.space.resolve(facts)
    baselines = [(recipe, row) for recipe in RECIPES for row in kept_baselines(study, recipe).values()]
    finetuned = [_with_curve(data) for _, data in sorted(study.kept(f"{FINETUNED} ").items())]
    own = {row.name: row for recipe, row in baselines if recipe == RECIPES[0]}
    rows = _rows(study, costs, record, resolved.uniform(8), own, finetuned)
    times = study.times()
    return Report(
        name=study.name,
        metric=metric,
        objective=goal.objective.value,
        limits=dict(goal.limits),
        floor=goal.floor,
        units={**NAMED, **{cost.name: cost.unit for cost in costs}},
        axis=axis,
        best=best,
        others=[number for number in beside if number != best][:others],
        rows=rows,
        trials=[{**r.to_json(), **times.get(r.number, {})} for r in study.records()],
        sites=[
            {
                "name": site.name,
                "layer": site.layer,
                "layer_class": site.layer_class,
                "role": site.role.value,
                "elements": site.elements,
                "macs": site.macs,
            }
            for site in facts.sites
            if site.name in config
        ],
        energy=_energy(study, file, facts, {"best": config, "flat 8": resolved.uniform(8)}),
        front={
            "points": [
                {
                    "trial": point.number,
                    "metric": point.metric,
                    "cost": float(values[0]),
                    "origin": point.origin,
                    "member": place in found.front.members,
                }
                for place, (point, values) in enumerate(zip(found.records, found.values, strict=True))
            ],
            "hypervolume": found.front.hypervolume,
            "knee": knee,
            "reference": found.reference[0],
        },
        baselines=[{**row.to_json(), "recipe": recipe} for recipe, row in baselines],
        sensitivities=_in_order([row.to_json() for row in kept_sensitivities(study).values()], facts),
        importance=_importance(study, file, facts),
        finetuned=finetuned,
        evaluated=study.kept(f"{EVALUATED} ").get(f"{EVALUATED} {best}"),
        exports=_exports(study),
        provenance=vars(study.provenance),
        remark=study.remark(),
    )


def _knee(found: Surveyed) -> int | None:
    """Number of the trial at the knee."""
    return None if found.front.knee is None else found.records[found.front.knee].number


def _costs(study: Study, file: SpaceFile, facts: ModelFacts, axis: str) -> list[Cost]:
    names = dict.fromkeys((*TABLE_COSTS, axis, *study.goal.all_costs))
    return costs_of(file, facts, study.goal, tuple(names))


def _rows(
    study: Study,
    costs: Sequence[Cost],
    record: TrialRecord,
    flat: Config,
    baselines: Mapping[str, Baseline],
    finetuned: Sequence[Mapping[str, Any]],
) -> list[dict[str, Any]]:
    """Float, flat 8 bits and the best config, with what is known of them."""

    def row(name: str, config: Config, trial: int | None = None, **known: Any) -> dict[str, Any]:
        values = {cost.name: float(cost(config)) for cost in costs}
        return {"name": name, "trial": trial, "validation": None, "test": None, "score": None, **known, "costs": values}

    # what a float model costs is its bits and bytes; what it takes on an integer device nobody knows
    kept = study.kept("float").get("float") or {}
    own = baselines.get("float")
    first = row(
        "float",
        Config({}),
        validation=own.validation if own else kept.get("validation"),
        test=None if own is None else own.test,
    )
    first["costs"] = {name: value for name, value in first["costs"].items() if name in TABLE_COSTS}
    equal = [r for r in study.best(None) if r.fingerprint == flat.fingerprint and not r.before_change]
    eight, base = (equal[0] if equal else None), baselines.get("flat 8, auto")
    second = row(
        "flat 8",
        flat,
        None if eight is None or eight.number == record.number else eight.number,
        validation=eight.metric if eight else base.validation if base else None,
        test=base.test if base else None,
        score=eight.score if eight else base.score if base else None,
    )
    assert record.config is not None
    third = row("best", record.config, record.number, validation=record.metric, score=record.score)
    tuned = [t for t in finetuned if t["trial"] == record.number]
    after = [
        row(
            "best, fine-tuned" if t["changed_alpha"] is None else f"best, fine-tuned, {t['changed_alpha']}",
            Config.from_json(t["config"]),
            validation=t["validation"],
            test=t["test"],
            score=t["score"],
        )
        for t in tuned
    ]
    return [first, second, third, *after]


def _energy(
    study: Study, file: SpaceFile, facts: ModelFacts, configs: Mapping[str, Config]
) -> dict[str, dict[str, float]]:
    """Operation to its energy with each config, pJ."""
    cost = make_cost("energy", facts, Device(study.goal.profile, study.goal.latencies, file.reference))
    parts = cost.parts(Specs.of(facts, configs.values()))
    assert parts is not None
    names, values = parts
    return {
        name: {label: float(values[row, column]) for row, label in enumerate(configs)}
        for column, name in enumerate(names)
    }


def _importance(study: Study, file: SpaceFile, facts: ModelFacts) -> list[dict[str, Any]]:
    """What each tensor matters; nothing where sensitivities weren't measured."""
    try:
        return [row.to_json() for row in importances(study, file, file.space.resolve(facts)).rows]
    except StudyError:  # they aren't known, or the choices changed
        return []


def _in_order(rows: Sequence[dict[str, Any]], facts: ModelFacts) -> list[dict[str, Any]]:
    """Sensitivities in network order."""
    order = {site.name: place for place, site in enumerate(facts.sites)}
    return sorted(rows, key=lambda row: min((order.get(site, len(order)) for site in row["sites"]), default=len(order)))


def _exports(study: Study) -> list[dict[str, Any]]:
    """The files that were exported from this machine and are still there, with what `export.json` says of them."""
    found = []
    for folder in export_folders(study.folder):
        about = json.loads((folder.path / ABOUT).read_text(encoding="utf-8"))
        own = {"trial": folder.trial, "weights": folder.weights}
        found += [{**own, **file, "path": f"{folder.path.name}/{file['path']}"} for file in about["files"].values()]
    return found


def _with_curve(data: Mapping[str, Any]) -> dict[str, Any]:
    """A fine-tuning with the logs of its epochs, as far as they are there."""
    file = Path(data["folder"]) / "epochs.csv"
    curve: list[dict[str, float]] = []
    if file.exists():
        with file.open(encoding="utf-8") as stream:
            curve = [{key: float(value) for key, value in row.items() if value} for row in csv.DictReader(stream)]
    return {**data, "curve": curve}


def hours_between(began: str, ended: str) -> float:
    """Hours between two times as a report has them.

    >>> hours_between("2026-01-01T10:00:00", "2026-01-01T11:30:00")
    1.5
    """
    first, last = (datetime.datetime.fromisoformat(text) for text in (began, ended))
    return (last - first).total_seconds() / 3600
