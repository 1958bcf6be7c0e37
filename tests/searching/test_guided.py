"""The sampler auto: what it proposes is inside, new and good, and always the same."""

import numpy as np
import pytest

from mpsearch import Space, bits
from mpsearch.costs.bits import BitCost
from mpsearch.front import front_of
from mpsearch.goal import Goal
from mpsearch.objective import ForgivingFactor
from mpsearch.searching.guesses import Tried
from mpsearch.searching.guided import Guide
from mpsearch.searching.scoring import Scoring
from mpsearch.searching.surrogate import Prior
from tests.costs.nets import two_layers

GOALS = {
    "score": Goal(),
    "score of energy": Goal(costs=("energy",)),
    "limits": Goal(limits={"flash": 90.0, "ram": 14.0}),
    "floor": Goal(floor=0.85),
    "pareto": Goal("pareto", ("flash", "energy")),
    "pareto within limits": Goal("pareto", ("flash", "bops"), limits={"ram": 14.0}),
}


def guide(goal, space=None, seed=0):
    space = space or a_space()
    rng = np.random.default_rng(seed)
    damages = [np.sort(rng.exponential(0.3, len(c.specs)))[::-1] for c in space.choices]
    for array in damages:
        array[-1] = 0.0
    scoring = Scoring(BitCost(space.facts), ForgivingFactor(), goal)
    return Guide(space, scoring, damages, Prior(0.9, 0.05))


def a_space(*limits):
    space = Space(
        kernel=bits(2, 4, 8, alpha="auto"), bias=bits(8, 16, alpha="auto_po2"), activation=bits(2, 4, 8, alpha="auto")
    )
    for limit in limits:
        space.limit(*limit)
    return space.resolve(two_layers())


def search(guide, trials, truth, noise=0.0, seed=0):
    """What a study would do: propose, train, and so on."""
    rng, tried, configs = np.random.default_rng(seed), [], []
    for n in range(trials):
        config = guide.propose(tried, 1000 * seed + n).config
        positions = guide.space.positions([config])[0]
        tried.append(Tried(positions, truth(positions) + noise * rng.normal()))
        configs.append(config)
    return tried, configs


def hidden_truth(guide, seed=0):
    """Losses that follow the damages as training does: about, and with exceptions."""
    rng = np.random.default_rng(seed)
    losses = [0.05 * d * np.exp(0.6 * rng.normal(size=len(d))) for d in guide.damages]
    return lambda positions: 0.9 - sum(loss[p] for loss, p in zip(losses, positions, strict=True))


@pytest.mark.parametrize("name", GOALS)
def test_no_config_is_proposed_twice_and_none_is_beyond_a_limit(name):
    one = guide(GOALS[name])
    _, configs = search(one, 25, hidden_truth(one), 0.005)
    assert len({config.fingerprint for config in configs}) == 25
    for config in configs:
        assert config in one.space
        for cost, most in one.scoring.goal.limits.items():
            assert one.scoring.models[cost](config) <= most * (1 + 1e-9)


def test_limits_of_the_space_are_kept():
    space = a_space(("kernel", "<=", "activation"))
    one = guide(Goal(), space)
    _, configs = search(one, 20, hidden_truth(one), 0.005)
    assert all(config in space for config in configs)


def test_it_is_the_same_for_the_same_trials():
    one, other = guide(Goal()), guide(Goal())
    tried, _ = search(one, 6, hidden_truth(one), 0.005)
    assert one.propose(tried, 5).config == other.propose(tried, 5).config
    running = [*tried, Tried(one.space.positions([one.propose(tried, 5).config])[0], None)]
    assert one.propose(running, 5).config != one.propose(tried, 5).config, "not what is being trained"


@pytest.mark.parametrize("seed", range(4))
def test_the_best_of_all_scores_is_found(seed):
    """Against brute force over all configs: their true score is known here."""
    one = guide(Goal(), seed=seed)
    truth = hidden_truth(one, seed)

    def score(positions):
        config = next(one.space.configs(np.asarray(positions)[None]))
        return one.scoring.score(truth(positions), one.scoring.costs(config))

    everything = sorted((score(one.space.positions([config])[0]) for config in one.space), reverse=True)
    tried, _ = search(one, 15, truth, seed=seed)
    assert max(score(t.positions) for t in tried) >= everything[0] - 0.05 * (everything[0] - np.median(everything))


