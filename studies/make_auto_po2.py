"""Write `RESULTS.md` and draw the figures of `studies/auto_po2` from the committed numbers.

python studies/auto_po2/reproducer.py --json studies/auto_po2/reproducer.json
python studies/auto_po2/train.py                          # adds to curves.json, hours
mpsearch study pareto scales --json > studies/auto_po2/front.json     # see the page
make study-auto-po2
"""

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

FOLDER = Path(__file__).resolve().parent / "auto_po2"
COLORS = {  # Okabe and Ito's, told apart by all eyes
    "auto": "#0072B2",
    "auto_po2": "#009E73",
    "qkeras, integer = bits": "#D55E00",
    "qkeras, integer = 0": "#CC79A7",
    "integer = bits": "#D55E00",
    "integer = 0": "#CC79A7",
    "best power of two": "#009E73",
}
MAIN = ("auto", "auto_po2", "qkeras, integer = 0", "qkeras, integer = bits")
FAILING = "qkeras, integer = bits"
MODELS = ("resnet8", "mbv1")
USUAL = {"l2": True, "seed": 0, "rate": 1.0, "bias": 16, "pixels": 1}
FLAT = {"width": 16, "bias": 31, "pixels": 255}
"""Of the failure: the widths that the Forgiving Factor refers to, and pixels as they come."""
Rows = Sequence[dict[str, Any]]


def load(name: str) -> Any:
    """A file of committed numbers; nothing where it isn't there."""
    path = FOLDER / name
    return json.loads(path.read_text()) if path.exists() else []


