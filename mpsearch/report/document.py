"""A report as a page: one HTML file that needs no network."""

import html
from collections.abc import Callable
from typing import Any

from mpsearch.heatmap import LEAST_PIXELS
from mpsearch.pages import Figure, Section, html_table, page
from mpsearch.report.confusion import confusion_data, draw_confusion
from mpsearch.report.coordinates import coordinates_data, draw_coordinates
from mpsearch.report.front import draw_front
from mpsearch.report.gathering import Report
from mpsearch.report.harms import draw_importance, draw_sensitivity
from mpsearch.report.history import draw_history, history_data
from mpsearch.report.noise import draw_noise, draw_zeros, noise_data
from mpsearch.report.shares import draw_bits, draw_energy
from mpsearch.report.tuning import draw_tuning, tuning_data
from mpsearch.report.widths import FEW_LAYERS, draw_widths, widths_data
from mpsearch.report.words import (
    answer_rows,
    answer_sentence,
    commands,
    config_rows,
    export_rows,
    provenance_rows,
)

PIXELS_A_LAYER = 22


def figures_of(report: Report) -> dict[str, Figure]:
    """The figures that a report has data for, by name, in the order of the page."""
    found: dict[str, Figure] = {}

    def add(name: str, draw: Callable[..., Any], caption: str = "", least_width: int = 0, *options: Any) -> None:
        found[name] = Figure(name, draw(report, *options), caption, least_width)

    layers = len(widths_data(report)["layers"])
    add("front", draw_front, "Hover over a point to see its config: kernel / bias / feature map, in bits.")
    add(
        "widths",
        draw_widths,
        "Bits of each layer's kernel, bias and feature map; the best config on top, others below.",
        200 + PIXELS_A_LAYER * layers if layers > FEW_LAYERS else 640,
    )
    add("bits", draw_bits, "Bits of the quantized tensors by layer: area is what they take, colour how wide they are.")
    add("energy", draw_energy, "Energy of one inference by operation (Horowitz 2014, 45 nm): area is what it takes.")
    if history_data(report):
        add("history-epochs", draw_history, "", 0, "epochs")
        add("history-hours", draw_history, "", 0, "hours")
    if len(coordinates_data(report)["trials"]) > 1:
        chosen = "that matter most" if report.importance else "in which trials differ most"
        text = f"A line is a trial: its widths in the tensors {chosen}, cost and metric. Drag along an axis to choose."
        add("coordinates", draw_coordinates, text, 760)
    if report.importance:
        text = "What a tensor's narrowest width takes off after a trial's training, by sensitivities and trials."
        add("importance", draw_importance, text)
    if report.sensitivities:
        text = "How far each width of each tensor alone moves the outputs; framed: what the best config has."
        add("sensitivity", draw_sensitivity, text, LEAST_PIXELS)
    if tuning_data(report):
        add("finetuning", draw_tuning)
    confusion = confusion_data(report)
    if confusion is not None:
        text = f"Decisions on the {confusion['split']} split, {confusion['right']:.2%} of them right."
        add("confusion", draw_confusion, text, 420)
    if noise_data(report):
        add("noise", draw_noise)
        add("zeros", draw_zeros)
    return found


def document(report: Report) -> str:
    """The page, as HTML."""
    drawn = figures_of(report)
    text = html.escape
    best = config_rows(report, report.best)
    sections = [
        Section(
            "",
            [
                f'<p class="lead">{text(answer_sentence(report))}</p>',
                html_table(answer_rows(report), [n for n, row in enumerate(report.rows) if row["name"] == "best"]),
                f'<p class="soft">{text(_about_costs(report))}</p>',
                f"<details><summary>config of trial {report.best}</summary>{html_table(best)}</details>",
            ],
        ),
        Section("Front", [drawn["front"], f'<p class="soft">{text(_about_front(report))}</p>']),
        Section("Widths", [drawn["widths"]]),
        Section("Where bits and energy go", [(drawn["bits"], drawn["energy"])]),
    ]
    history = tuple(drawn[name] for name in ("history-epochs", "history-hours") if name in drawn)
    parts: list[Any] = [history] if history else ["<p>No trial has ended yet.</p>"]
    if "coordinates" in drawn:
        parts += ["<h3>Parallel coordinates</h3>", drawn["coordinates"]]
    sections.append(Section("Trials", [*parts, _trials(report)]))
    measure = f"mpsearch sensitivity {report.name}"
    harms = [drawn[name] for name in ("importance", "sensitivity") if name in drawn]
    sections.append(Section("What widths harm", harms or [_missing("Sensitivities weren't measured", measure)]))
    if report.baselines:
        sections.append(Section("Baselines", [html_table(_baseline_rows(report))]))
    tuned: list[Any] = [drawn["finetuning"]] if "finetuning" in drawn else []
    if not report.finetuned:
        tuned = [_missing("No config was fine-tuned", f"mpsearch finetune {report.name}")]
    elif "finetuning" not in drawn:
        tuned = ["<p>The logs of the fine-tunings aren't here.</p>"]
    sections.append(Section("Fine-tuning", tuned))
    sections.append(Section("Decisions and noise", _evaluated(report, drawn)))
    exported = [html_table(export_rows(report))] if report.exports else []
    command = f"mpsearch export {report.name} --format onnx --out exports/{report.name}"
    sections.append(Section("Exports", exported or [_missing("Nothing was exported", command)]))
    sections.append(Section("Provenance", _provenance(report)))
    return page(f"{report.name}: {report.provenance['space_path']}", sections)


