"""The file formats by name: what writes them, what runs them, and what they are installed with."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mpsearch.config import Config
from mpsearch.errors import ConfigError, ExportError
from mpsearch.export.litert_file import write_litert
from mpsearch.export.litert_limits import nearest_config, obstacles
from mpsearch.export.litert_runtime import LitertRuntime
from mpsearch.export.onnx_file import OnnxRuntime, write_onnx
from mpsearch.export.program import Program
from mpsearch.export.qonnx_file import QonnxRuntime, write_qonnx
from mpsearch.export.runtime import Runtime, Written
from mpsearch.suggestions import suggestion


@dataclass(frozen=True)
class Limits:
    """What a format can't hold of a config.

    Attributes:
        obstacles: a program to the sites in the way, each in words.
        nearest: a config and a program of its network to the nearest config that can be held.
        aligns_biases: whether its biases are in the unit of the sums, always.
    """

    obstacles: Callable[[Program], Sequence[object]]
    nearest: Callable[[Config, Program], Config]
    aligns_biases: bool


@dataclass(frozen=True)
class Format:
    """A file format.

    Attributes:
        name: as users give it.
        file: name of its files.
        write: a program and metadata to a file; None where the network itself is written.
        run: opens a file that was written.
        packages: whose versions belong to a file of it.
        limits: what it can't hold; None where it holds all that `write` doesn't refuse.
        packed: whether its files hold codes at the widths of the container rule, and no floats in their place.
    """

    name: str
    file: str
    write: Callable[[Program, Path, Mapping[str, str]], Written] | None
    run: Callable[[Path, Written | None], Runtime]
    packages: tuple[str, ...]
    packed: bool = True
    limits: Limits | None = None


LITERT = Limits(obstacles, nearest_config, aligns_biases=True)


def _onnx(path: Path, written: Written | None) -> Runtime:
    return OnnxRuntime(path, None if written is None else written.layouts)


def _litert(path: Path, written: Written | None) -> Runtime:
    return LitertRuntime(path)


def _qonnx(path: Path, written: Written | None) -> Runtime:
    return QonnxRuntime(path, None if written is None else written.layouts)


def _keras(path: Path, written: Any) -> Runtime:
    from mpsearch.export.keras_file import KerasRuntime

    return KerasRuntime(path)


FORMATS: Mapping[str, Format] = {
    made.name: made
    for made in (
        Format("onnx", "model.onnx", write_onnx, _onnx, ("onnx", "onnxruntime")),
        Format("litert", "model.tflite", write_litert, _litert, ("ai-edge-litert",), limits=LITERT),
        Format("keras", "model.keras", None, _keras, ("keras", "qkeras-v3"), packed=False),
        Format("qonnx", "model.qonnx.onnx", write_qonnx, _qonnx, ("onnx", "qonnx"), packed=False),
    )
}


def parse_formats(text: str) -> list[Format]:
    """The formats of a list such as "onnx,keras".

    Raises:
        ConfigError: one isn't known, or none is named.
    """
    names = list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    unknown = [name for name in names if name not in FORMATS]
    if unknown or not names:
        close = suggestion(unknown[0], FORMATS, before="; ") if unknown else ""
        raise ConfigError(
            f"a format must be one of {', '.join(FORMATS)}, but got {', '.join(unknown) or 'none'}{close}"
        )
    return [FORMATS[name] for name in names]


def format_of(path: Path) -> Format:
    """The format of a file, by its name's end.

    Raises:
        ExportError: it is none of them.
    """
    ends = {made.file.removeprefix("model"): made for made in FORMATS.values()}
    for end in sorted(ends, key=len, reverse=True):
        if path.name.endswith(end):
            return ends[end]
    raise ExportError(f"{path} is no exported file: its name must end as one of {', '.join(f'*{end}' for end in ends)}")
