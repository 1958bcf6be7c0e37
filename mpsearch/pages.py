"""Pages of figures: one file that needs no network, in light and dark, on wide and narrow screens and on paper."""

import contextlib
import html
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mpsearch.errors import ConfigError

BLUE, ORANGE, GREEN, PINK, YELLOW, SKY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"
COLORS = (BLUE, ORANGE, GREEN, PINK, YELLOW, SKY)
"""Okabe and Ito's, told apart whatever one's colour vision; M. Okabe, K. Ito, *Color Universal Design*, 2008."""
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "x", "star")
GREY = "#8a8f98"
SCALE = "Cividis"
"""Of heat maps: its lightness rises evenly, for all colour vision. J. Nuñez et al., PLOS ONE 13 (7), 2018."""

_INK = {"light": ("#1f2328", "#d8dee4", "#ffffff"), "dark": ("#e6edf3", "#3d444d", "#151b23")}
_CSS = """
:root { color-scheme: light dark; --ink: #1f2328; --soft: #59636e; --line: #d8dee4; --paper: #ffffff; --box: #f6f8fa;
        --link: #0969da; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6edf3; --soft: #9198a1; --line: #3d444d; --paper: #0d1117; --box: #151b23; --link: #4493f8; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 72rem; padding: 1rem 1.25rem 4rem; background: var(--paper); color: var(--ink);
       font: 1rem/1.5 system-ui, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 1rem 0 .5rem; }
h2 { font-size: 1.2rem; margin: 2.5rem 0 .5rem; padding-top: .75rem; border-top: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1.5rem 0 .25rem; }
p { max-width: 46rem; margin: .5rem 0; }
p.lead { font-size: 1.15rem; }
p.soft, figcaption { color: var(--soft); font-size: .9rem; }
a { color: var(--link); }
nav { display: flex; flex-wrap: wrap; gap: .25rem 1rem; font-size: .9rem; margin: .75rem 0; }
figure { margin: .5rem 0; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; margin: .5rem 0; }
th, td { padding: .25rem .75rem .25rem 0; text-align: left; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { font-weight: 600; } td.number, th.number { text-align: right; }
tr.first td { font-weight: 600; }
pre { background: var(--box); border: 1px solid var(--line); border-radius: 6px; padding: .75rem; overflow-x: auto;
      font-size: .85rem; line-height: 1.45; }
details > summary { cursor: pointer; color: var(--link); margin: .5rem 0; }
.columns { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); gap: 0 1.5rem; }
.columns > * { min-width: 0; }
@media print {
  :root { --ink: #000; --soft: #444; --line: #bbb; --paper: #fff; --box: #fff; --link: #000; }
  body { max-width: none; font-size: 10pt; } nav, .modebar { display: none !important; }
  .columns { display: block; } .wide { overflow: visible; } pre { white-space: pre-wrap; } td { white-space: normal; }
  figure, table { break-inside: avoid; } h2, h3 { break-after: avoid; } }
"""
_SCRIPT = """
const templates = %s, dark = matchMedia('(prefers-color-scheme: dark)');
function paint(printing) {
  const template = templates[dark.matches && printing !== true ? 'dark' : 'light'];
  document.querySelectorAll('.plotly-graph-div').forEach(figure => Plotly.relayout(figure, {template: template}));
}
document.querySelectorAll('.plotly-graph-div').forEach(figure => Plotly.Plots.resize(figure));
if (dark.matches) paint();
dark.addEventListener('change', () => paint());
addEventListener('beforeprint', () => paint(true));
addEventListener('afterprint', () => paint());
"""


@dataclass(frozen=True)
class Figure:
    """A figure of a page.

    Attributes:
        name: of its file, where it is written apart.
        drawn: Plotly's.
        caption: what is to be seen.
        least_width: pixels below which it is scrolled rather than squeezed; 0: it fits any screen.
    """

    name: str
    drawn: Any
    caption: str = ""
    least_width: int = 0


@dataclass(frozen=True)
class Section:
    """A part of a page under a heading.

    Attributes:
        title: the heading; none at the page's head.
        parts: HTML, and figures; neighbouring figures in a tuple stand side by side where there is room.
    """

    title: str
    parts: Sequence[str | Figure | tuple[Figure, ...]]


def figure_of(traces: Sequence[Any], height: int, x: str = "", y: str = "", **layout: Any) -> Any:
    """A Plotly figure in the template of all pages, with the axes' titles; other arguments are the layout's."""
    import plotly.graph_objects as go

    drawn = go.Figure(list(traces))
    drawn.update_layout(
        template=template("light"),
        height=height,
        xaxis={"title": {"text": x}},
        yaxis={"title": {"text": y}},
        legend={"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 0.0},
        margin={"l": 10, "r": 10, "t": 60, "b": 10},
    )
    drawn.update_layout(**layout)
    return drawn


def figure_of_tensors(traces: Sequence[Any], count: int, x: str, each: int = 18, **layout: Any) -> Any:
    """A figure with a row for each of `count` tensors, `each` pixels high, from the top."""
    rows = {"autorange": "reversed", "type": "category", "dtick": 1}
    return figure_of(traces, 140 + each * count, x, yaxis=rows, **layout)


def template(scheme: str) -> Any:
    """The template of all figures, "light" or "dark": no ground of its own, lines and letters of the page."""
    import plotly.graph_objects as go

    ink, line, box = _INK[scheme]
    axis = {
        "gridcolor": line, "linecolor": line, "zerolinecolor": line, "tickcolor": line, "automargin": True,
        "title": {"standoff": 12},
    }  # fmt: skip
    return go.layout.Template(
        layout={
            "font": {"color": ink, "family": 'system-ui, "Segoe UI", Roboto, "Helvetica Neue", sans-serif'},
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "colorway": list(COLORS),
            "xaxis": axis,
            "yaxis": axis,
            "hoverlabel": {"bgcolor": box, "bordercolor": line, "font": {"color": ink}},
            "colorscale": {"sequential": SCALE},
            "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": line, "activecolor": ink},
        }
    )


