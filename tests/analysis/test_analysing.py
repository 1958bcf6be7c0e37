"""The analysis of a config against its definitions, computed otherwise."""

import re
from dataclasses import replace

import numpy as np
import pytest

from mpsearch.analysis import figures
from mpsearch.analysis.analysing import BOTH, Analysis, SiteAnalysis, analyse, gains_of_auto, remarks
from mpsearch.analysis.tensors import TensorFigures
from mpsearch.config import Config, QuantizerSpec, Role
from mpsearch.menu import bits
from mpsearch.observing import Observed, Observer
from mpsearch.probing import divergence
from mpsearch.searching.engine import Engine
from mpsearch.space import Space


@pytest.fixture(scope="module")
def trained(tiny_file):
    engine = Engine(tiny_file, extra_alphas=BOTH)
    config = engine.network.space.uniform(4)
    engine.network.set_config(config)
    return engine, config, analyse(engine, config, samples=64)


def test_every_site_is_there_and_the_network_is_as_before(trained):
    engine, config, found = trained
    before = engine.network.state()
    assert [row.site for row in found.sites] == list(engine.network.space.sites)
    again = analyse(engine, config, samples=64)
    assert again.to_json() == found.to_json()
    for first, second in zip(before, engine.network.state(), strict=True):
        np.testing.assert_array_equal(first, second)
    assert found.samples == 64


def test_signal_and_noise_are_those_of_the_values_that_layers_compute_with(trained):
    engine, config, found = trained
    engine.network.set_config(config)
    layer = engine.network.model.get_layer("conv")
    w = np.asarray(layer.inner.kernel, np.float64)
    q = np.asarray(layer.weight_quantizers["kernel"](layer.inner.kernel), np.float64)
    row = next(row for row in found.sites if row.site == "conv/kernel")
    np.testing.assert_allclose(row.figures.snr_db, 10 * np.log10(np.sum(w**2) / np.sum((w - q) ** 2)), rtol=1e-5)
    assert row.figures.zeros == np.mean(q == 0)
    assert row.auto_db == pytest.approx(row.figures.snr_db)  # the space has auto for kernels
    activation = next(row for row in found.sites if row.site == "conv/activation")
    assert activation.po2_db == pytest.approx(activation.figures.snr_db)
    assert activation.figures.low == 0
    assert activation.figures.high == 15


def test_moves_are_divergences_of_one_site_alone(trained):
    engine, config, found = trained
    auto = Config({site: replace(spec, alpha="auto") for site, spec in config.items()})
    session = engine.session(engine.task.training)
    batches = session.prepared(engine.data, engine.data.train.spread(64))

    def outputs(config):
        engine.network.set_config(config)
        return session.outputs(batches)

    reference = outputs(auto)
    for site in ("conv/kernel", "dw/activation", "logits/bias"):
        moved = outputs(Config({**auto, site: replace(auto[site], alpha="auto_po2")}))
        expected = divergence(reference, moved, session.gives_classes)
        row = next(row for row in found.sites if row.site == site)
        assert row.po2_moves == pytest.approx(expected, rel=1e-5, abs=1e-12)
    po2 = outputs(Config({site: replace(spec, alpha="auto_po2") for site, spec in auto.items()}))
    assert found.all_po2_moves == pytest.approx(divergence(reference, po2, session.gives_classes), rel=1e-5)
    assert found.all_po2_moves > 0


def row(site, role=Role.KERNEL, zeros=0.1, clipped=0.0, snr=30.0, dead=0.0, auto=30.0, po2=27.0, moves=0.1):
    made = TensorFigures(zeros, clipped, snr, dead, (1, 2, 1), -1, 1)
    return SiteAnalysis(site, role, site, QuantizerSpec(4), 10, made, auto, po2, moves)


def seen(vanishing=0.2, exploding=0.1, returns=0.0):
    return Observed(1e-3, vanishing, exploding, 0.5, 0.1, 1.0, returns)


