"""Goals end to end: no config over a limit is trained, fronts are searched for, and what can't be is refused."""

import dataclasses
import json

import pytest

from mpsearch import Space, bits
from mpsearch.aiming import make_goal, reachable, refuse_beyond
from mpsearch.config import QuantizerSpec
from mpsearch.costs.measured import Row
from mpsearch.costs.profile import load_profile
from mpsearch.costs.registry import make_cost, register_cost
from mpsearch.creation import check_unchanged, provenance_of
from mpsearch.errors import ConfigError, DataMissingError, StudyError
from mpsearch.goal import Goal, Objective, split_limits
from mpsearch.ranking import ranked
from mpsearch.records import State
from mpsearch.runners.inprocess import run
from mpsearch.runners.ledger import Ledger
from mpsearch.runners.limits import Limits
from mpsearch.runners.weights import weights_file
from mpsearch.searching.budgets import budget_of
from mpsearch.searching.dominated import DominatedPruner, surpasses
from mpsearch.searching.scoring import Scoring
from mpsearch.study import create_study, open_study
from mpsearch.surveying import survey
from mpsearch.upkeep import copy_study, import_study, to_csv, to_json

SAMPLERS = ["tpe", "random", "qmc", "grid", "nsga2", "cmaes"]
SEVERAL = ["tpe", "random", "qmc", "grid", "nsga2", "nsga3"]


class Silent:
    def __init__(self):
        self.trained = []

    def trial_started(self, number, config):
        self.trained.append(config)

    def epoch_ended(self, number, epoch, logs): ...
    def trial_ended(self, record): ...


@pytest.fixture
def study(tiny_engine, tmp_path, monkeypatch):
    """Makes studies of the tiny task with a goal."""
    monkeypatch.chdir(tmp_path)

    def make(name, sampler="tpe", pruner="none", pruner_options=None, sampler_options=None, **wanted):
        file, space = tiny_engine.file, tiny_engine.network.space
        goal = make_goal(file, space, **wanted)
        reachable(file, space, goal)
        made = provenance_of(file, tiny_engine.data, space, 0, sampler, pruner, sampler_options, pruner_options, goal)
        return create_study(name, made)

    return make


@pytest.fixture
def goal_engine(tiny_engine):
    """The tiny engine, whose trials cost nothing: it makes a metric of a config's widths."""

    class Quick:
        file, network, task, data = tiny_engine.file, tiny_engine.network, tiny_engine.task, tiny_engine.data

        def __init__(self):
            self.calls = []

        def train(self, config, seed, report, callbacks):
            self.calls.append(config)
            metric = sum(spec.bits for spec in config.values()) / (16.0 * len(config))
            for epoch in range(2):
                report(epoch, {"val_accuracy": metric * (0.5 + epoch / 2), "loss": 1.0})
            return type("Outcome", (), {"seconds": 0.1, "state": []})()

    return Quick()


LIMITS = ["flash=900", "ram=120", "energy=0.9nJ"]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_no_config_over_a_limit_is_trained(study, goal_engine, sampler):
    options = {"population_size": 5} if sampler == "nsga2" else {}
    made = study(sampler, sampler, sampler_options=options, limits=LIMITS)
    progress = Silent()
    run(made, goal_engine, 15, progress)
    facts, goal = goal_engine.network.facts, made.goal
    costs = {name: make_cost(name, facts) for name in goal.limits}
    assert goal.limits == {"flash": 900.0, "ram": 120.0, "energy": 900.0}
    assert len(progress.trained) == 15
    for config in progress.trained:
        for name, most in goal.limits.items():
            assert costs[name](config) <= most * (1 + 1e-9), name
    over = [c for c in (goal_engine.network.space.nth(i * 67) for i in range(50)) if costs["flash"](c) > 900]
    assert len(over) > 10, "without the limits many would be over"
    for record in made.records():
        assert record.costs["flash"] == costs["flash"](record.config)
        assert set(record.costs) == {"parameter_bits", "activation_bits", "total_bits", "flash", "ram", "energy"}