def test_the_floor_is_kept_to_where_it_is_believed():
    one = guide(Goal(floor=0.88))
    truth = hidden_truth(one)
    tried, _ = search(one, 12, truth)
    assert np.mean([truth(t.positions) >= 0.88 for t in tried]) > 0.6
    assert np.mean([truth(one.space.positions([c])[0]) >= 0.88 for c in one.space]) < 0.5


@pytest.mark.parametrize("seed", range(3))
def test_a_front_is_wider_than_by_chance(seed):
    one = guide(GOALS["pareto"], seed=seed)
    truth, rng = hidden_truth(one, seed), np.random.default_rng(seed)
    tried, _ = search(one, 20, truth, seed=seed)

    def volume(positions):
        costs = one._values(positions)
        return front_of([truth(p) for p in positions], costs, one._reference).hypervolume

    by_chance = [volume(one.space.draw(rng, 20)) for _ in range(20)]
    assert volume(np.array([t.positions for t in tried])) > max(by_chance)


def test_when_all_was_tried_something_is_proposed():
    space = Space(kernel=bits(4, 8, alpha="auto")).resolve(two_layers())
    one = guide(Goal(), space)
    tried = [Tried(space.positions([config])[0], 0.8) for config in space]
    assert one.propose(tried, 0).config in space


def test_failed_trials_teach_nothing_and_are_not_proposed_again():
    one = guide(Goal())
    first = one.propose([], 0).config
    failed = [Tried(one.space.positions([first])[0], None)]
    assert one.propose(failed, 0).config != first
    assert one.surrogate([]).prior == Prior(0.9, 0.05)


@pytest.mark.parametrize("name", ["score", "score of energy", "floor"])
def test_a_trial_goes_on_where_it_belongs_to_the_best_third(name):
    one = guide(GOALS[name])
    rng, costs = np.random.default_rng(3), one.scoring.costs
    places = np.unique(one.space.draw(rng, 40), axis=0)[:12]
    metrics = rng.uniform(0.86, 0.95, 12)
    noiseless = [Tried(p, float(m), np.full((2, 2), m)) for p, m in zip(places, metrics, strict=True)]
    configs = list(one.space.configs(places))
    believed = one.surrogate(noiseless).believed(places)
    scores = one.scoring.score
    ranked = np.argsort([-scores(float(m), costs(c)) for m, c in zip(believed, configs, strict=True)])
    for rank, number in enumerate(ranked):
        others = [t for n, t in enumerate(noiseless) if n != number]
        running = Tried(places[number], None, np.full((1, 2), metrics[number]))
        if rank <= 2 or rank >= 7:  # near the third what is believed changes with what is known
            assert one.is_promising(others, running) == (rank < 4)


def test_the_first_trial_goes_on_and_so_does_one_of_which_nothing_is_known():
    one = guide(Goal())
    first, second = one.space.draw(np.random.default_rng(0), 2)
    running = Tried(first, None, np.array([[0.5, 0.5]]))
    assert one.is_promising([], running)
    assert one.is_promising([Tried(second, None, np.array([[0.9, 0.9]]))], running)
    assert one.is_promising([Tried(second, 0.9)], running)
    assert not one.is_promising([Tried(second, 0.9, np.array([[0.9, 0.9], [0.9, 0.9]]))], running)


def test_stopped_trials_teach_as_well():
    one = guide(Goal())
    truth = hidden_truth(one)
    places = np.unique(one.space.draw(np.random.default_rng(5), 60), axis=0)[:30]
    curves = [np.full((2, 2), truth(place)) for place in places]
    whole = [Tried(p, float(c[0, 0]), c) for p, c in zip(places[:10], curves, strict=False)]
    stopped = [Tried(p, None, c[:1]) for p, c in zip(places[10:], curves[10:], strict=True)]
    unseen = np.unique(one.space.draw(np.random.default_rng(6), 60), axis=0)
    true = np.array([truth(place) for place in unseen])

    def error(tried):
        return float(np.abs(one.surrogate(tried).mean().predict(unseen) - true).mean())

    assert error([*whole, *stopped]) < 0.7 * error(whole)
