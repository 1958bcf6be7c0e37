"""Sphinx: how the pages are built; `make docs` does it. Nothing is fetched, neither here nor by the pages."""

import os
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE / "_ext")]
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from mpsearch.cli.silence import import_tensorflow  # noqa: E402
from mpsearch.version import __version__  # noqa: E402

import_tensorflow()  # without its start-up messages, before autodoc does

project = "mpsearch"
version = release = __version__
copyright = "the authors of mpsearch, Apache-2.0"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "commands", "docstrings", "outside"]
exclude_patterns = ["_ext", "_static"]
default_role = "code"
nitpicky = False

myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_class_signature = "separated"
autodoc_default_options = {"members": True, "undoc-members": False, "class-doc-from": "class"}
autodoc_preserve_defaults = True
maximum_signature_line_length = 80
python_use_unqualified_type_names = True
add_module_names = False
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True

html_theme = "furo"
html_title = f"mpsearch {release}"
html_static_path = ["_static"]
html_css_files = ["mpsearch.css"]
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {"navigation_with_keys": True}
pygments_style = "default"
pygments_dark_style = "monokai"