def test_a_queued_config_over_a_limit_fails_untrained(study, goal_engine):
    made, space = study("queued", limits=LIMITS), goal_engine.network.space
    made.enqueue(space, space.uniform(16), "another program")
    run(made, goal_engine, 2, Silent())
    first = made.record(0)
    assert first.state is State.FAILED
    assert first.cause.startswith("over budget, not trained: flash ")
    assert len(goal_engine.calls) == 1
    with pytest.raises(ConfigError, match="uniform 16 is over budget, and would never be trained: flash"):
        refuse_beyond(
            budget_of(space, Scoring.of(goal_engine.file, space.facts, made.goal)), space.uniform(16), "uniform 16"
        )


def test_limits_that_can_not_be_met_are_refused_with_numbers(study, goal_engine):
    file, space = goal_engine.file, goal_engine.network.space
    goal = make_goal(file, space, limits=["flash=300", "ram=1KB"])
    with pytest.raises(
        ConfigError, match=r"(?s)flash: the cheapest config has \d+ bytes > 300 bytes.*ram: .* ≤ 1\.0 KB"
    ):
        reachable(file, space, goal)
    least = make_cost("flash", space.facts)(space.uniform(2))
    assert reachable(file, space, dataclasses.replace(goal, limits={"flash": least}))[1][0].met


def test_below_the_least_metric_a_trial_is_no_good(study, goal_engine, monkeypatch):
    made = study("floor", "random", limits=["accuracy=0.4"])
    run(made, goal_engine, 12, Silent())
    records, told = made.records(), [trial.values[0] for trial in made.frozen_trials()]
    short = [record for record in records if record.metric < 0.4]
    good = [record for record in records if record.metric >= 0.4]
    assert short
    assert good
    assert max(told[r.number] for r in short) < 0 < min(told[r.number] for r in good)
    assert sorted(short, key=lambda r: r.metric) == sorted(short, key=lambda r: told[r.number])
    best = made.best(None)
    assert [made.is_short(record) for record in best] == sorted(made.is_short(record) for record in best)
    assert best[0].score == max(record.score for record in good)
    assert [c.record.number for c in ranked(made)] == [record.number for record in best]
    lucky = [dataclasses.replace(short[0], score=2.0), *good]
    assert Limits(score=1.9).reached(lucky, 0.0, made.goal.floor) is None
    assert Limits(score=1.9).reached(lucky, 0.0) is not None
    monkeypatch.setattr(type(made), "records", lambda self: lucky)
    monkeypatch.setattr(type(made), "best", lambda self, count=None: [*good, lucky[0]])
    assert ranked(made)[-1].record is lucky[0]


@pytest.mark.parametrize("sampler", SEVERAL)
def test_a_front_is_searched_for_and_goes_on_as_if_never_stopped(study, goal_engine, sampler):
    options = {"population_size": 5} if sampler in ("nsga2", "nsga3") else {}
    wanted = {"objective": "pareto", "costs": ("flash", "energy"), "sampler_options": options}
    whole = study("whole", sampler, **wanted)
    run(whole, goal_engine, 14, Silent())
    study("parts", sampler, **wanted)
    for trials in (3, 8, 14):
        run(open_study("parts"), goal_engine, trials, Silent())
    again = open_study("parts")
    assert [r.fingerprint for r in again.records()] == [r.fingerprint for r in whole.records()]
    for record, trial in zip(whole.records(), whole.frozen_trials(), strict=True):
        assert trial.values == [record.metric, record.costs["flash"], record.costs["energy"]]
    assert whole.goal == Goal(Objective.PARETO, ("flash", "energy"))


def test_a_front_survives_copying_export_and_import(study, goal_engine, tmp_path):
    made = study("mine", "nsga2", objective="pareto", costs=("flash",), limits=["ram=120"])
    made.keep_facts(goal_engine.network.facts)
    run(made, goal_engine, 4, Silent())
    (tmp_path / "mine.json").write_text(json.dumps(to_json(made)))
    for other in (copy_study("mine", "copy"), import_study(tmp_path / "mine.json", "imported")):
        assert other.goal == made.goal
        assert [t.values for t in other.frozen_trials()] == [t.values for t in made.frozen_trials()]
        assert other.records() == made.records()
        assert other.facts == goal_engine.network.facts
        run(other, goal_engine, 6, Silent())
        assert other.finished == 6


def test_tied_sites_move_together(tiny_engine):
    space = Space(kernel=bits(2, 4, 8), bias=bits(8, 16), activation=bits(4, 8)).tie("conv", "logits", roles=["kernel"])
    resolved = space.resolve(tiny_engine.network.facts)
    goal = Goal(limits={"flash": 700.0})
    budget = budget_of(resolved, Scoring.of(tiny_engine.file, resolved.facts, goal))
    moved = budget.repaired(resolved.uniform(8))
    assert moved in resolved
    assert moved["conv/kernel"] == moved["logits/kernel"] != resolved.uniform(8)["conv/kernel"]


