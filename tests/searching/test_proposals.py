"""What samplers propose, and that stopping, breaking off and resuming change nothing of it."""

import importlib.util
from collections import Counter

import optuna
import pytest
from scipy.stats import qmc

from mpsearch.config import Role
from mpsearch.errors import ConfigError
from mpsearch.facts import LayerFacts, ModelFacts, SiteFacts
from mpsearch.menu import bits
from mpsearch.provenance import Provenance
from mpsearch.records import State, TrialRecord
from mpsearch.searching import proposals
from mpsearch.searching.parameters import config_of, distributions, parameters_of
from mpsearch.searching.samplers import check_space, derived_seed, make_pruner, make_sampler
from mpsearch.searching.sequences import nth_config
from mpsearch.space import Space
from mpsearch.study import Study
from mpsearch.trials import SearchEndedError

LAYERS = ("a", "b", "c")
FACTS = ModelFacts(
    "m",
    tuple(SiteFacts(f"{layer}/{role.value}", layer, "Dense", role, (4, 2)) for layer in LAYERS for role in Role),
    tuple(LayerFacts(layer, "Dense") for layer in LAYERS),
    4,
)
SPACE = Space(kernel=bits(2, 4, 8, 16), bias=bits(8, 16), activation=bits(2, 4, 8)).resolve(FACTS)
WITH_ALPHAS = Space(kernel=bits(4, 8, alpha=("auto", "auto_po2")), bias=bits(16), activation=bits(4, 8)).resolve(FACTS)
LIMITED = Space(kernel=bits(2, 4, 8, 16), bias=bits(8, 16), activation=bits(2, 4, 8))
LIMITED = LIMITED.limit("kernel", "<=", "activation").resolve(FACTS)
TORCH = importlib.util.find_spec("torch") is not None
CASES = {
    "random": ("random", {}),
    "grid": ("grid", {}),
    "tpe": ("tpe", {"n_startup_trials": 4}),
    "tpe in groups": ("tpe", {"n_startup_trials": 4, "group": True}),
    "qmc": ("qmc", {}),
    "halton": ("qmc", {"sequence": "halton", "scramble": False}),
    "nsga2": ("nsga2", {"population_size": 4}),
    "cmaes": ("cmaes", {"popsize": 4}),
    "cmaes without margin": ("cmaes", {"popsize": 4, "with_margin": False}),
} | ({"gp": ("gp", {"n_startup_trials": 4})} if TORCH else {})
FEWER = {"gp": 7}  # trials: its suggestions take long


def new(tmp_path, sampler, options, seed=0, space=SPACE, name=None):
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(storage=optuna.storages.InMemoryStorage(), study_name=name, direction="maximize")
    empty = dict.fromkeys(("space_path", "space_text", "space_hash", "space_fingerprint", "data_fingerprint"), "")
    was = Provenance(**empty, space_size="1", versions={}, seed=seed, sampler=sampler, pruner="none", metric="accuracy",
                     reference_costs={}, sites=[], created="", sampler_options=options)  # fmt: skip
    study.set_user_attr("mpsearch", vars(was))
    made = Study(study, tmp_path)
    made.enqueue(space, space.uniform(8), "uniform 8")
    return made


def go_on(study, trials, broken=(), space=SPACE):
    """Run a study until it has so many trials; asks with a number in `broken` are cut off, by death or by the user."""
    asked = 0
    while study.finished < trials:
        number, config, *_ = study.ask(space)
        asked += 1
        if asked in broken:
            study.interrupt(number) if asked % 2 else study.recover()
            continue
        score = sum(1 / spec.bits for spec in config.values()) + (config["a/kernel"].bits == 4)
        study.complete(number, TrialRecord(number, State.COMPLETE, metric=1.0, score=score))
    done = [record for record in study.records() if record.state is State.COMPLETE]
    return sorted((record.sequence, record.fingerprint) for record in done)


@pytest.mark.parametrize("case", CASES)
def test_a_study_resumed_after_every_trial_or_broken_off_gives_the_same_trials(tmp_path, case):
    count = FEWER.get(case, 14)
    whole = go_on(new(tmp_path, *CASES[case]), count)
    stopped = new(tmp_path, *CASES[case])
    for trials in range(1, count + 1):
        resumed = go_on(Study(stopped._study, tmp_path), trials)
    assert resumed == whole
    assert go_on(new(tmp_path, *CASES[case]), count, broken=(1, 2, 5, 6, 9, 14, 15, 18)) == whole


