"""Sensitivities of a real network, and what a study does with them."""

import json
from dataclasses import replace

import keras
import numpy as np
import pytest

from mpsearch.beliefs import Trained, beliefs_of, is_on_menus
from mpsearch.config import Config, QuantizerSpec
from mpsearch.errors import ConfigError, StudyError
from mpsearch.heatmap import heatmap_data, write_heatmap
from mpsearch.network import tails
from mpsearch.network.tails import Cuts
from mpsearch.probing import Prober, divergence, prepare, probe, wide_positions
from mpsearch.ranking import ranked, repeat_key, trainings
from mpsearch.records import State
from mpsearch.runners.inprocess import run
from mpsearch.sensitivities import SAMPLES, Sensitivity, are_known, guide_of, kept, known
from mpsearch.solving import solved
from mpsearch.study import open_study
from mpsearch.training import Session


class Silent:
    def trial_started(self, number, config): ...
    def epoch_ended(self, number, epoch, logs): ...
    def trial_ended(self, record): ...


def test_divergences_by_hand():
    p, q = np.array([[0.5, 0.5], [0.9, 0.1]]), np.array([[0.25, 0.75], [0.9, 0.1]])
    by_hand = 0.5 * (0.5 * np.log(2) + 0.5 * np.log(0.5 / 0.75))
    assert divergence([p], [q], [True]) == pytest.approx(by_hand)
    assert divergence([np.log(p) + 3], [np.log(q) - 1], [True]) == pytest.approx(by_hand), "logits are shifted freely"
    values, others = np.array([[0.0], [2.0]]), np.array([[0.5], [2.0]])
    assert divergence([values], [others], [False]) == pytest.approx(0.125 / 1.0)
    assert divergence([p, values], [q, others], [True, False]) == pytest.approx(by_hand + 0.125)
    assert divergence([p], [p], [True]) == 0.0


def test_a_sensitivity_is_what_keras_says_of_the_outputs(tiny_engine):
    space = tiny_engine.network.space
    number = [choice.name for choice in space.choices].index("dw/kernel")
    row = Prober(tiny_engine, 64).measure(number, {})
    samples = tiny_engine.data.train.spread(64)
    wide, probed = wide_positions(space), wide_positions(space)
    probed[number] = 0  # 2 bits

    def outputs(positions):
        tiny_engine.network.set_config(next(space.configs(positions[None])))
        return np.asarray(tiny_engine.network.model(samples.x, training=False), dtype=np.float64)

    old, new = outputs(wide), outputs(probed)
    expected = keras.losses.KLDivergence()(old, new)
    assert row.divergences[0] == pytest.approx(float(expected), rel=1e-3)
    losses = [-np.log(o[np.arange(64), samples.y]).mean() for o in (old, new)]
    assert row.losses[0] == pytest.approx(losses[1] - losses[0], rel=1e-3)
    assert row.specs == ("2 auto", "4 auto", "8 auto")
    assert row.divergences[0] > row.divergences[1] > row.divergences[2] == 0.0


@pytest.mark.parametrize("broken", [False, True])
def test_behind_cuts_sensitivities_are_those_of_the_whole_network(tiny_engine, monkeypatch, broken):
    count = len(tiny_engine.network.space.choices)

    def measured():
        prober = Prober(tiny_engine, 64)
        rows = {number: prober.measure(number, {}) for number in prober.order}
        return prober, [(rows[number].divergences, rows[number].losses) for number in range(count)]

    made, behind = [], Cuts.behind

    def noted(self, start, before):
        tail = behind(self, start, before)
        made.append((start, before.start))
        return replace(tail, inputs=[-x for x in tail.inputs]) if broken else tail  # as if something were lost

    monkeypatch.setattr(Cuts, "behind", noted)
    monkeypatch.setattr(tails, "TRACED", np.inf)
    prober, whole = measured()
    assert prober._places == [0]
    assert not made
    monkeypatch.setattr(tails, "TRACED", 1.0)
    prober, found = measured()
    assert found == whole
    if broken:
        assert len(made) == 1, "and none after it"
        assert prober._places == [0]
    else:
        assert made == [*zip(prober._places[1:], prober._places, strict=False)]
        assert len(made) >= 2
        assert prober.measure(prober.order[0], {}).divergences == whole[prober.order[0]][0], "and back"


def test_batches_of_the_usual_samples_are_alike_so_that_outputs_are_traced_once(tiny_engine):
    traces = []

    class Counting(keras.layers.Layer):
        def call(self, x):
            if not isinstance(x, keras.KerasTensor):
                traces.append(x.shape)
            return x

    inputs = keras.Input((8, 8, 1))
    outputs = keras.layers.Dense(10, activation="softmax")(keras.layers.Flatten()(Counting()(inputs)))
    session = Session(keras.Model(inputs, outputs), "sgd", "sparse_categorical_crossentropy", "accuracy")
    batches = session.prepared(tiny_engine.data, tiny_engine.data.train.spread(SAMPLES))
    traces.clear()
    for _ in range(2):
        session.outputs(batches)
    assert [len(x) for x, _ in batches] == [128, 128]
    assert len(traces) == 1


