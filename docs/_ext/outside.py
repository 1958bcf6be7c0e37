"""Links to files outside `docs/`: plain relative ones on a forge, files to download from the built pages."""

import re
from typing import Any

from sphinx.application import Sphinx

_LINK = re.compile(r"\]\(((?:\.\./)+(?:studies|benchmarks|notebooks|spaces)/[^)#\s]+)\)")


def rewrite(app: Sphinx, name: str, source: list[str]) -> None:
    """Name the scheme by which MyST copies a file along."""
    source[0] = _LINK.sub(r"](path:\1)", source[0])


def setup(app: Sphinx) -> dict[str, Any]:
    """Act when a page is read."""
    app.connect("source-read", rewrite)
    return {"version": "1", "parallel_read_safe": True}
