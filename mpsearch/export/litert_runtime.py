"""A LiteRT file in its interpreter."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mpsearch.export.litert_graph import litert_module
from mpsearch.export.runtime import unreadable


class LitertRuntime:
    """A LiteRT file in the interpreter, computed by its builtin kernels.

    Args:
        path: of the file.

    Raises:
        ExportError: the file is missing, cut off or none of LiteRT.
        MissingPackageError: ai-edge-litert isn't installed.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._interpreter = self._open(keeps_all=False)
        self._keeping: Any = None  # an interpreter that keeps all tensors, once it is asked for
        self.inputs: Sequence[tuple[str, tuple[int, ...]]] = [
            (entry["name"].removesuffix("/input"), tuple(int(size) for size in entry["shape"][1:]))
            for entry in self._interpreter.get_input_details()
        ]

    def __call__(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The model's outputs for inputs, float32 of shape (batch, ...)."""
        self._run(self._interpreter, inputs)
        return [self._interpreter.get_tensor(entry["index"]) for entry in self._interpreter.get_output_details()]

    def values(self, inputs: Sequence[np.ndarray], tensors: Sequence[str]) -> dict[str, np.ndarray]:
        """Values of a program's quantized tensors, float32 (batch, ..., channels)."""
        if self._keeping is None:
            self._keeping = self._open(keeps_all=True)
        interpreter = self._keeping
        self._run(interpreter, inputs)
        known = {entry["name"]: entry for entry in interpreter.get_tensor_details()}
        found = {}
        for tensor in tensors:
            scale, zero = known[tensor]["quantization"]
            numbers = interpreter.get_tensor(known[tensor]["index"])
            found[tensor] = (numbers.astype(np.float32) - np.float32(zero)) * np.float32(scale)
        return found

    def _open(self, keeps_all: bool) -> Any:
        """An interpreter; one that keeps all tensors needs more memory."""
        module = litert_module("interpreter")
        try:
            self._path.open("rb").close()
            made = module.Interpreter(
                str(self._path),
                experimental_op_resolver_type=module.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
                experimental_preserve_all_tensors=keeps_all,
            )
            made.allocate_tensors()
        except (OSError, ValueError, RuntimeError) as error:
            raise unreadable(self._path, "LiteRT", error) from error
        return made

    def _run(self, interpreter: Any, inputs: Sequence[np.ndarray]) -> None:
        entries = interpreter.get_input_details()
        for entry, x in zip(entries, inputs, strict=True):
            interpreter.resize_tensor_input(entry["index"], x.shape)
        interpreter.allocate_tensors()
        for entry, x in zip(entries, inputs, strict=True):
            interpreter.set_tensor(entry["index"], np.asarray(x, np.float32))
        interpreter.invoke()