def _missing(what: str, command: str) -> str:
    return f"<p>{html.escape(what)}: <code>{html.escape(command)}</code></p>"


def _about_costs(report: Report) -> str:
    words = "flash: kernels, biases and scales as they are packed; ram: the largest sum of feature maps at a time"
    score = (
        "; score: metric · (1 + δ), where δ is what the saving against the reference is worth"
        if report.objective == "score"
        else ""
    )
    limits = [f"{name} ≤ {value:g} {report.units.get(name, '')}".rstrip() for name, value in report.limits.items()]
    limits += [] if report.floor is None else [f"{report.metric} ≥ {report.floor:g}"]
    within = f". Searched within {', '.join(limits)}" if limits else ""
    return f"bits: parameters and feature maps; {words}{score}{within}."


def _about_front(report: Report) -> str:
    points = report.front["points"]
    members = sum(point["member"] for point in points)
    knee = report.front["knee"]
    return (
        f"{members} of {len(points)} configs are on the front of {report.metric} and {report.axis}; "
        f"hypervolume {report.front['hypervolume']:.4f}" + ("" if knee is None else f"; knee: trial {knee}") + "."
    )


def _trials(report: Report) -> str:
    rows = []
    for trial in report.trials:
        value, score = trial["metric"], trial["score"]
        rows.append(
            {
                "trial": trial["number"],
                "state": trial["state"],
                report.metric: "–" if value is None else f"{value:.4f}",
                "bits": trial["costs"].get("total_bits"),
                "score": "–" if score is None else f"{score:.4f}",
                "epochs": trial["epochs"],
                "seconds": f"{trial['seconds']:.1f}",
                "origin": trial["origin"],
                "cause": trial["cause"][:80],
            }
        )
    best = [place for place, trial in enumerate(report.trials) if trial["number"] == report.best]
    return f"<details><summary>all {len(rows)} trials</summary>{html_table(rows, best)}</details>"


def _baseline_rows(report: Report) -> list[dict[str, Any]]:
    def number(value: float | None) -> str:
        return "–" if value is None else f"{value:.4f}"

    return [
        {
            "baseline": row["name"],
            "recipe": row["recipe"],
            "validation": number(row["validation"]),
            "test": number(row["test"]),
            "parameter bits": row["parameter_bits"],
            "activation bits": row["activation_bits"],
            "score": number(row["score"]),
        }
        for row in report.baselines
    ]


def _evaluated(report: Report, drawn: dict[str, Figure]) -> list[Any]:
    found = report.evaluated
    if found is None:
        return [_missing("Not evaluated", f"mpsearch report {report.name} --evaluate")]
    parts: list[Any] = [f"<p>Of trial {found['trial']}, {html.escape(found['weights'])} weights.</p>"]
    if found["conditions"] != conditions(report):
        parts.append("<p>Space file, data or float weights have changed since: evaluate it again.</p>")
    if "confusion" in drawn:
        parts.append(drawn["confusion"])
    parts.append((drawn["noise"], drawn["zeros"]))
    parts += [f"<p>{html.escape(remark)}</p>" for remark in found["remarks"]]
    return parts


def conditions(report: Report) -> str:
    """What trials are trained under, as a study says it."""
    from mpsearch.provenance import Provenance

    return Provenance(**report.provenance).conditions


def _provenance(report: Report) -> list[Any]:
    shown = html.escape("\n".join(commands(report)))
    space = html.escape(report.provenance["space_text"])
    return [
        html_table(provenance_rows(report)),
        f"<h3>To do it again</h3><pre>{shown}</pre>",
        f"<details><summary>space file</summary><pre>{space}</pre></details>",
    ]