@pytest.mark.parametrize("case", [case for case in CASES if case not in ("grid", "halton")])
def test_another_seed_gives_other_trials(tmp_path, case):
    assert go_on(new(tmp_path, *CASES[case]), 8) != go_on(new(tmp_path, *CASES[case], seed=1), 8)


@pytest.mark.parametrize("case", ["tpe", "nsga2", "cmaes", *(["gp"] if TORCH else [])])
def test_a_proposal_from_the_copy_is_that_of_optuna_on_the_study_itself(tmp_path, case):
    """The copy must lose nothing that the sampler reads."""
    name, options = CASES[case]
    study = new(tmp_path, name, options)
    go_on(study, 12)
    number, _, sequence, *_ = study.ask(SPACE)
    reference = optuna.create_study(direction="maximize")
    for frozen in study.frozen_trials()[:12]:
        reference.add_trial(frozen)
    reference.sampler = make_sampler(name, derived_seed(0, sequence, "sampler"), options)
    assert reference.ask(distributions(SPACE)).params == study.frozen_trials()[number].params


@pytest.mark.parametrize("case", CASES)
def test_under_limits_a_trial_stores_the_widths_that_were_trained_and_samplers_learn_from_them(
    tmp_path, case, monkeypatch
):
    count = FEWER.get(case, 12)
    whole = new(tmp_path, *CASES[case], space=LIMITED)
    told = go_on(whole, count, space=LIMITED)
    for trial in whole.frozen_trials():
        config = config_of(LIMITED, trial.params)
        assert config.fingerprint == trial.user_attrs["fingerprint"]
        assert trial.params == parameters_of(LIMITED, config)
    made, empty = [], proposals._empty
    monkeypatch.setattr(proposals, "_empty", lambda *a: made.append(1) or empty(*a))
    stopped = new(tmp_path, *CASES[case], space=LIMITED)
    assert go_on(stopped, count, space=LIMITED) == told
    assert len(made) <= 2  # the copy in memory is gone on with, not made anew for each trial
    again = new(tmp_path, *CASES[case], space=LIMITED)
    for trials in range(1, count + 1):
        resumed = go_on(Study(again._study, tmp_path), trials, space=LIMITED)
    assert resumed == told


def test_random_draws_every_config_that_limits_allow_with_the_same_probability():
    space = Space(kernel=bits(2, 4, 8), activation=bits(2, 8)).limit("kernel", "<=", "activation")
    space = space.tie("*").resolve(FACTS)
    drawn = Counter(nth_config("random", space, index, 0, {}).fingerprint for index in range(400))
    assert len(drawn) == space.size == 4
    assert all(70 <= count <= 130 for count in drawn.values())  # 100 ± 3.5 standard deviations


def test_nsga2_takes_queued_configs_into_its_population(tmp_path):
    study = new(tmp_path, "nsga2", {"population_size": 4})
    go_on(study, 3)
    generations = [
        {value for key, value in trial.system_attrs.items() if "generation" in key} for trial in study.frozen_trials()
    ]
    assert generations == [{0}] * 3


def test_qmc_takes_the_points_of_the_sequence_in_turn():
    known = distributions(SPACE)
    sobol = qmc.Sobol(len(known), scramble=True, rng=derived_seed(3, 0, "qmc")).random(16)
    for index, point in enumerate(sobol):
        expected = {name: int(u * (d.high + 1)) for (name, d), u in zip(known.items(), point, strict=True)}
        assert parameters_of(SPACE, nth_config("qmc", SPACE, index, 3, {})) == expected
    one = Space(kernel=bits(2, 4, 8, 16)).resolve(FACTS)
    first = [nth_config("qmc", one, index, 0, {})["a/kernel"].bits for index in range(16)]
    assert sorted(first) == sorted([2, 4, 8, 16] * 4)  # evenly spread: each width as often as the others
    assert {nth_config("qmc", WITH_ALPHAS, index, 0, {})["a/kernel"].alpha.value for index in range(8)} == {
        "auto",
        "auto_po2",
    }