def test_what_stands_out_is_said():
    quiet = Analysis([row("a"), row("b", po2=33.0, moves=9.0)], 0.1, [], 10)
    assert remarks(quiet) == [
        "gain most from staying auto, with their share of what powers of two move where these have more noise: a (100%)"
    ]
    assert gains_of_auto(quiet) == [("a", 1.0)]
    loud = Analysis(
        [
            row("a", zeros=0.6),
            row("b", snr=9.0),
            row("c", clipped=0.02, role=Role.ACTIVATION, zeros=0.9),
            row("d", dead=0.1),
            row("e", snr=None, moves=None),
            row("f", snr=0.0),
        ],
        0.1,
        [{"a": seen(), "b": seen()}, {"a": seen(vanishing=0.995), "b": seen(exploding=0.995), "c": seen(returns=2.0)}],
        10,
    )
    said = "\n".join(remarks(loud))
    for text in (
        "codes are zero: a\n",
        "all zero: d\n",
        "above the noise: b, f\n",
        "are clipped: c\n",
        "updates vanish (99 % of the weights change by less than 1e-4 in the last epoch): a",
        "updates explode (99 % of the weights change by more than 1e-3 in the last epoch): b",
        "scales oscillate in the last epoch: c",
    ):
        assert text in said + "\n", text


def test_figures_are_plain_data(trained):
    _, _, found = trained
    sites = [row.site for row in found.sites]
    assert figures.noise_data(found)["sites"] == sites
    assert figures.shares_data(found)["zeros"] == [row.figures.zeros for row in found.sites]
    assert figures.moves_data(found)["moves"] == [row.po2_moves for row in found.sites]
    histogram = figures.histogram_data(found)
    assert set(histogram["sites"]) == {row.site for row in found.sites if row.role is not Role.ACTIVATION}
    for line in histogram["shares"]:
        assert sum(share or 0.0 for share in line) == pytest.approx(1.0)
    epochs = [{"a": seen(returns=1.0)}, {"a": seen(returns=2.0)}]
    assert figures.epochs_data(epochs, "returns") == {"sites": ["a"], "epochs": [1, 2], "values": [[1.0, 2.0]]}


def test_the_page_needs_no_network(trained, tmp_path):
    _, _, found = trained
    found = replace(found, epochs=[{row.site: seen() for row in found.sites}])
    figures.write_figures(found, "tiny <b>", tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    assert "<title>tiny &lt;b&gt;</title>" in text
    assert not re.search(r"<(script|link)[^>]*(src|href)=", text)
    assert text.count('class="plotly-graph-div"') == 8


@pytest.mark.parametrize(
    "menus",
    [
        {"kernel": bits(4), "bias": None, "activation": None},
        {"kernel": None, "bias": None, "activation": bits(4, alpha="auto_po2")},
        {"kernel": bits(4), "bias": bits(8), "activation": bits(4, range="batch")},
        {"kernel": bits(4), "bias": bits(8), "activation": bits(4, affine=True)},
        {"kernel": bits(4), "bias": bits(32, alpha="aligned"), "activation": bits(4)},
    ],
    ids=["kernels", "feature maps", "batch", "affine", "aligned"],
)
def test_spaces_with_some_sites_alone(tiny_file, menus):
    engine = Engine(replace(tiny_file, space=Space(**menus).skip("softmax")), extra_alphas=BOTH)
    config = engine.network.space.uniform(4)
    observer = Observer(engine, config, engine.task.training)
    outcome = engine.train(config, 0, callbacks=[observer])
    engine.network.load_state(outcome.state)
    found = analyse(engine, config, observer.epochs, samples=16)
    left_out = {site for site, spec in config.items() if spec.range == "batch"}
    assert {row.site for row in found.sites} == set(config) - left_out
    assert len(found.epochs) == (0 if menus["kernel"] is None else 2)
    for row in found.sites:
        assert (row.po2_moves is None) == (row.spec.alpha == "aligned")
        if row.spec.alpha in BOTH:  # one of the two is the site's own
            own = row.auto_db if row.spec.alpha == "auto" else row.po2_db
            assert own == pytest.approx(row.figures.snr_db, rel=1e-6)
    remarks(found)