def test_the_score_may_count_any_cost(study, goal_engine):
    made = study("flash", costs=("flash",))
    run(made, goal_engine, 3, Silent())
    space = goal_engine.network.space
    flash = make_cost("flash", space.facts)
    kernels = {"kernel": 16, "bias": 31, "activation": 16}
    reference = flash({s.name: QuantizerSpec(kernels[s.role.value]) for s in space.facts.sites})
    forgiving = goal_engine.file.forgiving
    for record in made.records():
        assert record.delta == pytest.approx(forgiving.delta(flash(record.config), reference))
        assert record.score == pytest.approx(record.metric * (1 + record.delta))


def test_dominated_trials_are_stopped(study, goal_engine):
    options = {"n_startup_trials": 2, "n_dominating": 1}
    made = study("pruned", "random", "dominated", options, objective="pareto", costs=("flash",))
    space = goal_engine.network.space
    for width in (8, 4):
        made.enqueue(space, space.uniform(width), f"uniform {width}")

    def train(config, seed, report, callbacks):
        metric = 0.9 if made.records()[-1].number < 2 else 0.1
        for epoch in range(2):
            report(epoch, {"val_accuracy": metric, "loss": 1.0})
        return type("Outcome", (), {"seconds": 0.1, "state": []})()

    goal_engine.train = train
    run(made, goal_engine, 5, Silent())
    flash = make_cost("flash", space.facts)
    for record in made.records()[2:]:
        dearer = flash(record.config) >= flash(space.uniform(4))
        assert (record.state is State.PRUNED) == dearer
        if dearer:
            assert record.epochs == 1
    assert any(record.state is State.PRUNED for record in made.records())
    assert [len(t.curve) for t in made.tried(space)] == [record.epochs for record in made.records()]


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "nsga3"])
def test_samplers_go_on_beside_pruned_trials_and_tables_are_shown_of_broken_ones(study, goal_engine, sampler):
    options = {"n_startup_trials": 1, "n_dominating": 1}
    sampling = {} if sampler == "tpe" else {"population_size": 5}
    made = study(sampler, sampler, "dominated", options, sampling, objective="pareto", costs=("flash",))
    run(made, goal_engine, 20, Silent())
    assert any(record.state is State.PRUNED for record in made.records())
    with Ledger(made, goal_engine.file, goal_engine.network.space, Limits(trials=30), Silent()) as ledger:
        assert ledger.next() is not None
        assert made.records()[-1].costs == {}
    assert made.records()[-2].state is State.BROKEN
    assert "broken" in to_csv(made)
    run(open_study(sampler), goal_engine, 22, Silent())


def test_a_cost_that_can_not_be_computed_costs_no_try(study, goal_engine, monkeypatch):
    made = study("mistake", "random")

    def broken(self, config):
        raise ConfigError("the cost failed")

    monkeypatch.setattr(Scoring, "costs", broken)
    with pytest.raises(ConfigError, match="the cost failed"):
        run(made, goal_engine, 2, Silent())
    assert [record.state for record in made.records()] == [State.BROKEN, State.WAITING]
    monkeypatch.undo()
    run(made, goal_engine, 1, Silent())
    assert made.frozen_trials()[1].user_attrs["attempt"] == 1


def test_asha_is_refused_for_a_front(study, goal_engine):
    pytest.importorskip("ray")
    from mpsearch.runners.ray_tune import Cluster, run_on_ray

    made, space = study("front", objective="pareto"), goal_engine.network.space
    with pytest.raises(ConfigError, match="asha stops trials by their score, but the study looks for a front"):
        run_on_ray(
            made, goal_engine.file, goal_engine.data, space, Limits(trials=1), Silent(), Cluster(scheduler="asha")
        )


def test_surpassing_is_being_nowhere_worse_and_somewhere_better():
    assert surpasses((0.9, 5.0), (0.8, 5.0))
    assert surpasses((0.9, 4.0), (0.9, 5.0))
    assert not surpasses((0.9, 5.0), (0.9, 5.0))
    assert not surpasses((0.9, 6.0), (0.8, 5.0))
    with pytest.raises(ValueError, match="at least"):
        DominatedPruner(n_dominating=0)