def test_the_grid_ends(tmp_path, monkeypatch):
    study = new(tmp_path, "grid", {})
    go_on(study, 4)
    monkeypatch.setattr(type(SPACE), "size", 3)
    with pytest.raises(SearchEndedError, match="all 3 configs of the grid were tried"):
        study.ask(SPACE)


def test_cmaes_takes_widths_alone():
    check_space("cmaes", distributions(SPACE))
    check_space("tpe", distributions(WITH_ALPHAS))
    with pytest.raises(ConfigError, match="cmaes takes widths alone, but the space searches scale modes"):
        check_space("cmaes", distributions(WITH_ALPHAS))


def test_gp_names_the_extra_that_it_needs(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"gp needs torch, which isn't installed: pip install 'mpsearch\[gp\]'"):
        make_sampler("gp", 0)


@pytest.mark.parametrize(
    ("make", "name", "options", "message"),
    [
        (make_sampler, "tpe", {"n_startup_trails": 2}, r"tpe takes n_startup_trials \(an integer\), .* but got"),
        (make_sampler, "tpe", {"n_startup_trials": 2.5}, "must be an integer, but got 2.5"),
        (make_sampler, "tpe", {"group": 1}, "group of the sampler tpe must be true or false, but got 1"),
        (make_sampler, "random", {"seed": 1}, "random takes no options, but got seed=1"),
        (make_sampler, "qmc", {"sequence": "lattice"}, "must be sobol or halton, but got 'lattice'"),
        (make_sampler, "cmaes", {"popsize": 3}, "must be at least 4, but got 3"),
        (make_sampler, "nsga2", {"population_size": 1}, "nsga2 can't work with these options"),
        (make_pruner, "median", {"percentile": 2.0}, "median takes n_startup_trials"),
        (make_pruner, "percentile", {"percentile": 120.0}, "percentile can't work with these options"),
        (make_pruner, "hard", {}, "pruner must be one of none, believed, median, percentile, hyperband, wilcoxon"),
    ],
)
def test_options_are_checked_against_what_the_method_takes(make, name, options, message):
    arguments = (name, 0, options) if make is make_sampler else (name, options)
    with pytest.raises(ConfigError, match=message):
        make(*arguments)


def test_options_reach_optuna():
    assert make_sampler("tpe", 0, {"n_startup_trials": 3})._n_startup_trials == 3
    assert make_sampler("nsga2", 0, {"population_size": 7}).population_size == 7
    pruner = make_pruner("percentile", {"percentile": 10.0, "n_warmup_steps": 2})
    assert (pruner._percentile, pruner._n_warmup_steps) == (10.0, 2)
    assert make_pruner("hyperband", {"max_resource": 9})._max_resource == 9
    assert make_pruner("wilcoxon", {"p_threshold": 0.2})._p_threshold == 0.2


def pruned(study, seed=0, broken=()):
    """Epochs of the trials of a study under hyperband, by place; asks with a number in `broken` are cut off."""
    study._study.pruner = make_pruner("hyperband", {"min_resource": 1, "max_resource": 9}, seed)
    lengths, asked = {}, 0
    while study.finished < 30:
        number, _, sequence, *_ = study.ask(SPACE)
        asked += 1
        for epoch in range(9):
            hopeless = study.report(number, epoch, (sequence * 7 % 10) / 10 + 0.01 * epoch)
            if asked in broken and epoch == 4:
                study.recover()
                break
            if hopeless:
                study.fail(number, "pruned", pruned=True)
                break
        else:
            study.complete(number, TrialRecord(number, State.COMPLETE, metric=0.5, score=0.5))
        lengths[sequence] = epoch + 1
    return lengths


def test_hyperband_goes_by_seed_and_place_not_by_names_and_numbers(tmp_path):
    lengths = pruned(new(tmp_path, "random", {}, name="one"))
    assert len(set(lengths.values())) > 1
    assert pruned(new(tmp_path, "random", {}, name="another")) == lengths
    assert pruned(new(tmp_path, "random", {}, name="one"), broken=(1, 4, 11, 21)) == lengths
    assert pruned(new(tmp_path, "random", {}, name="one"), seed=1) != lengths
