"""Write `RESULTS.md` and draw `curves.svg` in `studies/search` from what the benchmarks printed.

    python benchmarks/vs_autoqkeras.py --traces FOLDER --yardstick … --out studies/search/vs_autoqkeras.json
    python benchmarks/vs_autoqkeras.py --space autoqkeras_ds_cnn … --out studies/search/vs_autoqkeras_ds_cnn.json
    python benchmarks/vs_autoqkeras.py --samplers tpe --trials 80 --known … --out studies/search/tpe_resnet8.json
    python benchmarks/probe_samples.py … --out studies/search/probe_samples.json
    python benchmarks/signals.py benchmarks/autoqkeras_resnet8.py --out studies/search/signals.json
    python benchmarks/samplers.py digits --out studies/search/samplers_digits.json
    python benchmarks/foretelling.py ds_cnn --trained … > studies/search/foretelling_ds_cnn.json
    python benchmarks/shared_weights.py resnet8 --trained … > studies/search/shared_weights.json
    python benchmarks/ceiling.py --trained studies/search/trained_autoqkeras_resnet8.json > studies/search/ceiling.json
    python benchmarks/recovery.py resnet8 --trained … --of validation > studies/search/recovery_resnet8.json
    python studies/make_search.py studies/search

`about.md` has the text, with the places of the tables in it: `{runs}`, `{ratios}`, `{runs_ds_cnn}`, `{tpe_resnet8}`,
`{samplers_resnet8}` and `{parts_resnet8}`, the last three for other spaces too, `{signals}`, `{shared_weights}`,
`{ceiling}`, `{recovery}`, `{probe_samples}`, `{foretelling}`.
"""

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from scipy.stats import t

COLORS = ("#0072B2", "#56B4E9", "#009E73", "#D55E00", "#E69F00", "#CC79A7")  # Okabe and Ito's, told apart by all eyes

DRAWN = (
    ("vs_autoqkeras.json", "curves.svg", 0.7, "2,000 validation images"),
    ("vs_autoqkeras_ds_cnn.json", "curves_ds_cnn.svg", 1.0, "300 validation recordings"),
)


