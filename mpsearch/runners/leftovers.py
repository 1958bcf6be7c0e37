"""What dead processes left of a study that is at its end: no run is there to take it up."""

import time
from collections.abc import Callable

from mpsearch.leases import Pace, Watch
from mpsearch.runners.ledger import POLL
from mpsearch.study import Study


def settle(study: Study, say: Callable[[str], None], pace: Pace | None = None) -> None:
    """Recover the trials of processes that died; those of living ones are left alone.

    Whether a process on another machine lives is seen by its heartbeat, which may take minutes.

    Args:
        study: with or without running trials.
        say: is told where that takes time.
        pace: of leases.

    Raises:
        StudyError: another process changes the study.
    """
    beats = {trial.number: trial.user_attrs.get("beat") for trial in study.running()}
    if not beats:
        return
    watch, said = Watch(pace), False
    with study.shared():
        while True:
            study.recover(watch)
            unknown = [
                trial.number
                for trial in study.running()
                if trial.number in beats and trial.user_attrs.get("beat") == beats[trial.number]
            ]
            if not unknown:
                return
            if not said:
                say(f"looking whether the processes of running trials live: {', '.join(map(str, unknown))} …")
                said = True
            time.sleep(POLL)
