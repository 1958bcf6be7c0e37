"""Configs that a user wants tried: from a file, from another study, of one width."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mpsearch.config import Config, QuantizerSpec
from mpsearch.errors import ConfigError, StudyError
from mpsearch.ranking import ranked
from mpsearch.space import ResolvedSpace
from mpsearch.study import Study


def config_from_file(path: Path, space: ResolvedSpace) -> Config:
    """The config in a JSON file: site to spec (`{"bits": 8, "alpha": "auto"}`) or to width (`8`).

    What `mpsearch study best --json` and `study show --trial --json` print is read as well. A width stands for the
    first spec on the site's menu that has it.

    Raises:
        ConfigError: the file can't be read, or its config isn't in the space.
    """
    try:
        data: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"can't read {path}: {error}") from error
    if isinstance(data, list) and len(data) == 1:
        data = data[0]
    if isinstance(data, dict) and isinstance(data.get("config"), dict):
        data = data["config"]
    if not isinstance(data, dict):
        raise ConfigError(f"{path} must map sites to specs or widths, but holds a {type(data).__name__}")
    return config_from_mapping(data, space)


def config_from_mapping(data: Mapping[str, Any], space: ResolvedSpace) -> Config:
    """The config of a mapping from each site to its spec (a `QuantizerSpec`, or as in JSON) or width.

    Raises:
        ConfigError: it isn't in the space.
    """
    config = Config({site: _spec(site, value, space) for site, value in data.items()})
    space.picks(config)  # raises where it isn't in the space
    return config


def config_from_study(study: Study, trial: int | None, space: ResolvedSpace) -> tuple[Config, str]:
    """The config of another study's trial, or of its best one, and what to call its origin.

    Raises:
        StudyError: there is no such trial.
        ConfigError: its config isn't in the space.
    """
    if trial is None:
        candidates = ranked(study, 1)
        if not candidates:
            raise StudyError(f"`{study.name}` has no complete trial yet")
        record = candidates[0].record
    else:
        record = study.record(trial)
    if record.config is None:
        raise StudyError(f"trial {record.number} of `{study.name}` has no config ({record.state})")
    space.picks(record.config)
    return record.config, f"{study.name} trial {record.number}"


def _spec(site: str, value: Any, space: ResolvedSpace) -> QuantizerSpec:
    if isinstance(value, QuantizerSpec):
        return value
    if not isinstance(value, int):
        return QuantizerSpec.from_json(value)
    if site not in space.menus:
        raise ConfigError(f"there is no site `{site}` in the space; it has {', '.join(space.sites)}")
    found = [spec for spec in space.menus[site].specs if spec.bits == value]
    if not found:
        raise ConfigError(f"`{site}` may be one of: {space.menus[site]}, but the config has {value} bits")
    return found[0]