def table(rows: list[dict[str, str]]) -> str:
    """Rows as a Markdown table; columns are the first row's keys."""
    heads = list(rows[0])
    lines = [heads, ["---"] * len(heads), *([row[head] for head in heads] for row in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def runs_table(result: dict[str, Any]) -> str:
    """A row for each run, AutoQKeras's first, and the medians of ours by sampler."""
    bests = {name: known["best"] for name, known in result["autoqkeras"].items()}
    beyond = max(result["runs"][0]["uniform"].values()) + 0.01
    goals = {f"AutoQKeras's {best:.4f}": str(best) for best in bests.values()}
    goals |= {f"best uniform + 0.01 = {beyond:.4f}": "best uniform + 0.01"}
    numbers = {**{str(best): best for best in bests.values()}, "best uniform + 0.01": beyond}
    further = [key for key in result["runs"][0]["to"] if key not in numbers]  # fixed scores, such as 0.88
    goals |= {key: key for key in further}
    numbers |= {key: float(key) for key in further}
    rows = []
    for name, known in result["autoqkeras"].items():
        reached = {
            key: next((row["t"] for row in known["rows"] if row["score"] >= number), None)
            for key, number in numbers.items()
        }
        rows.append(
            {
                "run": f"AutoQKeras, {_short(name)}",
                "seconds": f"{known['seconds']:.0f}",
                "best": f"{known['best']:.4f}",
                **{goal: _time(reached[key]) for goal, key in goals.items()},
                "winner, untouched images": _finals(known.get("finals", [])),
            }
        )
    for run in result["runs"]:
        rows.append(
            {
                "run": f"mpsearch {run['sampler']}, seed {run['seed']}",
                "seconds": f"{run['seconds']:.0f}",
                "best": f"{run['best']:.4f}",
                **{goal: _time(run["to"].get(key)) for goal, key in goals.items()},
                "winner, untouched images": _finals(run["winner"]["finals"]),
            }
        )
    for sampler in dict.fromkeys(run["sampler"] for run in result["runs"]):
        own = [run for run in result["runs"] if run["sampler"] == sampler]
        means = [statistics.fmean(f["test"] for f in run["winner"]["finals"]) for run in own if run["winner"]["finals"]]
        late = {key: sorted(run["to"].get(key) or float("inf") for run in own) for key in goals.values()}
        rows.append(
            {
                "run": f"mpsearch {sampler}, median",
                "seconds": f"{statistics.median(run['seconds'] for run in own):.0f}",
                "best": f"{statistics.median(run['best'] for run in own):.4f}",
                **{goal: _time(statistics.median(late[key])) for goal, key in goals.items()},
                "winner, untouched images": _mean(means),
            }
        )
    return table(rows)


def ratios_table(result: dict[str, Any]) -> str:
    """A row for the best score of each of AutoQKeras's runs: how many times as fast ours have it.

    Also with each time in epochs of the float model, as it was trained where and when the run was.
    """
    rows = []
    for name, known in result["autoqkeras"].items():
        took = next(row["t"] for row in known["rows"] if row["score"] >= known["best"])
        ours = [(run["to"][str(known["best"])] or float("inf"), run["yardstick"]) for run in result["runs"]]
        times = [seconds for seconds, _ in ours]
        within = f"{min(times):.1f} to {max(times):.1f}"
        epochs = [seconds / yardstick for seconds, yardstick in ours]
        rows.append(
            {
                "run": f"AutoQKeras, {_short(name)}",
                "its best": f"{known['best']:.4f}",
                "after": f"{took:.0f} s",
                "mpsearch, median and range": f"{statistics.median(times):.1f} s ({within})",
                "times as fast": f"{took / statistics.median(times):.0f}",
                "an epoch of the float model, there": f"{known['yardstick']:.2f} s",
                "here": f"{statistics.median(yardstick for _, yardstick in ours):.2f} s",
                "times as fast, in such epochs": f"{took / known['yardstick'] / statistics.median(epochs):.0f}",
            }
        )
    return table(rows)


def _finals(finals: list[dict[str, float]]) -> str:
    """The mean score of a winner's further trainings, and their range."""
    scores = [final["test"] for final in finals]
    return f"{statistics.fmean(scores):.4f} ({min(scores):.4f} to {max(scores):.4f})" if scores else ""


def _mean(scores: list[float]) -> str:
    """A mean over seeds with its 95 % interval, by Student's t."""
    if len(scores) < 2:
        return f"{statistics.fmean(scores):.4f}" if scores else ""
    wide = float(t.ppf(0.975, len(scores) - 1)) * statistics.stdev(scores) / len(scores) ** 0.5
    return f"{statistics.fmean(scores):.4f} ± {wide:.4f} (mean, 95 %)"


def _short(name: str) -> str:
    """A trace's name without that of its space."""
    return name[name.index("seed") :]


def _time(seconds: float | None) -> str:
    return "never" if seconds is None or seconds == float("inf") else f"{seconds:.0f} s"


def tpe_table(result: dict[str, Any]) -> str:
    """A row for each seed: TPE's whole run, and when the sampler `auto` had its best score."""
    rows = []
    for tpe in [run for run in result["runs"] if run["sampler"] == "tpe"]:
        auto = next(run for run in result["runs"] if run["sampler"] == "auto" and run["seed"] == tpe["seed"])
        reached = next((row["t"] for row in auto["rows"] if row["score"] >= tpe["best"]), None)
        row = {
            "seed": str(tpe["seed"]),
            f"TPE's best of {tpe['trials']} trials": f"{tpe['best']:.4f}",
            "which take": f"{tpe['seconds']:.0f} s",
            "auto has it after": _time(reached),
            "times as fast": "" if reached is None else f"{tpe['seconds'] / reached:.0f}",
        }
        for name, run in (("TPE", tpe), ("auto", auto)):
            row[f"{name}'s winner, untouched"] = f"{statistics.fmean(f['test'] for f in run['winner']['finals']):.4f}"
        row["auto's run ended after"] = f"{auto['seconds']:.0f} s"
        rows.append(row)
    return table(rows)


def signals_table(result: dict[str, Any]) -> str:
    """A row for each number of a training."""
    return table(
        [
            {"of one training": name, **{f"with the other's {key}": f"{value:.2f}" for key, value in row.items()}}
            for name, row in result["signals"].items()
        ]
    ).replace("with the other's again", "with the same of the other")


def samplers_table(result: dict[str, Any], parts: bool = False) -> str:
    """A row for each sampler: means over seeds, and how much its winner is worth beyond that of another, by seed.

    Args:
        result: of `samplers.py`.
        parts: `auto` with parts switched off or other first trials, against it as it is; else samplers against TPE.
    """
    worth = {(run["sampler"], run["seed"]): statistics.fmean(run["tested"]) for run in result["runs"]}
    rows = []
    for sampler in dict.fromkeys(run["sampler"] for run in result["runs"]):
        if not sampler.startswith("auto") if parts else "@" in sampler or "+" in sampler:
            continue
        other = sampler.partition("@")[0] if "@" in sampler else "auto" if parts else "tpe"
        own = [run for run in result["runs"] if run["sampler"] == sampler]
        beyond = [
            worth[sampler, run["seed"]] - worth[other, run["seed"]] for run in own if (other, run["seed"]) in worth
        ]

        def mean(name: str, runs: list[dict[str, Any]] = own) -> float:
            return statistics.fmean(run[name] for run in runs)

        rows.append(
            {
                "sampler": sampler,
                "trials, of them complete": f"{mean('trials'):.0f}, {mean('complete'):.0f}",
                "best score": f"{mean('best'):.4f}",
                "hypervolume": f"{mean('hypervolume'):.4f}",
                "winner trained again, test": f"{statistics.fmean(worth[sampler, run['seed']] for run in own):.4f}",
                "beyond that of": "" if sampler == other else f"{other}: " + ", ".join(f"{v:+.4f}" for v in beyond),
            }
        )
    return table(rows)


def ceiling_table(result: dict[str, Any]) -> str:
    """A row for each config that was trained again."""
    return table(
        [
            {
                "config": row["config"],
                "δ": f"{100 * row['delta']:.2f} %",
                "score on test images, mean": f"{statistics.fmean(row['scores']):.4f}",
                "of single trainings": ", ".join(f"{score:.4f}" for score in row["scores"]),
            }
            for row in result["configs"]
        ]
    )


def recovery_table(results: list[dict[str, Any]]) -> str:
    """A row for each space: what training leaves of the harm that sensitivities foretell."""
    rows = []
    for result in results:
        row = {"space": result["space"], "fitted": result["of"], "trainings": str(result["trainings"])}
        for role in ("kernels", "feature maps"):
            row[f"slope of {role}"] = "{:.4f} ± {:.4f}".format(*result[role])
        row["ratio"] = f"{result['ratio']:.2f}"
        row["fit misses, with two slopes"] = f"{result['missed']:.4f}"
        row["with one"] = f"{result['missed with one slope']:.4f}"
        lost = f"{result['lost after it']:.3f} of {result['lost before training']:.3f}" if "left" in result else ""
        rows.append({**row, "accuracy that the narrowest config lost after and before training": lost})
    return table(rows)


def sharing_table(result: dict[str, Any]) -> str:
    """A row for each epoch of the shared training."""
    return table(
        [
            {
                "epochs with random widths": str(row["epoch"]),
                "takes": f"{row['seconds of training']:.0f} s",
                **{
                    f"τ of {what}, {of}": f"{row[what][key]:.2f}"
                    for what in ("sensitivities", "shared weights")
                    for key, of in (("all", f"all {result['configs']}"), ("near", f"the best {result['near']}"))
                },
                "a config": f"{row['seconds of a config']:.1f} s",
            }
            for row in result["rows"]
        ]
    )


def foretelling_table(results: list[dict[str, Any]]) -> str:
    """A row for each kind of sensitivities, a column for each space."""
    return table(
        [
            {"kind": kind}
            | {
                f"τ, {result['trainings']} trainings of {result['space'].removesuffix('.py')}": (
                    f"{result['kinds'][kind]['tau']:.3f}, {result['kinds'][kind]['seconds']:.0f} s"
                )
                for result in results
            }
            for kind in results[0]["kinds"]
        ]
    )


def samples_table(result: dict[str, Any]) -> str:
    """A row for each space and number of images."""
    return table(
        [
            {
                "space": space,
                "images": samples,
                "rank correlation": f"{row['rank correlation']:.4f}",
                "mean difference of the largest": f"{100 * row['difference of the largest']:.1f} %",
                "takes": f"{row['seconds']:.1f} s",
            }
            for space, rows in result["spaces"].items()
            for samples, row in rows["rows"].items()
        ]
    )


def draw(result: dict[str, Any], target: Path, low: float, what: str) -> None:
    """Draw the best score over wall time, of each run."""
    plt.rcParams["svg.hashsalt"] = "search"
    figure, axes = plt.subplots(figsize=(7.5, 4.2))
    runs = [(f"AutoQKeras, {_short(name)}", known["rows"], "--")
            for name, known in result["autoqkeras"].items()]  # fmt: skip
    runs += [(f"mpsearch {run['sampler']}, seed {run['seed']}", run["rows"], "-") for run in result["runs"]]
    for number, (label, rows, line) in enumerate(runs):
        best, times, scores = 0.0, list[float](), list[float]()
        for row in rows:
            best = max(best, row["score"])
            times.append(row["t"])
            scores.append(best)
        axes.step(times, scores, line, where="post", label=label, color=COLORS[(number + 3) % len(COLORS)])
    uniform = max(result["runs"][0]["uniform"].values())
    axes.axhline(uniform, color="#999999", linewidth=1, label="best uniform width")
    axes.set_xscale("log")
    axes.set_ylim(low)
    axes.set_xlabel("wall time, s")
    axes.set_ylabel(f"best score so far, {what}")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right", fontsize=8)
    figure.tight_layout()
    figure.savefig(target, metadata={"Date": None})


def page(folder: Path) -> str:
    """The text with its tables."""
    text = (folder / "about.md").read_text()
    runs = json.loads((folder / "vs_autoqkeras.json").read_text())
    words = json.loads((folder / "vs_autoqkeras_ds_cnn.json").read_text())
    text = text.replace("{runs_ds_cnn}", runs_table(words)).replace("{ratios}", ratios_table(runs))
    samples = json.loads((folder / "probe_samples.json").read_text())
    text = text.replace("{probe_samples}", samples_table(samples))
    signals = json.loads((folder / "signals.json").read_text())
    sharing = json.loads((folder / "shared_weights.json").read_text())
    text = text.replace("{shared_weights}", sharing_table(sharing))
    for file in folder.glob("tpe_*.json"):
        text = text.replace(f"{{{file.stem}}}", tpe_table(json.loads(file.read_text())))
    for file in folder.glob("samplers_*.json"):
        found = json.loads(file.read_text())
        text = text.replace(f"{{{file.stem}}}", samplers_table(found))
        text = text.replace(f"{{{file.stem.replace('samplers', 'parts')}}}", samplers_table(found, parts=True))
    recovered = [json.loads(file.read_text()) for file in sorted(folder.glob("recovery_*.json"))]
    text = text.replace("{recovery}", recovery_table(recovered))
    foretold = [json.loads(file.read_text()) for file in sorted(folder.glob("foretelling_*.json"))]
    text = text.replace("{foretelling}", foretelling_table(foretold))
    text = text.replace("{ceiling}", ceiling_table(json.loads((folder / "ceiling.json").read_text())))
    return text.replace("{runs}", runs_table(runs)).replace("{signals}", signals_table(signals))


def main() -> None:
    """Write the page, draw the curves."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    (folder / "RESULTS.md").write_text(page(folder))
    for name, target, low, what in DRAWN:
        draw(json.loads((folder / name).read_text()), folder / target, low, what)


if __name__ == "__main__":
    main()
