"""A config as a table with a row for each layer."""

from collections.abc import Mapping

from mpsearch.config import QuantizerSpec, Role


def rows_by_layer(config: Mapping[str, QuantizerSpec]) -> list[dict[str, str]]:
    """A config, a row for each layer: kernel, bias, activation and, where there are some, merge inputs."""
    layers: dict[str, dict[str, str]] = {}
    tensors = dict.fromkeys(role.value for role in Role)
    for site, spec in config.items():
        layer, _, tensor = site.partition("/")
        layers.setdefault(layer, {})[tensor] = str(spec)
        tensors.setdefault(tensor)
    return [
        {"layer": layer, **{tensor: specs.get(tensor, "") for tensor in tensors}} for layer, specs in layers.items()
    ]
