"""A report as Markdown, for a pull request: the answer, the front, the config, where it comes from."""

from mpsearch.costs.sizes import shown_size
from mpsearch.markdown import markdown_table
from mpsearch.report.gathering import Report
from mpsearch.report.words import (
    answer_rows,
    answer_sentence,
    commands,
    config_rows,
    export_rows,
    provenance_rows,
)


def summary(report: Report) -> str:
    """The Markdown text."""
    unit = report.units.get(report.axis, "")
    members = [point for point in report.front["points"] if point["member"]]
    front = [
        {
            "trial": point["trial"],
            report.metric: f"{point['metric']:.4f}",
            report.axis: shown_size(point["cost"], unit),
            "": "knee" if point["trial"] == report.front["knee"] else "",
        }
        for point in sorted(members, key=lambda p: p["cost"])
    ]
    parts = [
        f"## {report.name}: mixed precision",
        answer_sentence(report),
        markdown_table(answer_rows(report)),
        f"### Front of {report.metric} and {report.axis}",
        markdown_table(front),
        folded(f"Config of trial {report.best}", markdown_table(config_rows(report, report.best))),
    ]
    if report.exports:
        parts += ["### Exports", markdown_table(export_rows(report))]
    done = "\n".join(("```", *commands(report), "```"))
    parts.append(folded("Provenance", f"{markdown_table(provenance_rows(report))}\n\n{done}"))
    return "\n\n".join(parts) + "\n"


def folded(title: str, text: str) -> str:
    """A text that a forge shows on a click."""
    return f"<details><summary>{title}</summary>\n\n{text}\n\n</details>"
