"""Facts of small networks, written by hand: no Keras here."""

from mpsearch.config import Role
from mpsearch.facts import LayerFacts, ModelFacts, SiteFacts

ROLES = tuple(Role)


def chain(*layers: str, roles: tuple[Role, ...] = ROLES, name: str = "chain") -> ModelFacts:
    """`input`, then layers that each read the one before; a layer is a Dense where its name begins with `d`."""
    sites = [SiteFacts("input/activation", "input", "InputLayer", Role.ACTIVATION, (6,), negative=False)]
    read = ("input/activation",)
    for number, layer in enumerate(layers):
        kind, elements = ("Dense" if layer.startswith("d") else "Conv2D"), 10 + 7 * number
        shapes = {Role.KERNEL: (3, elements), Role.BIAS: (elements,), Role.ACTIVATION: (2, elements)}
        sites += [SiteFacts(f"{layer}/{role.value}", layer, kind, role, shapes[role], 0, True, read) for role in roles]
        if Role.ACTIVATION in roles:
            read = (f"{layer}/activation",)
    named = [LayerFacts("input", "InputLayer")]
    named += [LayerFacts(layer, "Dense" if layer.startswith("d") else "Conv2D") for layer in layers]
    return ModelFacts(name, tuple(sites), tuple(named), input_elements=6)


def branches() -> ModelFacts:
    """Two inputs, a convolution behind each, their sum, one more, a pooling, two heads.

    Layers with kernels: `a`, `b`, `middle`, `head_1`, `head_2`.
    """

    def activation(name: str, *read: str) -> SiteFacts:
        return SiteFacts(f"{name}/activation", name, "Add", Role.ACTIVATION, (4,), producers=tuple(read))

    def layer(name: str, read: str) -> list[SiteFacts]:
        kernel = SiteFacts(f"{name}/kernel", name, "Conv2D", Role.KERNEL, (4, 4), producers=(f"{read}/activation",))
        return [kernel, activation(name, f"{read}/activation")]

    sites = [activation("left"), *layer("a", "left"), activation("right"), *layer("b", "right")]
    sites += [
        SiteFacts("add/input_0", "add", "Add", Role.ACTIVATION, (4,), producers=("a/activation",)),
        activation("add", "add/input_0", "b/activation"),
        *layer("middle", "add"),
        activation("pool", "middle/activation"),
        *layer("head_1", "pool"),
        *layer("head_2", "pool"),
    ]
    names = list(dict.fromkeys(site.layer for site in sites))
    return ModelFacts("branches", tuple(sites), tuple(LayerFacts(name, "Conv2D") for name in names), 8)


def parts() -> ModelFacts:
    """A separable convolution `sep` of two parts, and a Dense `dense` that is applied twice."""

    def site(name: str, layer: str, kind: str, role: Role) -> SiteFacts:
        return SiteFacts(name, layer, kind, role, (4, 4))

    sites = [
        site("sep_depthwise/kernel", "sep", "SeparableConv2D", Role.KERNEL),
        site("sep_pointwise/kernel", "sep", "SeparableConv2D", Role.KERNEL),
        site("sep_pointwise/activation", "sep", "SeparableConv2D", Role.ACTIVATION),
        site("encoder.dense/kernel", "encoder.dense", "Dense", Role.KERNEL),
        site("encoder.dense/activation", "encoder.dense", "Dense", Role.ACTIVATION),
        site("encoder.dense.2/activation", "encoder.dense", "Dense", Role.ACTIVATION),
    ]
    layers = (LayerFacts("sep", "SeparableConv2D"), LayerFacts("encoder.dense", "Dense"), LayerFacts("soft", "Softmax"))
    return ModelFacts("parts", tuple(sites), layers, 4)


def net(layers: int = 3) -> ModelFacts:
    """A chain of convolutions `conv_0` …, each with BatchNorm, then `add`, `logits` and `softmax`."""
    compute = [(f"conv_{i}", "Conv2D") for i in range(layers)] + [("logits", "Dense")]
    sites = [SiteFacts("input/activation", "input", "InputLayer", Role.ACTIVATION, (8, 8, 1), negative=False)]
    for layer, kind in compute:
        sites.append(SiteFacts(f"{layer}/kernel", layer, kind, Role.KERNEL, (3, 3, 1, 4), macs=2304))
        sites.append(SiteFacts(f"{layer}/bias", layer, kind, Role.BIAS, (4,)))
        sites.append(SiteFacts(f"{layer}/activation", layer, kind, Role.ACTIVATION, (8, 8, 4)))
    sites.insert(-3, SiteFacts("add/activation", "add", "Add", Role.ACTIVATION, (8, 8, 4)))
    named = [LayerFacts(*pair) for pair in [("input", "InputLayer"), *compute[:-1]]]
    named += [LayerFacts("conv_0_bn", "BatchNormalization", part_of="conv_0"), LayerFacts("add", "Add")]
    named += [LayerFacts("logits", "Dense"), LayerFacts("softmax", "Activation")]
    return ModelFacts("net", tuple(sites), tuple(named), input_elements=64)
