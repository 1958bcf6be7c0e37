"""Facts of small networks for costs: by hand, and drawn at random."""

import numpy as np

from mpsearch.config import Config, QuantizerSpec, Role
from mpsearch.facts import ModelFacts, OperationFacts, ProductFacts, SiteFacts, TensorFacts


def two_layers() -> ModelFacts:
    """An input of 6 values, a Dense of 4 with ReLU, a Dense of 3, its softmax."""
    sites = (
        SiteFacts("input/activation", "input", "InputLayer", Role.ACTIVATION, (6,), negative=False),
        SiteFacts("a/kernel", "a", "Dense", Role.KERNEL, (6, 4), 24, scales=4),
        SiteFacts("a/bias", "a", "Dense", Role.BIAS, (4,)),
        SiteFacts("a/activation", "a", "Dense", Role.ACTIVATION, (4,), negative=False),
        SiteFacts("b/kernel", "b", "Dense", Role.KERNEL, (4, 3), 12, scales=3),
        SiteFacts("b/activation", "b", "Dense", Role.ACTIVATION, (3,)),
    )
    tensors = (
        TensorFacts("input", (6,), ("input/activation",)),
        TensorFacts("a", (4,), ("a/activation",)),
        TensorFacts("b", (3,), ("b/activation",)),
        TensorFacts("softmax", (3,)),
    )
    first = ProductFacts("a/kernel", ("input/activation",), 24, 6)
    second = ProductFacts("b/kernel", ("a/activation",), 12, 4)
    operations = (
        OperationFacts("a", "Dense", ("input",), ("a",), ("a/kernel",), ("a/bias",), (first,), rescales=True),
        OperationFacts("b", "Dense", ("a",), ("b",), ("b/kernel",), (), (second,), rescales=True),
        OperationFacts("softmax", "Softmax", ("b",), ("softmax",), in_place=True),
    )
    return ModelFacts("two", sites, (), 6, 3, tensors, operations, ("softmax",))


def config(facts: ModelFacts, alpha: str = "auto", **widths: int) -> Config:
    """8 bits everywhere, but for sites given as `a__kernel=4`."""
    chosen = {name.replace("__", "/"): width for name, width in widths.items()}
    assert set(chosen) <= set(facts.by_name)
    return Config({site.name: QuantizerSpec(chosen.get(site.name, 8), alpha) for site in facts.sites})


def random_net(seed: int) -> ModelFacts:
    """A network of up to a dozen operations that each read some of what was made before."""
    rng = np.random.default_rng(seed)
    sizes = [int(n) for n in rng.integers(1, 40, rng.integers(2, 12))]
    tensors = [TensorFacts(f"t{n}", (size,), (f"t{n}/activation",)) for n, size in enumerate(sizes)]
    sites = [
        SiteFacts(f"t{n}/activation", f"t{n}", "Add", Role.ACTIVATION, (size,), 0, bool(rng.integers(2)))
        for n, size in enumerate(sizes)
    ]
    operations, read = [], set()
    for n in range(1, len(sizes)):
        inputs = {f"t{int(i)}" for i in rng.integers(0, n, rng.integers(1, 4))}
        read |= inputs
        in_place = bool(rng.integers(2))
        operations.append(
            OperationFacts(f"t{n}", "Add", tuple(sorted(inputs)), (f"t{n}",), in_place=in_place, rescales=True)
        )
    outputs = tuple(t.name for t in tensors if t.name not in read)
    return ModelFacts(f"random {seed}", tuple(sites), (), sizes[0], 0, tuple(tensors), tuple(operations), outputs)


def random_config(facts: ModelFacts, seed: int) -> Config:
    """Widths from 2 to 16 bits, scale modes at random."""
    rng = np.random.default_rng(seed)
    return Config(
        {
            site.name: QuantizerSpec(int(rng.integers(2, 17)), "auto" if rng.integers(2) else "auto_po2")
            for site in facts.sites
        }
    )