def table(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Markdown."""
    return "\n".join(f"| {' | '.join(line)} |" for line in (heads, ["---"] * len(heads), *lines))


def reproduced(rows: Rows) -> str:
    """SNR and zeros of QKeras's rule and of the best power of two."""
    widths = sorted({row["bits"] for row in rows})
    by = {(row["largest"], row["rule"], row["bits"]): row for row in rows}
    lines = [
        [f"{largest:g}", rule]
        + [f"{by[largest, rule, bits]['snr_db']:.1f} dB, {by[largest, rule, bits]['zeros']:.0%}" for bits in widths]
        for largest in dict.fromkeys(row["largest"] for row in rows)
        for rule in dict.fromkeys(row["rule"] for row in rows)
    ]
    return table(["largest weight", "rule", *(f"{bits} bits" for bits in widths)], lines)


def chosen(rows: Rows, **wanted: Any) -> list[dict[str, Any]]:
    """The rows of some runs; what isn't named has its usual value."""
    return [row for row in rows if all(row["run"][key] == value for key, value in {**USUAL, **wanted}.items())]


def cells(row: dict[str, Any]) -> list[str]:
    """Accuracy before and after training, zeros and noise of the kernels, zeros of the biases."""
    before, after = row["before"], row["after"]

    def decibels(value: float | None) -> str:
        return "–" if value is None else f"{value:.1f}"

    return [
        "–" if "untrained" not in row else f"{100 * row['untrained']:.1f}",
        f"{100 * row['test']:.1f}",
        f"{before['zeros']:.1%} → {after['zeros']:.1%}",
        f"{decibels(before['snr_db'])} → {decibels(after['snr_db'])}",
        f"{after['zero_biases']:.0%}",
    ]


HEADS = ("untrained, %", "test, %", "zeros in kernels", "signal above noise, dB", "zero biases")


def failure(rows: Rows) -> str:
    """Flat and mixed configs in the setting of the failure."""
    lines = [
        [model, config, rule, *cells(row)]
        for model in MODELS
        for config, options in (("flat 16, biases 31", FLAT), ("mixed", {"width": "mixed", "pixels": 255}))
        for rule in MAIN
        for row in chosen(rows, model=model, rule=rule, **options)
    ]
    return table(["model", "config", "rule", *HEADS], lines)


def causes(rows: Rows) -> str:
    """The failing setting, with one thing changed at a time."""
    changes: list[tuple[str, str, dict[str, Any]]] = [
        ("nothing", FAILING, {}),
        ("biases of 16 bits", FAILING, {"bias": 16}),
        ("pixels to 1, kernels as large as before", FAILING, {"pixels": 1}),
        ("integer = 0: a floor 2^16 times lower", "qkeras, integer = 0", {}),
        ("no floor", "qkeras without floor", {}),
        ("no floor, and the iteration begins at the optimum", "qkeras from the optimum", {}),
        ("the best power of two", "auto_po2", {}),
        ("a tenth of the learning rate", FAILING, {"rate": 0.1}),
        ("ten times the learning rate", FAILING, {"rate": 10.0}),
        ("no L2", FAILING, {"l2": False}),
        ("no L2, and the best power of two", "auto_po2", {"l2": False}),
    ]
    lines = [
        [model, what, *cells(row)]
        for model in MODELS
        for what, rule, options in changes
        for row in chosen(rows, model=model, rule=rule, **{**FLAT, **options})
    ]
    return table(["model", "changed", *HEADS], lines)


def flat(rows: Rows) -> str:
    """Flat configs of folded float weights whose kernels are large, biases of 16 bits, with and without L2."""
    lines = [
        [model, f"{width}", rule, *cells(row), *(f"{100 * other['test']:.1f}" for other in without)]
        for model in MODELS
        for width in (16, 8, 4)
        for rule in MAIN
        for row in chosen(rows, model=model, width=width, rule=rule)
        for without in (chosen(rows, model=model, width=width, rule=rule, l2=False),)
    ]
    return table(["model", "bits", "rule", *HEADS, "without L2: test, %"], lines)


def cure(rows: Rows) -> str:
    """What powers of two lose against any scales, after the same epochs, over seeds."""
    lines = []
    for model in MODELS:
        for width in (16, 8, 4):
            auto, po2 = (
                {
                    seed: 100 * row["test"]
                    for seed in range(3)
                    for row in chosen(rows, model=model, width=width, rule=rule, seed=seed)
                }
                for rule in ("auto", "auto_po2")
            )
            seeds = sorted(set(auto) & set(po2))
            if seeds:
                lost = [auto[seed] - po2[seed] for seed in seeds]
                means = [mean(side[seed] for seed in seeds) for side in (auto, po2)]
                lines.append(
                    [
                        model,
                        f"{width}",
                        *(f"{value:.2f}" for value in means),
                        f"{mean(lost):+.2f}",
                        ", ".join(f"{loss:+.2f}" for loss in lost),
                        "3" if width == 4 else "1",
                    ]
                )
    return table(["model", "bits", "auto, %", "auto_po2, %", "points lost", "by seed", "allowed"], lines)


def still(rows: Rows) -> str:
    """Scales that are held, or shifted."""
    names = ("auto_po2", "auto_po2, 10 % hysteresis", "auto_po2, frozen", "auto_po2, twice the scale")
    lines = [
        [
            model,
            f"{width}",
            rule,
            f"{100 * row['test']:.1f}",
            f"{row['after']['snr_db']:.1f}",
            *(counted(row, name) for name in ("moves", "returns")),
        ]
        for model in MODELS
        for width in (8, 4)
        for rule in (*names, "auto_po2, half the scale", "auto")
        for row in chosen(rows, model=model, width=width, rule=rule)
    ]
    return table(["model", "bits", "rule", "test, %", "dB after", "moves", "returns"], lines)


def counted(row: dict[str, Any], name: str) -> str:
    """What was counted in each epoch, mean over epochs."""
    found = [epoch[name] for epoch in row["watched"] if name in epoch]
    return f"{mean(found):.3f}" if found else "–"


def scratch(rows: Rows) -> str:
    """From random weights, as QKeras layers with BatchNormalization beside them."""
    lines = [
        [
            row["run"]["model"],
            row["run"]["rule"],
            f"{row['run']['l2']:g}",
            f"{100 * row['curve'][-1]['val_accuracy']:.1f}",
            f"{row['curve'][0]['zeros']:.1%} → {row['curve'][-1]['zeros']:.1%}",
            f"{row['curve'][0]['snr_db'] or 0:.1f} → {row['curve'][-1]['snr_db'] or 0:.1f}"
            if row["run"]["rule"] != "float"
            else "–",
        ]
        for row in rows
    ]
    return table(["model", "rule", "L2", "validation, %", "zeros in kernels", "signal above noise, dB"], lines)


def mixed(front: Any) -> str:
    """The front of accuracy and rescaling multiplications, where scale modes are the choice."""
    lines = [
        [f"{trial['trial']}", f"{trial['metric']:.4f}", f"{trial['costs']['rescaling']:,.0f}", trial["origin"]]
        for trial in sorted(front["trials"] if front else [], key=lambda trial: trial["costs"]["rescaling"])
        if trial["front"]
    ]
    return table(["trial", "validation accuracy", "multiplications", "origin"], lines)


def accounting(rows: Rows) -> str:
    """How noise before training goes with what is lost after it: rows in order of the noise."""
    found = [row for row in rows if row["run"]["width"] == 16 and row["run"]["seed"] == 0 and row["before"]["snr_db"]]
    lines = [
        [
            f"{row['before']['snr_db']:.1f}",
            row["run"]["model"],
            row["run"]["rule"],
            f"{row['run']['bias']}",
            f"{row['run']['pixels']}",
            f"{row['after']['zero_biases']:.0%}",
            f"{100 * row['test']:.1f}",
        ]
        for row in sorted(found, key=lambda row: (row["run"]["model"], row["before"]["snr_db"]))
        if row["run"]["rate"] == 1.0 and row["run"]["l2"]
    ]
    return table(["dB before", "model", "rule", "bits of biases", "pixels to", "zero biases", "test, %"], lines)


def page() -> str:
    """The page of the committed numbers."""
    rows, text = load("curves.json"), (FOLDER / "about.md").read_text()
    parts = {
        "reproducer": reproduced(load("reproducer.json")),
        "failure": failure(rows),
        "causes": causes(rows),
        "flat": flat(rows),
        "scratch": scratch(load("scratch.json")),
        "mixed": mixed(load("front.json")),
        "still": still(rows),
        "accounting": accounting(rows),
        "cure": cure(rows),
    }
    for name, part in parts.items():
        assert f"{{{{{name}}}}}" in text, name
        text = text.replace(f"{{{{{name}}}}}", part)
    return text


def draw() -> None:
    """The figures: noise of small weights, accuracy by epoch, noise against accuracy."""
    import matplotlib.pyplot as plt

    plt.rcParams["svg.hashsalt"] = "auto_po2"
    rows = load("reproducer.json")
    largest = [most for most in dict.fromkeys(row["largest"] for row in rows) if most in (0.3, 0.05, 0.01)]
    figure, axes = plt.subplots(1, len(largest), figsize=(10, 3.4), sharey=True)
    for axis, most in zip(axes, largest, strict=True):
        for rule in dict.fromkeys(row["rule"] for row in rows):
            own = [row for row in rows if row["largest"] == most and row["rule"] == rule]
            axis.plot(
                [row["bits"] for row in own], [row["snr_db"] for row in own], "o-", color=COLORS[rule], label=rule
            )
        axis.set_title(f"largest weight {most:g}", fontsize=10)
        axis.set_xlabel("bits")
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("signal above noise, dB")
    axes[0].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(FOLDER / "noise.svg", metadata={"Date": None})

    rows = load("curves.json")
    settings = [(model, name, options) for model in MODELS for name, options in SETTINGS]
    figure, grid = plt.subplots(len(MODELS), len(SETTINGS), figsize=(10, 5.6), squeeze=False)
    for axis, (model, name, options) in zip(grid.ravel(), settings, strict=True):
        for rule in MAIN:
            for row in chosen(rows, model=model, rule=rule, **options):
                curve = [next(v for k, v in epoch.items() if k.startswith("val_acc")) for epoch in row["curve"]]
                first = [row["untrained"]] if "untrained" in row else []
                places = range(1 - len(first), len(curve) + 1)
                axis.plot(places, [*first, *curve], "o-", markersize=3, color=COLORS[rule], label=rule)
        axis.set_title(f"{model}, {name}", fontsize=9)
        axis.set_xlabel("epoch")
        axis.set_ylim(0.0 if model == "resnet8" else 0.3, 0.95)
        axis.grid(alpha=0.3)
    for line in grid:
        line[0].set_ylabel("validation accuracy")
    grid[0][0].legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(FOLDER / "curves.svg", metadata={"Date": None})


SETTINGS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("flat 16, biases 31, pixels to 255", FLAT),
    ("flat 16, pixels to 1", {"width": 16}),
    ("flat 4, pixels to 1", {"width": 4}),
)


def main() -> None:
    """Write the page, draw the figures."""
    (FOLDER / "RESULTS.md").write_text(page())
    draw()


if __name__ == "__main__":
    main()