def test_measuring_changes_no_weight_and_goes_on_where_it_stopped(tiny_engine, tiny_study):
    study = tiny_study(sampler="auto")
    tiny_engine.network.set_config(None)
    before = tiny_engine.network.state()
    count = len(tiny_engine.network.space.choices)

    class StoppedError(Exception): ...

    def stop(row, number, of):
        assert of == count
        if number == 3:
            raise StoppedError

    with pytest.raises(StoppedError):
        probe(study, tiny_engine, 64, measured=stop)
    assert len(kept(study, 64)) == 3
    assert not are_known(study, tiny_engine.network.space)
    with pytest.raises(StudyError, match=f"{count - 3} sensitivities of `tiny` aren't known yet: mpsearch sensitivity"):
        known(study, tiny_engine.network.space)
    first = probe(study, tiny_engine, 64)
    tiny_engine.network.set_config(None)
    assert all(np.array_equal(a, b) for a, b in zip(before, tiny_engine.network.state(), strict=True))
    assert [row.to_json() for row in probe(study, tiny_engine, 64)] == [row.to_json() for row in first], "kept"
    assert probe(study, tiny_engine, 64, again=True)[0].seconds != first[0].seconds
    assert [r.divergences for r in probe(study, tiny_engine, 32)] != [r.divergences for r in first], "other samples"
    again = open_study("tiny")
    assert are_known(again, tiny_engine.network.space)
    assert Sensitivity.from_json(json.loads(json.dumps(first[0].to_json()))) == first[0]
    with pytest.raises(ConfigError, match="at least 1 sample, but got 0"):
        probe(study, tiny_engine, 0)


def test_other_data_make_them_outdated(tiny_engine, tiny_study):
    study = tiny_study(sampler="auto")
    probe(study, tiny_engine, 64)
    study._set_provenance(data_fingerprint="another")
    assert kept(study) == {}
    assert prepare(study, tiny_engine) is not None
    assert prepare(study, tiny_engine) is None


def test_the_sampler_auto_needs_them_says_so_and_uses_them(tiny_engine, tiny_study):
    study = tiny_study(sampler="auto")
    with pytest.raises(StudyError, match="the sensitivities of `tiny` aren't known yet: mpsearch sensitivity tiny"):
        run(study, tiny_engine, 2, Silent())
    prepare(study, tiny_engine)
    run(study, tiny_engine, 4, Silent())
    records = study.records()
    assert len({record.fingerprint for record in records}) == 4
    assert {record.origin for record in records} == {"auto"}
    believed = study.frozen_trials()[0].user_attrs["proposed"]
    assert believed["why"] == "the best guess by sensitivities"
    assert 0 < believed["deviation"] < 1
    assert study.frozen_trials()[3].user_attrs["proposed"]["why"] == "the most promising after 3 trainings"


@pytest.mark.parametrize("pruner", ["none", "believed"])
def test_a_search_that_was_stopped_goes_on_as_if_it_had_not_been(tiny_engine, tiny_study, pruner):
    whole, parts = tiny_study("whole", "auto", pruner), tiny_study("parts", "auto", pruner)
    for study in (whole, parts):
        probe(study, tiny_engine, 64)
    run(whole, tiny_engine, 6, Silent())
    run(parts, tiny_engine, 2, Silent())
    run(open_study("parts"), tiny_engine, 6, Silent())
    found = [[(r.fingerprint, r.state, r.epochs) for r in study.records()] for study in (whole, parts)]
    assert found[0] == found[1]


def test_the_pruner_believed_trains_on_what_is_believed_best_and_what_a_user_asked_for(tiny_engine, tiny_study):
    study, space = tiny_study("mine", "auto", "believed"), tiny_engine.network.space
    study.enqueue(space, space.uniform(8), "uniform 8")
    study.enqueue(space, space.uniform(1), "narrowest")
    probe(study, tiny_engine, 64)
    run(study, tiny_engine, 12, Silent())
    records = study.records()
    assert [record.state for record in records[:2]] == [State.COMPLETE] * 2
    pruned = [record for record in records if record.state is State.PRUNED]
    assert 4 <= len(pruned) <= 8
    assert all(record.epochs == 1 and "pruned after epoch 1" in record.cause for record in pruned)
    assert not {record.number for record in pruned} & {candidate.record.number for candidate in ranked(study)}
    taught = trainings(study)
    assert [(t.metric is None, len(t.curve)) for t in taught] == [
        (record.state is State.PRUNED, record.epochs) for record in records
    ]
    assert all(candidate.believed is not None for candidate in ranked(study))


def test_the_pruner_believed_needs_the_sampler_auto_and_a_score(tiny_study):
    with pytest.raises(ConfigError, match="the pruner believed needs the sampler auto, but got tpe"):
        tiny_study("mine", "tpe", "believed")


