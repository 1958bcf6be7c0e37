"""Configs that a user wants tried."""

import json

import pytest

from mpsearch.errors import ConfigError, StudyError
from mpsearch.queueing import config_from_file, config_from_study
from mpsearch.records import State, TrialRecord


def written(tmp_path, data):
    path = tmp_path / "config.json"
    path.write_text(data if isinstance(data, str) else json.dumps(data))
    return path


def test_a_file_holds_specs_or_widths_or_what_other_commands_print(tiny_engine, tmp_path):
    space = tiny_engine.network.space
    config = space.uniform(8)
    widths = {site: spec.bits for site, spec in config.items()}
    record = TrialRecord(0, State.COMPLETE, config=config).to_json()
    for data in (config.to_json(), widths, {**config.to_json(), "conv/kernel": 8}, record, [record]):
        assert config_from_file(written(tmp_path, data), space) == config


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"conv/kernel": 5}, "`conv/kernel` may be one of: 2/4/8 auto, but the config has 5 bits"),
        ({"conv/kernel": {"bits": 8, "alpha": "auto_po2"}}, "`conv/kernel` may be one of"),
        ({"conv/kernal": 8}, "there is no site `conv/kernal`"),
        ({"conv/kernel": "8"}, "a spec needs `bits`"),
        ({"conv/kernel": None}, "a spec needs `bits`"),
    ],
)
def test_what_is_not_in_the_space_is_refused(tiny_engine, tmp_path, change, message):
    space = tiny_engine.network.space
    with pytest.raises(ConfigError, match=message):
        config_from_file(written(tmp_path, {**space.uniform(8).to_json(), **change}), space)


def test_an_incomplete_config_is_refused(tiny_engine, tmp_path):
    with pytest.raises(ConfigError, match="missing"):
        config_from_file(written(tmp_path, {"conv/kernel": 8}), tiny_engine.network.space)


NO_CONFIG = {"{": "can't read", "3": "must map sites to specs", "[1, 2]": "holds a list"}


@pytest.mark.parametrize("text", NO_CONFIG)
def test_what_is_no_config_is_refused(tiny_engine, tmp_path, text):
    with pytest.raises(ConfigError, match=NO_CONFIG[text]):
        config_from_file(written(tmp_path, text), tiny_engine.network.space)


def test_another_studys_best_or_any_trial_can_be_taken(tiny_study, tiny_engine):
    space, other = tiny_engine.network.space, tiny_study("other")
    with pytest.raises(StudyError, match="no complete trial yet"):
        config_from_study(other, None, space)
    configs = []
    for score in (0.5, 0.7):
        number, config, *_ = other.ask(space)
        other.complete(number, TrialRecord(number, State.COMPLETE, metric=score, score=score))
        configs.append(config)
    assert config_from_study(other, None, space) == (configs[1], "other trial 1")
    assert config_from_study(other, 0, space) == (configs[0], "other trial 0")
    other.enqueue(space, space.uniform(4), "mine")
    with pytest.raises(StudyError, match="trial 2 of `other` has no config"):
        config_from_study(other, 2, space)
