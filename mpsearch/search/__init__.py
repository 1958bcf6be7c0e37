"""Searching a space: how a trial is trained, and which config comes next.

Called, as in `mpsearch.search(model, data, space)`, it is the function `mpsearch.api.search`: a package can't share its
name with a function, so it is made callable. Its modules are imported as usual.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import Any


class _Search(ModuleType):
    def __call__(self, *args: Any, **options: Any) -> Any:
        return import_module("mpsearch.api").search(*args, **options)


sys.modules[__name__].__class__ = _Search
