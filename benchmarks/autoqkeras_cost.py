"""A config's size as AutoQKeras counts it, for the spaces that are compared with its runs."""


def bits_of(facts, config, relu, ends):
    """Bits of kernels, biases and ReLU outputs, and 8 for each value of input and output.

    Args:
        facts: of the model.
        config: the specs.
        relu: layers with a ReLU.
        ends: values of input and output.
    """
    return 8 * ends + sum(
        facts.by_name[site].elements * spec.bits
        for site, spec in config.items()
        if not site.endswith("/activation") or site.removesuffix("/activation") in relu
    )
