"""Site facts: what a search and a cost need to know of a model, as plain data without Keras."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from math import prod
from typing import Any

from mpsearch.config import Role


@dataclass(frozen=True)
class SiteFacts:
    """One quantizable tensor of a model.

    Attributes:
        name: `layer/tensor`, for instance `conv_0/kernel` or `add_1/input_0`.
        layer: name of the user's layer.
        layer_class: class of that layer, for instance `Conv2D`.
        role: which menu the site takes.
        shape: of the tensor, without the batch dimension.
        macs: multiplications and additions in which a kernel takes part for one sample; 0 for the others.
        negative: whether the tensor can hold values below zero.
        producers: for an activation, names of the activation sites it is computed from; for a kernel or
            bias, those its layer reads.
        scales: how many scales its codes have: a kernel's channels, else 1.
    """

    name: str
    layer: str
    layer_class: str
    role: Role
    shape: tuple[int, ...]
    macs: int = 0
    negative: bool = True
    producers: tuple[str, ...] = ()
    scales: int = 1

    @cached_property
    def elements(self) -> int:
        """Number of values, batch dimension left out."""
        return prod(self.shape)


@dataclass(frozen=True)
class LayerFacts:
    """A layer of the user's model, quantizable or not.

    Attributes:
        name, layer_class: of the layer.
        part_of: the layer in whose sites it is contained, for instance a folded BatchNorm or an activation function
            in those of the convolution before; None for a layer of its own.
    """

    name: str
    layer_class: str
    part_of: str | None = None


@dataclass(frozen=True)
class TensorFacts:
    """A feature map as it lies in memory between two operations.

    Attributes:
        name: of the operation that makes it, with a number behind it where that makes several.
        shape: without the batch dimension.
        sites: the activation sites whose codes it holds; none where it is float.
    """

    name: str
    shape: tuple[int, ...]
    sites: tuple[str, ...] = ()

    @cached_property
    def elements(self) -> int:
        """Number of values, batch dimension left out."""
        return prod(self.shape)


@dataclass(frozen=True)
class ProductFacts:
    """The products of a kernel, or of a feature map in its place, with what it is multiplied with.

    Attributes:
        kernel: its site.
        operand: the activation sites of the other factors; none where they are float.
        macs: multiply-accumulates for one sample.
        fan_in: products that are summed for one value, at most.
    """

    kernel: str
    operand: tuple[str, ...]
    macs: int
    fan_in: int


@dataclass(frozen=True)
class OperationFacts:
    """What a device executes at one go: a layer with the activation function and the quantizer behind it.

    What only gives values another shape is none.

    Attributes:
        name: of the layer, with a number behind a dot for its second application and those after.
        layer_class: of the layer in the canonical model, for instance `DepthwiseConv2D`.
        inputs, outputs: names of the tensors that it reads and makes.
        kernels, biases: its sites.
        products: of its kernels, as far as they are multiplied, or of its inputs with each other; all are summed for
            one value.
        in_place: whether an output can take the memory of an input that nobody needs any more: each value of it
            depends on one value of each input.
        rescales: whether its output gets codes of its own, so that each value is brought to another scale.
        states: activation sites of a recurrent layer's states, one entry for each state.
    """

    name: str
    layer_class: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    kernels: tuple[str, ...] = ()
    biases: tuple[str, ...] = ()
    products: tuple[ProductFacts, ...] = ()
    in_place: bool = False
    rescales: bool = False
    states: tuple[str, ...] = ()

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one sample."""
        return sum(product.macs for product in self.products)


@dataclass(frozen=True)
class ModelFacts:
    """All sites of a model in network order, and its ends.

    Attributes:
        name: the model's name.
        sites: facts of each site.
        layers: all layers of the user's model, with and without sites.
        input_elements: values in one sample's inputs.
        softmax_elements: values of outputs that a softmax layer of its own produces; 0 without one.
        tensors: feature maps between operations.
        operations: in the order in which they are executed; the model's inputs are there before the first.
        outputs: names of the tensors that the model gives.
    """

    name: str
    sites: tuple[SiteFacts, ...]
    layers: tuple[LayerFacts, ...]
    input_elements: int
    softmax_elements: int = 0
    tensors: tuple[TensorFacts, ...] = ()
    operations: tuple[OperationFacts, ...] = ()
    outputs: tuple[str, ...] = ()

    @cached_property
    def by_name(self) -> dict[str, SiteFacts]:
        """Site name to its facts."""
        return {site.name: site for site in self.sites}

    @cached_property
    def consumers(self) -> dict[str, tuple[str, ...]]:
        """Activation site to the sites that read it."""
        return {
            site.name: tuple(other.name for other in self.sites if site.name in other.producers)
            for site in self.of(Role.ACTIVATION)
        }

    def factors(self, bias: str) -> tuple[str, str] | None:
        """The kernel and the activation site whose products a bias is added to.

        None where there isn't one of each: behind float inputs or several, in a recurrent layer, or where a layer is
        applied to several feature maps; or where the kernel's scales aren't those of the bias's channels.
        """
        inputs = {tensor.name: tensor.sites for tensor in self.tensors}
        found = {
            (operation.kernels, tuple(inputs[name] for name in operation.inputs))
            for operation in self.operations
            if bias in operation.biases and not operation.states
        }
        if len(found) == 1:
            kernels, read = found.pop()
            if len(kernels) == 1 and len(read) == 1 and len(read[0]) == 1:
                own, scales = self.by_name[bias], self.by_name[kernels[0]].scales
                if len(own.shape) == 1 and own.elements % scales == 0:
                    return kernels[0], read[0][0]
        return None

    def of(self, role: Role) -> Iterator[SiteFacts]:
        """Sites of one role, in network order."""
        return (site for site in self.sites if site.role is role)

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "ModelFacts":
        """The facts of `to_json`'s data."""

        def listed(kind: type, rows: Iterable[Mapping[str, Any]], **inner: type) -> tuple[Any, ...]:
            return tuple(
                kind(**{k: listed(inner[k], v) if k in inner else _tuples(v) for k, v in row.items()}) for row in rows
            )

        sites = [{**row, "role": Role(row["role"])} for row in data["sites"]]
        return cls(
            name=data["name"],
            sites=listed(SiteFacts, sites),
            layers=listed(LayerFacts, data["layers"]),
            input_elements=data["input_elements"],
            softmax_elements=data["softmax_elements"],
            tensors=listed(TensorFacts, data["tensors"]),
            operations=listed(OperationFacts, data["operations"], products=ProductFacts),
            outputs=tuple(data["outputs"]),
        )


def _tuples(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
