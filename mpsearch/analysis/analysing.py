"""What quantization does to a trained config, site by site; what scales of powers of two cost it, layer by layer."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import keras
import numpy as np

from mpsearch.analysis.tensors import TensorFigures, snr_db, tensor_figures
from mpsearch.config import Alpha, Config, QuantizerSpec, RangeRule, Role
from mpsearch.network.codes import weight_sites
from mpsearch.network.elastic import ElasticNetwork
from mpsearch.network.graph import functional, submodel
from mpsearch.observing import Observed
from mpsearch.probing import divergence
from mpsearch.quantizers.featuremap import QuantizedBitsFeatureMap
from mpsearch.searching.engine import Engine

SAMPLES = 256
VALUES = 2**20
BOTH = (Alpha.AUTO, Alpha.AUTO_PO2)
LOW_SNR_DB, MANY_ZEROS, MUCH_CLIPPED, STILL = 10.0, 0.5, 0.01, 0.99
"""What is worth a look: less signal than that above the noise, more zeros, clipping or weights that stand still."""
OSCILLATES = 1.0
"""Ways back of a scale in an epoch, beyond which it is said to oscillate."""


@dataclass(frozen=True)
class SiteAnalysis:
    """A site of a config.

    Attributes:
        site, role, layer: of it.
        spec: its quantizer.
        elements: of one sample.
        figures: of its values and codes; of a feature map's those of some samples.
        auto_db, po2_db: signal-to-noise ratio with each scale mode at the site's width, decibels; None where it has
            another one, or nothing is lost.
        po2_moves: how far the outputs move where this site alone has `auto_po2`, all others `auto`, as a sensitivity is
            measured; None where it has neither.
    """

    site: str
    role: Role
    layer: str
    spec: QuantizerSpec
    elements: int
    figures: TensorFigures
    auto_db: float | None
    po2_db: float | None
    po2_moves: float | None

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {**asdict(self), "role": self.role.value, "spec": str(self.spec)}


@dataclass(frozen=True)
class Analysis:
    """A trained config.

    Attributes:
        sites: in network order; without states of recurrent layers, and feature maps with another range in each batch.
        all_po2_moves: how far the outputs move where all that have `auto` or `auto_po2` have `auto_po2`, against all
            `auto`.
        epochs: what each epoch of its training did to kernels and biases; none where it wasn't watched.
        samples: that feature maps and outputs are of.
    """

    sites: Sequence[SiteAnalysis]
    all_po2_moves: float
    epochs: Sequence[Mapping[str, Observed]]
    samples: int

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        epochs = [{site: asdict(seen) for site, seen in epoch.items()} for epoch in self.epochs]
        return {
            "samples": self.samples,
            "all_po2_moves": self.all_po2_moves,
            "sites": [row.to_json() for row in self.sites],
            "epochs": epochs,
            "remarks": remarks(self),
        }


def analyse(
    engine: Engine,
    config: Config,
    epochs: Sequence[Mapping[str, Observed]] = (),
    samples: int = SAMPLES,
    measured: Callable[[int, int], None] = lambda number, count: None,
) -> Analysis:
    """Analyse an engine's present weights under a config.

    Args:
        engine: its network has the weights; of a space whose sites can have `BOTH` scale modes.
        config: the specs.
        epochs: what was seen of its training.
        samples: of the training split, evenly spaced.
        measured: is told how many of how many sites are done.
    """
    network = engine.network
    state = network.state()
    network.assign_specs(config)
    split = engine.data.train.spread(samples)
    session = engine.session(engine.task.training)
    batches = session.prepared(engine.data, split)
    values = {**_weights(network, config), **_feature_maps(network, config, [x for x, _ in batches])}
    epochs = [epoch for epoch in epochs if epoch]
    free = [site for site in network.space.sites if config[site].alpha in BOTH]
    auto = Config({site: _with(spec, Alpha.AUTO) if site in free else spec for site, spec in config.items()})
    po2 = Config({site: _with(spec, Alpha.AUTO_PO2) if site in free else spec for site, spec in config.items()})

    def outputs(specs: Config) -> list[np.ndarray]:
        network.assign_specs(specs)
        return session.outputs(batches)

    reference = outputs(auto)
    moved = divergence(reference, outputs(po2), session.gives_classes)
    found = []
    for number, site in enumerate(network.space.sites):
        if site not in values:
            continue
        facts = network.facts.by_name[site]
        modes: dict[Alpha, float | None] = dict.fromkeys(BOTH)
        moves = None
        if site in free:
            modes = {alpha: _snr(network, config, site, alpha, values[site]) for alpha in BOTH}
            changed = Config({**auto, site: po2[site]})
            moves = divergence(reference, outputs(changed), session.gives_classes)
        found.append(
            SiteAnalysis(
                site,
                facts.role,
                facts.layer,
                config[site],
                facts.elements,
                values[site].figures,
                modes[Alpha.AUTO],
                modes[Alpha.AUTO_PO2],
                moves,
            )
        )
        measured(number + 1, len(network.space.sites))
    network.assign_specs(config)
    network.load_state(state)
    return Analysis(found, moved, epochs, len(split))


def remarks(analysis: Analysis) -> list[str]:
    """What stands out, in words."""
    found = []
    for text, sites in (
        (
            f"more than {MANY_ZEROS:.0%} of the codes are zero",
            [row for row in analysis.sites if row.role is not Role.ACTIVATION and row.figures.zeros > MANY_ZEROS],
        ),
        ("channels whose codes are all zero", [row for row in analysis.sites if row.figures.dead > 0.0]),
        (
            f"less than {LOW_SNR_DB:g} dB of signal above the noise",
            [row for row in analysis.sites if (row.figures.snr_db is not None and row.figures.snr_db < LOW_SNR_DB)],
        ),
        (
            f"more than {MUCH_CLIPPED:.0%} of the values are clipped",
            [row for row in analysis.sites if row.figures.clipped > MUCH_CLIPPED],
        ),
    ):
        if sites:
            found.append(f"{text}: {', '.join(row.site for row in sites)}")
    gains = gains_of_auto(analysis)
    if gains:
        named = ", ".join(f"{site} ({share:.0%})" for site, share in gains[:3])
        found.append(
            "gain most from staying auto, with their share of what powers of two move where these have more noise: "
            + named
        )
    if analysis.epochs:
        last = analysis.epochs[-1]
        still = [site for site, seen in last.items() if seen.vanishing > STILL]
        loud = [site for site, seen in last.items() if seen.exploding > STILL]
        swinging = [site for site, seen in last.items() if seen.returns >= OSCILLATES]
        for text, names in (
            ("updates vanish (99 % of the weights change by less than 1e-4 in the last epoch)", still),
            ("updates explode (99 % of the weights change by more than 1e-3 in the last epoch)", loud),
            ("scales oscillate in the last epoch", swinging),
        ):
            if names:
                found.append(f"{text}: {', '.join(names)}")
    return found


def gains_of_auto(analysis: Analysis) -> list[tuple[str, float]]:
    """Sites for which powers of two have more noise, with their share of what these move one by one, largest first."""
    moves = {row.site: row.po2_moves for row in analysis.sites if row.po2_moves and _loses(row)}
    total = sum(moves.values())
    return sorted(((site, moved / total) for site, moved in moves.items()), key=lambda pair: -pair[1])


def _loses(row: SiteAnalysis) -> bool:
    """Whether there is more noise with `auto_po2` than with `auto`."""
    return (np.inf if row.auto_db is None else row.auto_db) > (np.inf if row.po2_db is None else row.po2_db)


@dataclass(frozen=True)
class _Tensor:
    """Values of a site before quantization, and what gives codes and scale of them under the spec that is set."""

    values: np.ndarray
    figures: TensorFigures
    codes: Callable[[QuantizerSpec], tuple[np.ndarray, np.ndarray]]


def _weights(network: ElasticNetwork, config: Config) -> dict[str, _Tensor]:
    found = {}
    for site, (layer, weight) in weight_sites(network).items():
        if site in config:
            values = np.asarray(keras.ops.convert_to_numpy(weight.of(layer.inner)))

            def coded(spec: QuantizerSpec, layer: Any = layer, name: str = weight.attribute) -> Any:
                return tuple(np.asarray(part, np.float64) for part in layer.codes(name, spec))

            limit = 2 ** (config[site].bits - 1) - 1
            codes, scale = coded(config[site])
            found[site] = _Tensor(values, tensor_figures(values, codes, scale, -limit, limit), coded)
    return found


def _feature_maps(network: ElasticNetwork, config: Config, batches: Sequence[Any]) -> dict[str, _Tensor]:
    """Feature maps whose grid is known, each with `VALUES` of its values at most, drawn at random."""
    sites = [
        site
        for site in network.space.sites
        if isinstance(network.quantizer(site), QuantizedBitsFeatureMap)
        and site not in network.placement.states.values()
        and config[site].range is not RangeRule.BATCH
    ]
    if not sites:
        return {}
    rng, most = np.random.default_rng(0), VALUES // len(batches)
    layers: list[Any] = [network.quantizer(site) for site in sites]
    inputs = submodel(network.model, [layer.input for layer in layers])
    kept: dict[str, list[np.ndarray]] = {site: [] for site in sites}
    for x in batches:
        given = keras.tree.pack_sequence_as(functional(network.model)._inputs_struct, keras.tree.flatten(x))
        for site, value in zip(sites, keras.tree.flatten(inputs(given, training=False)), strict=True):
            flat = np.asarray(value).ravel()
            kept[site].append(flat if flat.size <= most else flat[rng.integers(flat.size, size=most)])
    found = {}
    for site, layer in zip(sites, layers, strict=True):
        grid, values = layer.grid(), np.concatenate(kept[site])
        zero, low, high = (round(float(part)) for part in (grid.zero, grid.low, grid.high))

        def coded(spec: QuantizerSpec, layer: Any = layer, values: np.ndarray = values) -> Any:
            grid = layer.grid()
            scale = np.float64(grid.scale)
            return np.round(np.asarray(grid.quantize(values), np.float64) / scale), scale

        codes, scale = coded(config[site])
        figures = tensor_figures(values, codes, scale, low - zero, high - zero)
        found[site] = _Tensor(values, figures, coded)
    return found


def _snr(network: ElasticNetwork, config: Config, site: str, alpha: Alpha, tensor: _Tensor) -> float | None:
    """Signal-to-noise ratio of a site under a scale mode, all others as they are."""
    spec = _with(config[site], alpha)
    network.assign_specs(Config({**config, site: spec}))
    codes, scale = tensor.codes(spec)
    return snr_db(tensor.values, codes * scale)


def _with(spec: QuantizerSpec, alpha: Alpha) -> QuantizerSpec:
    return replace(spec, alpha=alpha)
