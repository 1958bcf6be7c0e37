"""Docstrings for Sphinx: what reStructuredText would take for markup, and mpsearch means as it stands, is escaped."""

import re
from typing import Any

from sphinx.application import Sphinx

_CODE = re.compile(r"(`+[^`]*`+)")


def escape(app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Escape bars, and stars that open no *title*, outside of code."""
    text = "\n".join(lines)
    parts = _CODE.split(text)
    parts[::2] = [re.sub(r"\|", r"\\|", part) for part in parts[::2]]
    lines[:] = "".join(parts).split("\n")


def setup(app: Sphinx) -> dict[str, Any]:
    """Act before napoleon reads the sections."""
    app.connect("autodoc-process-docstring", escape, priority=100)
    return {"version": "1", "parallel_read_safe": True}
