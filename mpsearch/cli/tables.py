"""What tables show of trials and configs."""

from collections.abc import Sequence
from typing import Any

from mpsearch.cli.output import print_table
from mpsearch.records import TrialRecord

SPARE = ("epochs", "seconds", "origin")
"""Columns of `trial_rows` that a narrow terminal leaves out, the first one first."""


def print_trials(records: Sequence[TrialRecord], metric: str, title: str) -> None:
    """Print trials as a table, and below it what is to be said of single ones."""
    print_table(trial_rows(records, metric), title, SPARE)
    for line in remarks(records):
        print(line)


def trial_rows(records: Sequence[TrialRecord], metric: str) -> list[dict[str, Any]]:
    """A row for each trial."""
    changed = any(record.before_change for record in records)
    return [
        {
            "trial": record.number,
            "state": record.state.value,
            **({"change": "before" if record.before_change else ""} if changed else {}),
            metric: record.metric,
            "bits": record.costs.get("total_bits"),
            "δ": "–" if record.delta is None else f"{record.delta:+.2%}",
            "score": record.score,
            "epochs": record.epochs,
            "seconds": round(record.seconds, 1),
            "origin": record.origin,
        }
        for record in records
    ]


def remarks(records: Sequence[TrialRecord]) -> list[str]:
    """What is to be said of trials that don't speak for themselves."""
    lines = []
    for record in records:
        if record.answered_from is not None:
            lines.append(f"trial {record.number}: same config as trial {record.answered_from}, answered from it")
        elif record.cause:
            lines.append(f"trial {record.number}: {record.cause}")
    if any(record.before_change for record in records):
        lines.append(
            "change before: trained before an accepted change of the space file, data or float weights; "
            "scores compare with care"
        )
    return lines


def config_rows(record: TrialRecord) -> list[dict[str, Any]]:
    """A trial's config, a row for each layer: kernel, bias, activation and, where there are some, merge inputs."""
    layers: dict[str, dict[str, str]] = {}
    tensors: dict[str, None] = dict.fromkeys(("kernel", "bias", "activation"))
    for site, spec in (record.config or {}).items():
        layer, _, tensor = site.partition("/")
        layers.setdefault(layer, {})[tensor] = str(spec)
        tensors.setdefault(tensor)
    return [
        {"layer": layer, **{tensor: specs.get(tensor, "") for tensor in tensors}} for layer, specs in layers.items()
    ]
