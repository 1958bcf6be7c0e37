"""A report's figures as pictures, each a file of its own."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mpsearch.errors import ConfigError
from mpsearch.pages import template
from mpsearch.report.document import figures_of
from mpsearch.report.gathering import Report

FORMATS = ("svg", "png")
WIDTH = 960
SHARP = 2  # pixels of a PNG for each of the page
TITLES = {
    "front": "Front",
    "widths": "Bits of each layer",
    "bits": "Where bits go",
    "energy": "Where energy goes",
    "history-epochs": "Trials over epochs",
    "history-hours": "Trials over wall time",
    "coordinates": "Trials by widths, cost and metric",
    "importance": "What the narrowest widths cost",
    "sensitivity": "What each width harms",
    "finetuning": "Fine-tuning",
    "confusion": "Decisions",
    "noise": "Signal above quantization noise",
    "zeros": "Zeros and clipping",
}


def write_pictures(report: Report, folder: Path, formats: Sequence[str] = ("svg",)) -> list[Path]:
    """Write each figure of a report as `NAME.svg` or `NAME.png`, on white.

    Raises:
        ConfigError: there is no such format, what draws isn't there, or the folder can't be written to.
    """
    for name in formats:
        if name not in FORMATS:
            raise ConfigError(f"pictures are {' or '.join(FORMATS)}, but got {name!r}")
    draw = _drawer()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"can't write to {folder}: {error.strerror or error}") from error
    jobs = []
    for name, figure in figures_of(report).items():
        drawn = figure.drawn
        width = max(WIDTH, figure.least_width)
        drawn.update_layout(
            template=template("light"),
            paper_bgcolor="white",
            width=width,
            title={"text": f"{report.name}: {TITLES[name]}", "x": 0.01, "font": {"size": 15}},
            margin={"t": 80},
        )
        for kind in formats:
            jobs.append((drawn, folder / f"{name}.{kind}", kind))
    for drawn, path, kind in jobs:
        draw(drawn, path, kind)
    return [path for _, path, _ in jobs]


def _drawer() -> Any:
    """What writes a figure to a file; the browser that it needs is looked for first."""
    try:
        import kaleido
    except ImportError:
        raise ConfigError("pictures need kaleido: pip install 'mpsearch[pictures]'") from None
    kaleido.start_sync_server(silence_warnings=True)

    def draw(drawn: Any, path: Path, kind: str) -> None:
        options = {"format": kind, "scale": SHARP if kind == "png" else 1}
        try:
            kaleido.write_fig_sync(drawn, path=str(path), opts=options)
        except Exception as error:
            raise ConfigError(
                f"can't draw {path.name}: {error}; pictures need Chromium or Chrome, which BROWSER_PATH may name"
            ) from error

    return draw
