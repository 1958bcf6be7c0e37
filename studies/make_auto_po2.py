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
WIDTHS = (16, 8, 4, "mixed")
MODELS = ("resnet8", "mbv1")
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
    usual = {"l2": False, "rate": 1.0, "scratch": False}
    return [row for row in rows if all(row["run"][key] == value for key, value in {**usual, **wanted}.items())]


def tests(rows: Rows) -> str:
    """Test accuracy, mean over seeds, in per cent."""
    if not rows:
        return "–"
    found = [100 * row["test"] for row in rows]
    return f"{mean(found):.2f}" + (f" ± {(max(found) - min(found)) / 2:.2f} ({len(found)})" if len(found) > 1 else "")


def zeros(rows: Rows, when: str = "after") -> str:
    """Share of kernels' codes that are zero."""
    return f"{mean(row[when]['zeros'] for row in rows):.1%}" if rows else "–"


def decibels(rows: Rows, when: str = "after") -> str:
    """Kernels' signal above the quantization noise."""
    found = [row[when]["snr_db"] for row in rows if row[when]["snr_db"] is not None]
    return f"{mean(found):.1f}" if found else "–"


def flat(rows: Rows, l2: bool, seeds: tuple[int, ...] = (0,)) -> str:
    """Accuracies of flat and mixed configs under the four rules."""
    lines = []
    for model in MODELS:
        for width in WIDTHS:
            line = [model, f"{width}"]
            for rule in MAIN:
                found = [
                    row
                    for row in chosen(rows, model=model, width=width, rule=rule, l2=l2)
                    if row["run"]["seed"] in seeds
                ]
                line.append("–" if not found else f"{tests(found)}, {zeros(found)}, {decibels(found)} dB")
            if any(cell != "–" for cell in line[2:]):
                lines.append(line)
    return table(["model", "bits", *MAIN], lines)


def cure(rows: Rows) -> str:
    """What powers of two lose against any scales, after the same epochs, over seeds."""
    lines = []
    for model in MODELS:
        for width in (16, 8, 4):
            auto, po2 = (
                {row["run"]["seed"]: 100 * row["test"] for row in chosen(rows, model=model, width=width, rule=rule)}
                for rule in ("auto", "auto_po2")
            )
            seeds = sorted(set(auto) & set(po2))
            if seeds:
                lost = [auto[seed] - po2[seed] for seed in seeds]
                lines.append(
                    [
                        model,
                        f"{width}",
                        f"{mean(auto[seed] for seed in seeds):.2f}",
                        f"{mean(po2[seed] for seed in seeds):.2f}",
                        f"{mean(lost):+.2f}",
                        ", ".join(f"{loss:+.2f}" for loss in lost),
                        "3" if width == 4 else "1",
                    ]
                )
    return table(["model", "bits", "auto", "auto_po2", "points lost", "by seed", "allowed"], lines)


def rules(rows: Rows, names: Sequence[str], widths: Sequence[int]) -> str:
    """Accuracy, zeros, noise and scales that move, of several rules."""
    lines = []
    for model in MODELS:
        for width in widths:
            for rule in names:
                found = chosen(rows, model=model, width=width, rule=rule, seed=0)
                if found:
                    watched = found[0]["watched"]
                    lines.append(
                        [
                            model,
                            f"{width}",
                            rule,
                            tests(found),
                            zeros(found),
                            decibels(found, "before"),
                            decibels(found),
                            f"{mean(epoch['moves'] for epoch in watched):.3f}",
                            f"{mean(epoch['returns'] for epoch in watched):.3f}",
                        ]
                    )
    heads = ["model", "bits", "rule", "test, %", "zeros", "dB before", "dB after", "moves", "returns"]
    return table(heads, lines)


def rates(rows: Rows) -> str:
    """QKeras's rule at other learning rates."""
    lines = []
    for model in MODELS:
        for rate in (0.1, 1.0, 10.0):
            found = chosen(rows, model=model, width=16, rule="qkeras, integer = bits", seed=0, rate=rate)
            if found:
                lines.append([model, f"{rate:g}", tests(found), zeros(found), decibels(found)])
    return table(["model", "learning rate ×", "test, %", "zeros", "dB after"], lines)


def scratch(rows: Rows) -> str:
    """From random weights."""
    lines = []
    for l2 in (False, True):
        for rule in MAIN:
            found = chosen(rows, model="resnet8", width=16, rule=rule, l2=l2, scratch=True)
            if found:
                lines.append(
                    [rule, "yes" if l2 else "no", tests(found), zeros(found, "before"), zeros(found), decibels(found)]
                )
    return table(["rule", "L2", "test, %", "zeros before", "zeros after", "dB after"], lines)


def mixed(front: Any) -> str:
    """The front of accuracy and rescaling multiplications, where scale modes are the choice."""
    if not front:
        return ""
    lines = [
        [
            f"{trial['trial']}",
            f"{trial['metric']:.4f}",
            f"{trial['costs']['rescaling']:,.0f}",
            trial["origin"],
        ]
        for trial in sorted(front["trials"], key=lambda trial: trial["costs"]["rescaling"])
        if trial["front"]
    ]
    return table(["trial", "validation accuracy", "multiplications", "origin"], lines)


def page() -> str:
    """The page of the committed numbers."""
    rows, text = load("curves.json"), (FOLDER / "about.md").read_text()
    parts = {
        "reproducer": reproduced(load("reproducer.json")),
        "flat": flat(rows, False),
        "flat with L2": flat(rows, True),
        "scratch": scratch(rows),
        "causes": rules(
            rows,
            (
                "qkeras, integer = bits",
                "qkeras, integer = 0",
                "qkeras without floor",
                "qkeras from the optimum",
                "auto_po2",
            ),
            (16, 8, 4),
        ),
        "rates": rates(rows),
        "mixed": mixed(load("front.json")),
        "still": rules(
            rows,
            (
                "auto_po2",
                "auto_po2, 10 % hysteresis",
                "auto_po2, frozen",
                "auto_po2, twice the scale",
                "auto_po2, half the scale",
                "auto",
            ),
            (8, 4),
        ),
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
    panels = [(model, width, l2) for model in MODELS for width in (16, 4) for l2 in (False, True)]
    panels = [panel for panel in panels if chosen(rows, model=panel[0], width=panel[1], l2=panel[2])]
    if not panels:
        return
    columns = min(4, len(panels))
    lines = -(-len(panels) // columns)
    figure, grid = plt.subplots(lines, columns, figsize=(3.2 * columns, 2.9 * lines), squeeze=False)
    for axis, (model, width, l2) in zip(grid.ravel(), panels, strict=False):
        for rule in MAIN:
            for row in chosen(rows, model=model, width=width, l2=l2, rule=rule, seed=0):
                curve = [next(v for k, v in epoch.items() if k.startswith("val_acc")) for epoch in row["curve"]]
                axis.plot(range(1, len(curve) + 1), curve, "o-", markersize=3, color=COLORS[rule], label=rule)
        axis.set_title(f"{model}, {width} bits{', L2' if l2 else ''}", fontsize=9)
        axis.set_xlabel("epoch")
        axis.grid(alpha=0.3)
    grid[0][0].set_ylabel("validation accuracy")
    grid[0][0].legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(FOLDER / "curves.svg", metadata={"Date": None})


def main() -> None:
    """Write the page, draw the figures."""
    (FOLDER / "RESULTS.md").write_text(page())
    draw()


if __name__ == "__main__":
    main()
