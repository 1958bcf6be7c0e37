"""Energy: picojoules of one inference, by the operands' widths and where they are kept.

The model, and the figures, are those of QTools, which go back to M. Horowitz, *Computing's Energy Problem (and what we
can do about it)*, ISSCC 2014, figure 1.1.9 (45 nm, 0.9 V). All of them are in the table `HOROWITZ`.

Where it differs from `qkeras.qtools` of QKeras 1.2, it is because that is wrong or knows no such layer:

- an accumulator of a depthwise convolution sums over the kernel alone, not over the channels as well;
- an accumulator is as wide as the sum of its products and the bias, brought to their scale, and not as the fraction of
  a bias is long;
- separable, transposed and recurrent layers, and a BatchNorm that isn't folded, have their multiply-accumulates, not
  none;
- a merge reads its inputs and writes its output, which QTools' own sum leaves out; it costs an addition, or a
  multiplication, for each value and input beyond the first;
- rescaling costs a multiplication of 32 bits, or a shift, for each value, which is what scale modes differ in.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mpsearch.config import FLOAT_BITS
from mpsearch.costs.model import PerOperation, widest
from mpsearch.costs.profile import PLACES
from mpsearch.costs.rescaling import RescalingMultiplications
from mpsearch.costs.specs import Specs
from mpsearch.errors import ConfigError
from mpsearch.facts import ModelFacts, OperationFacts, ProductFacts, TensorFacts

RESCALED_BITS = 32


@dataclass(frozen=True)
class Energies:
    """Picojoules of single operations; polynomials have the coefficient of the highest power first.

    Attributes:
        add: of b bits, in b.
        multiply: of operands of b₁ and b₂ bits, in √(b₁ · b₂).
        float_add, float_multiply: of float32.
        sram: of 64 bits from or to an SRAM, in the binary logarithm of its size in bits.
        dram: of a bit from or to DRAM.
    """

    add: tuple[float, ...] = (0.003125, 0.0)
    multiply: tuple[float, ...] = (0.002994791667, 0.001041666667, 0.0)
    float_add: float = 0.9
    float_multiply: float = 3.7
    sram: tuple[float, ...] = (9.02427321e-04, -2.68847858e-02, 2.08900804e-01, 0.0)
    dram: float = 20.3125


HOROWITZ = Energies()
_WORD = 64  # bits that an SRAM gives at once


class EnergyPj(PerOperation):
    """Picojoules of one inference: reads of inputs and parameters, writes of outputs, arithmetic and rescaling.

    Each tensor lies in an SRAM of its own size.

    Args:
        facts: of the model.
        weights: where parameters are kept: "fixed" (in the logic, free), "sram" or "dram".
        activations: where feature maps are kept, likewise.
        least_sram: bits of the smallest SRAM.
        staged: whether the model's inputs come from DRAM and its outputs go there, and all that is in DRAM passes an
            SRAM on its way; else the model's ends are in SRAM.
        energies: of single operations.

    Raises:
        ConfigError: no such place.
    """

    name, unit, about = "energy", "pJ", "arithmetic and memory, by Horowitz's table"

    def __init__(
        self,
        facts: ModelFacts,
        weights: str = "sram",
        activations: str = "sram",
        least_sram: float = 1.0,
        staged: bool = False,
        energies: Energies = HOROWITZ,
    ) -> None:
        super().__init__(facts)
        for what, place in (("weights", weights), ("activations", activations)):
            if place not in PLACES:
                raise ConfigError(f"`{what}` must be kept in {', '.join(PLACES)}, but got {place!r}")
        self.weights, self.activations = weights, activations
        self.least_sram, self.staged, self.energies = least_sram, staged, energies

    def arithmetic(self, specs: Specs, operation: OperationFacts) -> np.ndarray:
        """Picojoules of an operation's multiplications and additions, without rescaling; float64 (configs,)."""
        found = np.zeros(len(specs))
        for product in operation.products:
            found += product.macs * (self._multiply(specs, product) + self._accumulate(specs, operation, product))
        others = len(operation.inputs) - 1
        if others > 0 and not operation.products and operation.in_place:
            values = sum(self._tensors[name].elements for name in operation.outputs)
            widths = np.max([self._widths(specs, self._tensors[name]) for name in operation.inputs], axis=0)
            single = np.polyval(self.energies.add, widths + 1.0)
            if operation.layer_class == "Multiply":
                single = np.polyval(self.energies.multiply, widths)
            found += others * values * single
        return found

    def rescaling(self, specs: Specs, operation: OperationFacts) -> np.ndarray:
        """Picojoules of an operation's rescalings; float64 (configs,). A shift costs what an addition does."""
        multiplications, shifts = self._rescaling.of(specs, operation)
        multiply = float(np.polyval(self.energies.multiply, RESCALED_BITS))
        return np.asarray(multiplications * multiply + shifts * float(np.polyval(self.energies.add, RESCALED_BITS)))

    def parameters(self, specs: Specs, operation: OperationFacts) -> np.ndarray:
        """Picojoules of reading an operation's kernels and biases; float64 (configs,)."""
        found = np.zeros(len(specs))
        for site in (*operation.kernels, *operation.biases):
            bits = self.facts.by_name[site].elements * specs.widths[:, self.columns[site]]
            found += self._moved(bits, self.weights)
        return found

    def reads(self, specs: Specs, operation: OperationFacts) -> np.ndarray:
        """Picojoules of reading an operation's inputs; float64 (configs,)."""
        return sum((self._tensor(specs, name) for name in operation.inputs), np.zeros(len(specs)))

    def writes(self, specs: Specs, operation: OperationFacts) -> np.ndarray:
        """Picojoules of writing an operation's outputs; float64 (configs,)."""
        return sum((self._tensor(specs, name) for name in operation.outputs), np.zeros(len(specs)))

    def operations(self, specs: Specs) -> np.ndarray:
        parts = (self.reads, self.parameters, self.arithmetic, self.rescaling, self.writes)
        columns = [sum(part(specs, operation) for part in parts) for operation in self.facts.operations]
        return np.stack([np.asarray(column) for column in columns], axis=1)

    def _multiply(self, specs: Specs, product: ProductFacts) -> np.ndarray:
        kernel = specs.widths[:, self.columns[product.kernel]]
        operand = widest(specs, product.operand, self.columns)
        fixed = np.polyval(self.energies.multiply, np.sqrt(kernel * operand))
        return np.where(self._floats(specs, product), self.energies.float_multiply, fixed)

    def _accumulate(self, specs: Specs, operation: OperationFacts, product: ProductFacts) -> np.ndarray:
        """Picojoules of adding a product: it has the bits of both factors, less one where both have a sign."""
        column, columns = self.columns[product.kernel], [self.columns[site] for site in product.operand]
        signs = specs.signed[:, column] & specs.signed[:, columns].any(axis=1)
        bits = specs.widths[:, column] + widest(specs, product.operand, self.columns) - signs
        summed = product.fan_in + bool(operation.biases)
        fixed = np.polyval(self.energies.add, bits + np.ceil(np.log2(summed)))
        return np.where(self._floats(specs, product), self.energies.float_add, fixed)

    def _floats(self, specs: Specs, product: ProductFacts) -> np.ndarray:
        columns = [self.columns[site] for site in product.operand]
        floats = specs.floats[:, self.columns[product.kernel]] | specs.floats[:, columns].any(axis=1)
        return np.asarray(floats | (not columns))

    def _tensor(self, specs: Specs, name: str) -> np.ndarray:
        """Picojoules of reading or writing a tensor once."""
        tensor = self._tensors[name]
        bits = tensor.elements * self._widths(specs, tensor)
        end = "dram" if self.staged else "sram"
        return self._moved(bits, end if name in self._ends else self.activations)

    def _moved(self, bits: np.ndarray, place: str) -> np.ndarray:
        if place == "fixed":
            return np.zeros(len(bits))
        if place == "dram":
            return np.asarray(bits * self.energies.dram + (self._moved(bits, "sram") if self.staged else 0.0))
        size = np.log2(np.maximum(bits, max(self.least_sram, 1.0)))
        return np.asarray(np.ceil(bits / _WORD) * np.maximum(np.polyval(self.energies.sram, size), 0.0))

    def _widths(self, specs: Specs, tensor: TensorFacts) -> np.ndarray:
        return widest(specs, tensor.sites, self.columns) if tensor.sites else np.full(len(specs), FLOAT_BITS)

    @cached_property
    def _tensors(self) -> dict[str, TensorFacts]:
        return {tensor.name: tensor for tensor in self.facts.tensors}

    @cached_property
    def _ends(self) -> frozenset[str]:
        """Tensors that come from outside or go there."""
        made = {name for operation in self.facts.operations for name in operation.outputs}
        return frozenset({name for name in self._tensors if name not in made} | set(self.facts.outputs))

    @cached_property
    def _rescaling(self) -> RescalingMultiplications:
        return RescalingMultiplications(self.facts)