def axis_title(name: str, unit: str) -> str:
    """A cost's name with its unit.

    >>> axis_title("flash", "bytes"), axis_title("total_bits", "bits")
    ('flash (bytes)', 'total bits')
    """
    words = name.replace("_", " ")
    return f"{words} ({unit})" if unit and not words.endswith(unit) else words


def page(title: str, sections: Sequence[Section], footer: str = "") -> str:
    """A page as one HTML text, scripts included.

    Args:
        title: of the page, plain text.
        sections: in order; those with a title are linked from the top.
        footer: HTML.
    """
    from plotly.offline import get_plotlyjs

    named = [(f"part-{n}", section) for n, section in enumerate(sections)]
    links = "".join(f'<a href="#{key}">{html.escape(s.title)}</a>' for key, s in named if s.title)
    body = []
    for number, (key, section) in enumerate(named):
        head = f"<h2>{html.escape(section.title)}</h2>" if section.title else ""
        parts = "".join(_part(part, f"{key}-{place}") for place, part in enumerate(section.parts))
        body.append(f'<section id="{key}">{head}{parts}</section>')
        if number == 0 and len([s for s in sections if s.title]) > 1:
            body.append(f"<nav>{links}</nav>")
    templates = json.dumps({scheme: template(scheme).to_plotly_json() for scheme in _INK})
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{_CSS}</style>"
        f"<script>{get_plotlyjs()}</script></head>\n<body><h1>{html.escape(title)}</h1>"
        + "\n".join(body)
        + f"\n{footer}<script>{_SCRIPT % templates}</script></body></html>\n"
    )


def _part(part: str | Figure | tuple[Figure, ...], key: str) -> str:
    if isinstance(part, str):
        return part
    if isinstance(part, tuple):
        return f'<div class="columns">{"".join(_part(one, f"{key}-{n}") for n, one in enumerate(part))}</div>'
    drawn = part.drawn.to_html(
        full_html=False,
        include_plotlyjs=False,
        div_id=f"figure-{key}",
        config={
            "displaylogo": False,
            "responsive": True,
            "modeBarButtonsToRemove": ["select2d", "lasso2d", "autoScale2d"],
            "toImageButtonOptions": {"filename": part.name},
        },
    )
    caption = f"<figcaption>{html.escape(part.caption)}</figcaption>" if part.caption else ""
    least = f' style="min-width: {part.least_width}px"' if part.least_width else ""
    return f'<figure><div class="wide"><div{least}>{drawn}</div></div>{caption}</figure>'


def html_table(rows: Sequence[Mapping[str, Any]], strong: Sequence[int] = ()) -> str:
    """Rows as an HTML table, whose columns are those of any row, numbers to the right; gaps stay empty.

    Args:
        rows: column to value; texts, whole numbers or None.
        strong: places of rows that stand out.
    """
    columns = list(dict.fromkeys(column for row in rows for column in row))
    right = {column for column in columns if all(_is_number(row.get(column)) for row in rows)}

    def cell(tag: str, column: str, value: Any) -> str:
        kind = ' class="number"' if column in right else ""
        text = "" if value is None else f"{value:,}" if isinstance(value, int) else str(value)
        return f"<{tag}{kind}>{html.escape(text)}</{tag}>"

    head = "".join(cell("th", column, column) for column in columns)
    body = "".join(
        f"<tr{' class=first' if n in strong else ''}>{''.join(cell('td', c, row.get(c)) for c in columns)}</tr>"
        for n, row in enumerate(rows)
    )
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _is_number(value: Any) -> bool:
    if value is None or isinstance(value, (int, float)):
        return True
    text = str(value).strip("+-–−×% ").split(" ")[0].replace(",", "").rstrip("%")
    return not text or text.replace(".", "", 1).isdigit()


def write_page(text: str, file: Path) -> None:
    """Write a page, whole or not at all.

    Raises:
        ConfigError: the file can't be written, or isn't an .html.
    """
    if file.suffix not in (".html", ".htm"):
        raise ConfigError(f"the page is written as an .html file, but got {file}")
    write_text(text, file)


def write_text(text: str, file: Path) -> None:
    """Write a text, whole or not at all; a folder that isn't there is made.

    Raises:
        ConfigError: it can't be written.
    """
    partial = file.with_name(f".{file.name}.partial")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, file)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise ConfigError(f"can't write {file}: {error.strerror or error}") from error
