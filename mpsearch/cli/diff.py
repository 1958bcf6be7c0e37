"""The command `mpsearch study diff`."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from mpsearch.cli.options import AsJson, Storage, StudyName, examples

if TYPE_CHECKING:
    from mpsearch.records import TrialRecord

EXAMPLES = examples("study diff digits 3 7", "study diff digits 3 7 --json")


def diff(
    name: StudyName,
    first: Annotated[int, typer.Argument(metavar="N", help="Number of a trial.")],
    second: Annotated[int, typer.Argument(metavar="M", help="Number of another one.")],
    storage: Storage = None,
    as_json: AsJson = False,
) -> None:
    """Show in what two trials differ.

    Metric, costs, and the tensors with other widths or scale modes.
    """
    from mpsearch.cli.output import GAP, print_json, print_table
    from mpsearch.errors import ConfigError, StudyError
    from mpsearch.study import open_study

    if first == second:
        raise ConfigError(f"trial {first} doesn't differ from itself: name two trials")
    study = open_study(name, storage)
    records = [study.record(number) for number in (first, second)]
    for record in records:
        if record.config is None:
            raise StudyError(f"trial {record.number} of `{name}` has no config yet")
    one, other = (record.config for record in records)
    assert one is not None
    assert other is not None
    changed = {site: (one.get(site), other.get(site)) for site in {**one, **other} if one.get(site) != other.get(site)}
    numbers = _numbers(records, study.provenance.metric)
    if as_json:
        tensors = {site: [None if spec is None else str(spec) for spec in specs] for site, specs in changed.items()}
        print_json({"study": name, "trials": [first, second], "numbers": numbers, "tensors": tensors})
        return
    heads = [f"trial {first}", f"trial {second}"]
    rows = []
    for what, (before, after) in numbers.items():
        gap = GAP if before is None or after is None else _number(after - before, signed=True)
        rows.append({"": what, heads[0]: _number(before), heads[1]: _number(after), "difference": gap})
    print_table(rows, f"{name}: trials {first} and {second}")
    if changed:
        print_table(
            [
                {"tensor": site, **{head: GAP if s is None else str(s) for head, s in zip(heads, specs, strict=True)}}
                for site, specs in changed.items()
            ],
            "tensors that differ",
        )
    alike = len({**one, **other}) - len(changed)
    print(f"{alike} of {alike + len(changed)} tensors have the same quantizer")


def _numbers(records: "list[TrialRecord]", metric: str) -> dict[str, list[float | None]]:
    """Metric, score and costs of both; None where a trial hasn't it."""
    found: dict[str, list[float | None]] = {
        metric: [record.metric for record in records],
        "score": [record.score for record in records],
    }
    for cost in dict.fromkeys(cost for record in records for cost in record.costs):
        found[cost.replace("_", " ")] = [record.costs.get(cost) for record in records]
    return found


def _number(value: Any, signed: bool = False) -> str:
    from mpsearch.cli.output import GAP

    if value is None:
        return GAP
    sign = "+" if signed else ""
    return format(value, f"{sign},.0f" if abs(value) >= 100 or (value == int(value) and not signed) else f"{sign}.4f")
