"""Describe Python values as plain data, so that a record says what they were."""

import dataclasses
import functools
import hashlib
import inspect
import re
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

ADDED = {"added": True}
"""Metadata of a dataclass's field that came later: it is described where it hasn't its default value, so that what was
described before stays the same."""

Plain = Any
"""What JSON can hold."""


def describe(value: Any) -> Plain:
    """Plain data that is equal where values are, as far as that can be told.

    Numbers, texts and containers are themselves; arrays their shape, type and SHA-256; dataclasses their fields;
    Keras objects their configuration without names; functions their source text and the plain values that it refers
    to. Where there is no source text, a function's name stands for it.
    """
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, np.ndarray):
        digest = hashlib.sha256(np.ascontiguousarray(value).data).hexdigest()[:16]
        return {"array": list(value.shape), "dtype": str(value.dtype), "sha256": digest}
    if isinstance(value, Mapping):
        return {str(key): describe(item) for key, item in value.items()}
    if isinstance(value, (set, frozenset)):
        return sorted((describe(item) for item in value), key=str)
    if isinstance(value, (list, tuple)):
        return [describe(item) for item in value]
    if isinstance(value, functools.partial):
        return {"partial": describe(value.func), "args": describe(value.args), "keywords": describe(value.keywords)}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {
            field.name: describe(getattr(value, field.name))
            for field in dataclasses.fields(value)
            if not (field.metadata == ADDED and getattr(value, field.name) == field.default)
        }
        return {"class": type(value).__qualname__, **fields}
    if hasattr(value, "get_config") and not isinstance(value, type):
        config = {key: item for key, item in value.get_config().items() if key != "name"}  # Keras numbers names
        return {"class": type(value).__qualname__, "config": describe(config)}
    if isinstance(value, re.Pattern):
        return {"pattern": value.pattern, "flags": value.flags}
    if callable(value):
        return _function(value)
    return {"class": f"{type(value).__module__}.{type(value).__qualname__}"}


def _function(function: Any) -> Plain:
    name = f"{getattr(function, '__module__', '')}.{getattr(function, '__qualname__', type(function).__qualname__)}"
    if name.startswith(("keras.", "mpsearch.", "numpy.")):
        return name  # versions are recorded elsewhere
    try:
        source = textwrap.dedent(inspect.getsource(function))
    except (OSError, TypeError):
        return name
    found: dict[str, Plain] = {"function": name, "source": source}
    if inspect.isfunction(function):
        names = inspect.getclosurevars(function)
        plain = {
            key: describe(value)
            for key, value in (*names.globals.items(), *names.nonlocals.items())
            if isinstance(value, (bool, int, float, str, tuple, list, np.ndarray))
        }
        if plain:
            found["refers to"] = plain
    return found
