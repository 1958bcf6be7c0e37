"""What several commands do: choose trials, build the engine."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mpsearch.cli.silence import import_tensorflow
from mpsearch.errors import ConfigError, StudyError

if TYPE_CHECKING:
    from mpsearch.config import Alpha
    from mpsearch.data import Data
    from mpsearch.progress import EpochProgress
    from mpsearch.records import TrialRecord
    from mpsearch.searching.engine import Engine
    from mpsearch.space import ResolvedSpace
    from mpsearch.spacefile import SpaceFile
    from mpsearch.study import Study

INTERRUPTED = 130  # exit code of a command that Ctrl-C ended, as shells give it


def say(line: str) -> None:
    """Tell a user something beside the results."""
    print(line, file=sys.stderr, flush=True)


def say_loading(quiet: bool = False) -> None:
    """Tell a user what the next seconds are spent on."""
    if not quiet:
        say("loading the model and data …")


def counted(number: int, noun: str) -> str:
    """A number with its noun: 1 trial, 1,000 trials."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def trials_to_tune(study: "Study", trial: str, top: int, changed: "Alpha | None") -> "list[TrialRecord]":
    """The trials that `--trial` and `--top` name, each with a config in which `changed` can take the place of `auto`.

    Errors as of `chosen_trials` and `config_to_tune`.
    """
    from mpsearch.records import config_to_tune

    chosen = chosen_trials(study, trial, top)
    for record in chosen:
        config_to_tune(record, changed)
    return chosen


def chosen_trials(study: "Study", trial: str, top: int) -> "list[TrialRecord]":
    """The trials that `--trial` and `--top` name; in place of answered ones, those that they were answered from.

    Raises:
        ConfigError: both are given, or the trial is neither a number nor "best".
        StudyError: there are none.
    """
    if trial == "best":
        from mpsearch.ranking import ranked

        found = [candidate.record for candidate in ranked(study, top)]
        if not found:
            raise StudyError(f"`{study.name}` has no complete trial yet: mpsearch study run {study.name}")
        return found
    if top != 1:
        raise ConfigError("--top chooses among the best: give either --trial or --top")
    if not trial.isdigit():
        raise ConfigError(f"--trial must be a number or best, but got {trial!r}")
    record = study.record(int(trial))
    if record.answered_from is not None:
        say(f"trial {record.number} was answered from trial {record.answered_from}, which is taken in its place")
    return [study.trained(record)]


def accept_early(study: "Study", accept: bool) -> None:
    """Take over a change, where that is asked for, although nothing is to be run."""
    from mpsearch.changes import check_file, space_file_of

    if accept:
        check_file(study, space_file_of(study), accept)
        import_tensorflow()
        from mpsearch.creation import checked_inputs

        checked_inputs(study, accept, say)


def open_engine(study: "Study", quiet: bool, accept: bool = False, extra_alphas: "Sequence[Alpha]" = ()) -> "Engine":
    """The engine for a study's space file, if that hasn't changed; a changed one is refused at once."""
    report = _load(study, quiet, accept)
    from mpsearch.creation import engine_of

    return engine_of(study, accept, extra_alphas, report, say)


def open_inputs(study: "Study", quiet: bool, accept: bool = False) -> "tuple[SpaceFile, Data, ResolvedSpace]":
    """What other processes build a study's engines of, if that hasn't changed; a changed one is refused at once."""
    report = _load(study, quiet, accept)
    from mpsearch.creation import prepared

    return prepared(study, accept, report, say)


def _load(study: "Study", quiet: bool, accept: bool) -> "EpochProgress":
    """Import what takes long, if the study's space file allows to go on; what shows the float model's training."""
    from mpsearch.changes import check_file, space_file_of
    from mpsearch.progress import EpochProgress

    file = space_file_of(study)
    check_file(study, file, accept)
    say_loading(quiet)
    import_tensorflow()
    from mpsearch.runners.setup import grow_gpu_memory

    grow_gpu_memory()
    return EpochProgress("float", file.task.float_recipe.epochs, quiet)
