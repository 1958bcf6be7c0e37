"""Work: multiply-accumulates, the bits that take part in them, and the widths of accumulators."""

import numpy as np

from mpsearch.config import FLOAT_BITS
from mpsearch.costs.model import PerOperation, multiplied, widest
from mpsearch.costs.specs import Specs
from mpsearch.facts import OperationFacts, ProductFacts


class _PerProduct(PerOperation):
    """A sum over products."""

    def operations(self, specs: Specs) -> np.ndarray:
        columns = [
            sum((self._product(specs, product) for product in operation.products), np.zeros(len(specs)))
            for operation in self.facts.operations
        ]
        return np.stack(columns, axis=1)

    def _sites(self, operation: OperationFacts) -> tuple[str, ...]:
        return multiplied(operation)

    def _product(self, specs: Specs, product: ProductFacts) -> np.ndarray:
        raise NotImplementedError

    def _widths(self, specs: Specs, product: ProductFacts) -> tuple[np.ndarray, np.ndarray]:
        """Widths of kernel and operand, float64 (configs,)."""
        kernel = specs.widths[:, self.columns[product.kernel]].astype(np.float64)
        return kernel, widest(specs, product.operand, self.columns).astype(np.float64)


class Macs(_PerProduct):
    """Multiply-accumulates for one sample; the same for each config."""

    name, unit, about = "macs", "MACs", "multiply-accumulates"

    def _product(self, specs: Specs, product: ProductFacts) -> np.ndarray:
        return np.full(len(specs), float(product.macs))


class Bops(_PerProduct):
    """Bit operations, accumulations included: Σ MACs · (b_w · b_a + b_w + b_a + log₂ n), with sums of n products.

    Source: C. Baskin et al., *UNIQ: Uniform Noise Injection for Non-Uniform Quantization of Neural Networks*,
    arXiv:1804.10969, section 4.2.
    """

    name, unit, about = "bops", "bit operations", "bit operations of multiplications and accumulations"

    def _product(self, specs: Specs, product: ProductFacts) -> np.ndarray:
        kernel, operand = self._widths(specs, product)
        return product.macs * (kernel * operand + kernel + operand + np.log2(product.fan_in))


class Ebops(_PerProduct):
    """Effective bit operations: Σ MACs · b_w · b_a, widths as declared.

    Source: C. Sun et al., *Gradient-based Automatic Mixed Precision Quantization for Neural Networks On-Chip*,
    arXiv:2405.00645, section III, which counts a fully unrolled network and, of constants, the bits between the first
    and the last that isn't zero; those depend on weights, so that here all count.
    """

    name, unit, about = "ebops", "bit operations", "bit operations of multiplications alone"

    def _product(self, specs: Specs, product: ProductFacts) -> np.ndarray:
        kernel, operand = self._widths(specs, product)
        return product.macs * kernel * operand


class AccumulatorBits(PerOperation):
    """The width of the widest accumulator: what holds the sum of all products of a value, whatever they are.

    For sums of n products of codes of at most w and a in magnitude it is ⌈log₂(n · w · a + 1)⌉ + 1 bits, sign included.
    Biases, whose scale a device may choose, are left out. With float factors it is 32.
    """

    name, unit, about = "accumulator", "bits", "the widest accumulator"
    is_maximum = True

    def of(self, specs: Specs, operation: OperationFacts) -> np.ndarray:
        """Bits of an operation's accumulators, float64 (configs,); 0 where it has none."""
        if not operation.products:
            return np.zeros(len(specs))
        largest, floats = np.zeros(len(specs)), np.zeros(len(specs), dtype=bool)
        for product in operation.products:
            column, columns = self.columns[product.kernel], [self.columns[site] for site in product.operand]
            floats |= specs.floats[:, column]
            if not columns:
                floats |= True
                continue
            floats |= specs.floats[:, columns].any(axis=1)
            largest += product.fan_in * specs.magnitudes[:, column] * specs.magnitudes[:, columns].max(axis=1)
        return np.where(floats, FLOAT_BITS, np.ceil(np.log2(largest + 1.0)) + 1.0)

    def operations(self, specs: Specs) -> np.ndarray:
        return np.stack([self.of(specs, operation) for operation in self.facts.operations], axis=1)

    def _sites(self, operation: OperationFacts) -> tuple[str, ...]:
        return multiplied(operation)
