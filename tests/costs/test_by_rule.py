"""Sizes of references that were computed by rule: no publication with these figures is at hand.

The rule is that of the published ones (`golden/forgiving_bits.json`): kernels 16 bits, biases 31 and feature maps 16,
besides 8 bits for each element of the input and of a softmax's outputs. It is applied here by plain counting along the
tables of the networks' papers, without a model.
"""

from collections.abc import Iterator

import pytest

from mpsearch import facts_of, models
from mpsearch.config import Role
from mpsearch.costs.bits import BitCost

IMAGE, CLASSES = 96 * 96 * 3, 2


def conv(kernel: int, inputs: int, outputs: int, side: int) -> tuple[int, int, int]:
    """Elements of kernel, bias (where BatchNorm is folded) and feature map; `inputs` 1 for a depthwise one."""
    return kernel * kernel * inputs * outputs, outputs, side * side * outputs


def mapped(elements: int) -> tuple[int, int, int]:
    """A feature map that no kernel makes."""
    return 0, 0, elements


def mobilenet_v1() -> Iterator[tuple[int, int, int]]:
    """Width 0.25: A. Howard et al., arXiv:1704.04861, Table 1."""
    yield mapped(IMAGE)
    side, width = 48, 8
    yield conv(3, 3, width, side)
    strided = {16: 1, 32: 2, 64: 2, 128: 2, 256: 2}  # stride of the first layer of each width
    for channels in (16, 32, 32, 64, 64, 128, 128, 128, 128, 128, 128, 256, 256):
        side //= strided.pop(channels, 1)
        yield conv(3, 1, width, side)
        yield conv(1, width, channels, side)
        width = channels
    yield mapped(width)  # the average
    yield conv(1, width, CLASSES, 1)


def efficientnet_b0() -> Iterator[tuple[int, int, int]]:
    """M. Tan, Q. Le, ICML 2019, Table 1, with squeeze-and-excitation to a quarter of a block's inputs."""
    yield mapped(IMAGE)
    side, width = 48, 32
    yield conv(3, 3, width, side)
    table = ((1, 3, 16, 1, 1), (6, 3, 24, 2, 2), (6, 5, 40, 2, 2), (6, 3, 80, 3, 2), (6, 5, 112, 3, 1),
             (6, 5, 192, 4, 2), (6, 3, 320, 1, 1))  # fmt: skip
    for expansion, kernel, channels, repeats, stride in table:
        for repeat in range(repeats):
            wide = width * expansion
            if expansion > 1:
                yield conv(1, width, wide, side)
            side //= stride if repeat == 0 else 1
            yield conv(kernel, 1, wide, side)
            yield mapped(wide)  # squeezed
            yield conv(1, wide, width // 4, 1)
            yield conv(1, width // 4, wide, 1)
            yield mapped(side * side * wide)  # the product
            yield conv(1, wide, channels, side)
            if repeat > 0:
                yield mapped(side * side * channels)  # the sum
            width = channels
    yield conv(1, width, 1280, side)
    yield mapped(1280)  # the average
    yield conv(1, 1280, CLASSES, 1)


@pytest.mark.parametrize(
    ("build", "table", "sites", "parameter_bits", "activation_bits"),
    [
        (models.mbv1, mobilenet_v1, [28, 28, 30], 3_414_670, 4_372_528),
        (models.efficientnetb0, efficientnet_b0, [82, 82, 125], 64_280_882, 28_173_296),
    ],
    ids=["mbv1", "efficientnetb0"],
)
def test_references_computed_by_rule_come_out_to_the_bit(build, table, sites, parameter_bits, activation_bits):
    layers = list(table())
    kernels, biases, maps = (sum(layer[index] for layer in layers) for index in range(3))
    assert 16 * kernels + 31 * biases == parameter_bits
    assert 16 * maps + 8 * IMAGE + 8 * CLASSES == activation_bits
    facts = facts_of(build(), nonnegative_inputs=True)
    reference = BitCost(facts).reference_cost
    assert (reference.parameter_bits, reference.activation_bits) == (parameter_bits, activation_bits)
    assert [len(list(facts.of(role))) for role in Role] == sites == [
        sum(layer[index] > 0 for layer in layers) for index in range(3)
    ]  # fmt: skip