def test_a_profile_brings_its_memory_and_its_widths(study, goal_engine):
    file, space = goal_engine.file, goal_engine.network.space
    goal = make_goal(file, space, profile="stm32l4r9", limits=["ram=150"])
    assert goal.limits == {"flash": 2.0 * 1024**2, "ram": 150.0, "unsupported": 0.0}
    made = study("device", "random", profile="stm32l4r9")
    progress = Silent()
    run(made, goal_engine, 10, progress)
    unsupported = Scoring.of(file, space.facts, goal).models["unsupported"]
    assert {unsupported(config) for config in progress.trained} == {0.0}
    assert len({config.fingerprint for config in progress.trained}) > 5
    assert unsupported(space.uniform(2)) == 3


@pytest.mark.parametrize(
    ("wanted", "error", "message"),
    [
        ({"objective": "best"}, ConfigError, "the objective must be score or pareto, but got 'best'"),
        ({"costs": ("flash", "ram")}, ConfigError, "takes one cost, but got flash, ram"),
        ({"costs": ("flesh",)}, ConfigError, "there is no cost 'flesh'; did you mean 'flash'"),
        ({"costs": ("flash", "flash"), "objective": "pareto"}, ConfigError, "each once"),
        ({"costs": ("latency",)}, ConfigError, "latency needs a device"),
        ({"limits": ["flash"]}, ConfigError, "a limit is written as flash=2MB or accuracy=0.8, but got 'flash'"),
        ({"limits": ["flash=2MB", "flash=1MB"]}, ConfigError, "two limits on flash: 2MB and 1MB"),
        ({"limits": ["flash=two"]}, ConfigError, "`limit flash` must be a number of bytes"),
        ({"limits": ["accuracy=80"]}, ConfigError, "above 0 and at most 1, but got 80"),
        ({"limits": ["ram=-5"]}, ConfigError, "the limit on ram must be at least 0"),
        ({"profile": "stm32"}, DataMissingError, "no hardware profile 'stm32'; did you mean"),
        ({"objective": "pareto", "sampler": "gp"}, ConfigError, "the sampler gp can't work for the objective pareto"),
        ({"objective": "pareto", "pruner": "median"}, ConfigError, "the pruner median can't work .*: none, dominated"),
        ({"pruner": "dominated"}, ConfigError, "the pruner dominated can't work for the objective score"),
    ],
)
def test_goals_that_are_none_are_refused(study, wanted, error, message):
    with pytest.raises(error, match=message):
        study("none", **wanted)


def test_a_cost_that_changed_is_noticed(study, goal_engine, tiny_engine):
    price = 3.0
    register_cost("price", lambda facts, config: price * sum(spec.bits for spec in config.values()))
    made = study("changed", costs=["price"])
    run(made, goal_engine, 2, Silent())
    inputs = made, tiny_engine.file, tiny_engine.data, tiny_engine.network.space
    assert check_unchanged(*inputs) == []
    price = 4.0
    with pytest.raises(StudyError, match=r"can't be compared .*\n?.*price of trial 0: \d+ in the study, \d+ now"):
        check_unchanged(*inputs)


def test_weights_of_the_front_are_kept(study, goal_engine, monkeypatch):
    monkeypatch.setattr("mpsearch.runners.weights.KEPT", 1)
    made = study("kept", "random", objective="pareto", costs=["flash", "energy"])
    run(made, goal_engine, 12, Silent())
    front = survey(made, goal_engine.file, goal_engine.network.facts)
    members = {front.records[n].number for n in front.front.members}
    kept = {record.number for record in made.records() if weights_file(made, record.number).exists()}
    assert 2 < len(members) < 12
    assert kept == members | {made.best(1)[0].number}


def test_goals_survive_as_plain_data():
    rows = (Row("Dense", "6", "*", 8, None, 10.5),)
    goal = Goal(Objective.PARETO, ("flash", "ram"), {"flash": 5.0}, 0.5, load_profile("stm32l4r9"), rows)
    assert Goal.from_json(json.loads(json.dumps(goal.to_json()))) == goal
    assert Goal.from_json({}) == Goal()
    assert goal.all_costs == ("flash", "ram")
    assert split_limits(["flash=1", "AUC=0.5"], "AUC") == ({"flash": "1"}, "0.5")
