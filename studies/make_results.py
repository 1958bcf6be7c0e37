"""Write `RESULTS.md` of a study from its committed records.

    mpsearch study show resnet8 --json > studies/resnet8/records.json
    python studies/make_results.py studies/resnet8

`about.md` in the folder is put in front: what was run, where, and what to think of it. `front.json`, where it is there,
is what `mpsearch study pareto NAME --json` printed; `make_front.py` draws it.
"""

import argparse
import json
from pathlib import Path
from typing import Any


def table(rows: list[dict[str, Any]]) -> str:
    """Rows as a Markdown table; columns are the first row's keys."""
    heads = list(rows[0])
    lines = [heads, ["---"] * len(heads), *([str(row[head]) for head in heads] for row in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def trial_row(trial: dict[str, Any], metric: str) -> dict[str, Any]:
    """What a trial is, as a row."""
    done = trial["metric"] is not None
    return {
        "trial": trial["number"],
        "origin": trial["origin"],
        "state": trial["state"],
        metric: f"{trial['metric']:.4f}" if done else "–",
        "bits": f"{trial['costs']['total_bits']:,}" if done else "–",
        "δ": f"{trial['delta']:+.2%}" if done else "–",
        "score": f"{trial['score']:.4f}" if done else "–",
        "seconds": f"{trial['seconds']:.0f}",
    }


def config_table(trial: dict[str, Any]) -> str:
    """A trial's widths, a row a layer."""
    layers: dict[str, dict[str, str]] = {}
    for site, spec in trial["config"].items():
        layer, _, tensor = site.partition("/")
        layers.setdefault(layer, {})[tensor] = f"{spec['bits']} {spec['alpha']}"
    tensors = ("kernel", "bias", "activation")
    return table([{"layer": layer, **{t: specs.get(t, "") for t in tensors}} for layer, specs in layers.items()])


def baseline_row(row: dict[str, Any], further: list[str]) -> dict[str, Any]:
    """A baseline as a row, with these further metrics."""

    def number(value: float | None) -> str:
        return "–" if value is None else f"{value:.4f}"

    return {
        "baseline": row["name"],
        "validation": number(row["validation"]),
        "test": number(row["test"]),
        **{f"test {name}": number(row["further"].get(name)) for name in further},
        "model KB": f"{row['parameter_bits'] / 8192:,.1f}",
        "activation KB": f"{row['activation_bits'] / 8192:,.1f}",
        "parameter bits": f"{row['parameter_bits']:,}",
        "δ": f"{row['delta']:+.2%}",
        "score": number(row["score"]),
        "epochs": row["epochs"],
        "seconds": f"{row['seconds']:,.1f}",
    }


def baselines(rows: list[dict[str, Any]], metric: str) -> list[str]:
    """The table of baselines, and what it says of scale modes and of time."""
    by_name = {row["name"]: row for row in rows}
    further = list(dict.fromkeys(name for row in rows for name in row["further"]))
    lines = [table([baseline_row(row, further) for row in rows])]
    said = [f"{row['name']}: {row['note']}." for row in rows if row["note"]]
    first, second = by_name.get("best mixed"), by_name.get("best mixed, auto_po2")
    if first and second and first["test"] is not None and second["test"] is not None:
        lost = first["test"] - second["test"]
        what = f"{'loses' if lost >= 0 else 'gains'} {100 * abs(lost):.2f} points of test {metric}"
        said.append(
            f"With all scales powers of two the best mixed config {what}, by one training each with the same seed."
        )
    qat, untrained = by_name.get("QAT int8"), [row for row in rows if row["name"].startswith("PTQ")]
    if qat and qat["epochs"] and untrained:
        slowest = max(untrained, key=lambda row: row["seconds"])
        said.append(
            f"The slowest row of post-training quantization ({slowest['name']}) took {slowest['seconds']:.1f} s, an "
            f"epoch of 8-bit training {qat['seconds'] / qat['epochs']:.1f} s."
        )
    return [*lines, "\n".join(f"- {line}" for line in said)]


def front_parts(front: dict[str, Any]) -> list[str]:
    """The front of `study pareto NAME --json`: its members, and the uniform configs beside them."""
    shown = [t for t in front["trials"] if t["front"] or t["origin"].startswith("uniform")]
    rows = [
        {
            "trial": trial["trial"],
            "": "knee" if trial["trial"] == front["knee"] else "front" if trial["front"] else "",
            "metric": f"{trial['metric']:.4f}",
            **{f"{cost}, {front['costs'][cost]}": f"{value:,.0f}" for cost, value in trial["costs"].items()},
            "origin": trial["origin"],
        }
        for trial in sorted(shown, key=lambda t: -t["metric"])
    ]
    said = f"{len(front['front'])} of {len(front['trials'])} configs are on the front; hypervolume "
    said += f"{front['hypervolume']:.4f}."
    return ["![front](front.svg)", table(rows), said]


def results(study: dict[str, Any], about: str, front: dict[str, Any] | None = None) -> str:
    """The text of `RESULTS.md`."""
    was, metric = study["provenance"], study["provenance"]["metric"]
    trials = study["trials"]
    complete = sorted((t for t in trials if t["state"] == "complete"), key=lambda t: -t["score"])
    best = complete[0]
    versions = ", ".join(f"{name} {version}" for name, version in was["versions"].items())
    parts = [
        about.strip(),
        f"- space: `{was['space_path'].rpartition('/')[2]}` ({was['space_hash']}), {int(was['space_size']):,} configs\n"
        f"- data: {was['data_fingerprint']}; seed {was['seed']}; sampler {was['sampler']}; pruner {was['pruner']}\n"
        f"- reference: {was['reference_costs']['total_bits']:,} bits\n"
        f"- float validation {metric}: {study['float']['validation']:.4f}\n"
        f"- {versions}",
        "## Trials",
        table([trial_row(trial, metric) for trial in trials]),
        f"## Best: trial {best['number']}, score {best['score']:.4f}",
        config_table(best),
    ]
    if front is not None:
        parts += ["## Front under limits", *front_parts(front)]
    if study.get("baselines"):
        rows = [row for row in study["baselines"] if row["key"]["recipe"] == "trial"]
        parts += [f"## Baselines: {metric}", *baselines(rows, metric)]
    if study["finetuned"]:
        rows = [
            {
                "trial": tuned["trial"],
                "scale modes": "as searched" if tuned["changed_alpha"] is None else f"auto → {tuned['changed_alpha']}",
                "before": f"{tuned['before']:.4f}",
                f"validation {metric}": f"{tuned['validation']:.4f}",
                f"test {metric}": f"{tuned['test']:.4f}",
                "bits": f"{tuned['total_bits']:,}",
                "δ": f"{tuned['delta']:+.2%}",
                "score": f"{tuned['score']:.4f}",
                "epochs": f"{tuned['best_epoch'] + 1} of {tuned['epochs']}",
            }
            for tuned in study["finetuned"].values()
        ]
        parts += ["## Fine-tuned", table(rows)]
    return "\n\n".join(parts) + "\n"


def main() -> None:
    """Read the records, write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    study = json.loads((folder / "records.json").read_text())
    front = folder / "front.json"
    found = json.loads(front.read_text()) if front.exists() else None
    (folder / "RESULTS.md").write_text(results(study, (folder / "about.md").read_text(), found))


if __name__ == "__main__":
    main()