def test_what_is_believed_ranks_configs_and_repeats_count(tiny_engine, tiny_study):
    study, space = tiny_study(sampler="random"), tiny_engine.network.space
    run(study, tiny_engine, 4, Silent())
    assert [candidate.believed for candidate in ranked(study)] == [None] * 4
    probe(study, tiny_engine, 64)
    found = ranked(study)
    assert [c.believed for c in found] == sorted((c.believed for c in found), reverse=True)
    last = found[-1].record
    curve = [{"accuracy": 1.0, "val_accuracy": 1.0}] * 2
    for index in range(1, 9):
        study.keep(repeat_key(last.number, index), {"metric": 1.0, "score": 1.0 + last.delta, "curve": curve})
    assert len(trainings(study)) == 12
    again = {candidate.record.number: candidate.believed for candidate in ranked(study)}
    assert again[last.number] > found[-1].believed
    metrics = sorted(candidate.believed_metric for candidate in ranked(study))
    study._set_provenance(goal={**study.provenance.goal, "floor": (metrics[1] + metrics[2]) / 2})
    study = open_study("tiny")
    above = [candidate.believed_metric >= study.goal.floor for candidate in ranked(study)]
    assert above == sorted(above, reverse=True)
    assert {True, False} == {*above}
    elsewhere = Config({site: QuantizerSpec(7) for site in space.uniform(8)})  # on no menu: it teaches nothing
    assert not is_on_menus(tuple(kept(study).values()), elsewhere)
    trained, config = Trained(elsewhere, 0.1, np.zeros((0, 2))), space.uniform(8)
    assert beliefs_of(study, [trained]).metrics([config]) == beliefs_of(study, []).metrics([config])


def test_a_budget_is_answered_without_training(tiny_engine, tiny_study):
    study, space = tiny_study(sampler="random"), tiny_engine.network.space
    with pytest.raises(StudyError, match="aren't known yet"):
        solved(study, tiny_engine.file, space, ["flash=700"])
    probe(study, tiny_engine, 64)
    answer = solved(study, tiny_engine.file, space, ["flash=900", "bits=20000"])
    assert dict(zip([c.name for c in answer.costs], answer.most, strict=True)) == {"flash": 900.0, "bits": 20000.0}
    assert all(value <= most for value, most in zip(answer.values, answer.most, strict=True))
    assert answer.trainings == 0
    damages = [row.damages for row in known(study, space)[0]]

    def damage(config: Config) -> float:
        return sum(float(d[p]) for d, p in zip(damages, space.positions([config])[0], strict=True))

    rng = np.random.default_rng(0)
    inside = [
        config
        for config in space.configs(space.draw(rng, 2000))
        if all(cost(config) <= most for cost, most in zip(answer.costs, answer.most, strict=True))
    ]
    assert len(inside) > 20
    assert damage(answer.config) <= min(map(damage, inside)) + 1e-6
    run(study, tiny_engine, 3, Silent())
    assert solved(study, tiny_engine.file, space, ["flash=900"]).trainings == 3
    for limits, message in (
        (["accuracy=0.9"], "can't be limited without training"),
        (["flash=1"], "no config of the space meets these limits"),
        ([], "give a limit, such as --limit flash=300KB"),
    ):
        with pytest.raises(ConfigError, match=message):
            solved(study, tiny_engine.file, space, limits)


def test_a_guide_believes_what_was_measured(tiny_engine, tiny_study):
    study, space = tiny_study(sampler="auto"), tiny_engine.network.space
    probe(study, tiny_engine, 64)
    guide = guide_of(study, space, tiny_engine.scoring)
    assert guide.prior.metric == study.kept("float")["float"]["validation"]
    narrow = space.positions([space.uniform(1)])[0]
    lost = guide.prior.metric - study.kept("untrained")["untrained"]["validation"]
    believed = guide.prior.metric - guide.surrogate([]).mean().predict(narrow[None])[0]
    assert lost > 0.05, "2 bits harm, or this shows nothing"
    assert believed == pytest.approx(0.125 * lost)


def test_training_is_believed_to_take_back_more_of_what_kernels_do(tiny_engine, tiny_study):
    study = tiny_study(sampler="auto")
    probe(study, tiny_engine, 64)
    rows, facts = known(study, tiny_engine.network.space)[0], tiny_engine.network.facts
    assert {row.role for row in rows} == {"kernel", "bias", "activation"}
    for row in rows:
        assert row.role == facts.by_name[row.sites[0]].role
        part = 0.4 if row.role == "kernel" else 1.0
        assert row.damages == pytest.approx(part * np.sqrt(row.divergences))


def test_the_heat_map(tiny_engine, tiny_study, tmp_path):
    study = tiny_study()
    rows = probe(study, tiny_engine, 64)
    data = heatmap_data(rows)
    assert data["specs"][0] == "2 auto"
    assert data["tensors"][0] == "input/activation"
    assert data["divergences"][0][data["specs"].index("4 auto_po2")] == rows[0].divergences[0]
    assert data["divergences"][0][0] is None, "no input is of 2 bits"
    file = tmp_path / "figure.html"
    write_heatmap(rows, "tiny", file)
    text = file.read_text()
    assert "input\\u002factivation" in text
    assert "https://cdn" not in text[:2000]
    with pytest.raises(ConfigError, match=r"written as an \.html file"):
        write_heatmap(rows, "tiny", tmp_path / "figure.png")
