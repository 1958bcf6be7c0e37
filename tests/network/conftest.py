"""Elastic networks that several tests share: making one takes seconds."""

import numpy as np
import pytest

from mpsearch.menu import bits
from mpsearch.space import Space


@pytest.fixture(scope="session")
def small_space() -> Space:
    """Every role of the small model quantized."""
    return Space(
        kernel=bits(2, 4, 8, 16, alpha=["auto", "auto_po2"]),
        bias=bits(2, 8, 16, 31, alpha="auto_po2"),
        activation=bits(2, 4, 8, 16, alpha=["auto", "auto_po2"]),
        requantize_merge_inputs=True,
    )


@pytest.fixture(scope="session")
def small_network(small_model, small_space, small_samples):
    """The small model's elastic network; set a config before use."""
    from mpsearch.network.elastic import ElasticNetwork

    return ElasticNetwork(small_model, small_space, small_samples)


@pytest.fixture
def logits(small_samples):
    """The network's outputs before softmax on the samples, (64, 4)."""

    def run(network) -> np.ndarray:
        return np.log(np.asarray(network.model(small_samples, training=False)) + 1e-9)

    return run
