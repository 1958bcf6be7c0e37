"""Leases: which process holds a running trial, and whether it still lives.

A running trial names its holder. The holder counts a number in the study up, its heartbeat, for as long as it has the
trial; another process takes the trial to be dead when that number stands still for long enough by its own clock. No
two clocks are compared, so it doesn't matter whether they agree. A holder on the same machine is looked up among the
machine's processes as well: one that is gone needs no waiting. One that is there may have left its trial all the same.

Optuna's heartbeats work neither with ask and tell nor with journal files or its gRPC proxy.
"""

import os
import secrets
import socket
import time
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

GONE = "gone"
_CLAIM = "claim of "
_held_here: dict[str, set[int]] = {}


@dataclass(frozen=True)
class Pace:
    """How often leases are renewed, and how long without a renewal is taken for a death; in seconds.

    Attributes:
        renew: between two heartbeats.
        grace: that a heartbeat may stand still.
        confirm: that it must stand still once more after that. While a database was away nobody could renew anything:
            whoever looks first when it is back mustn't take all others for dead.
    """

    renew: float = 15.0
    grace: float = 120.0
    confirm: float = 30.0


@dataclass(frozen=True)
class Holder:
    """Who holds a trial.

    Attributes:
        token: unique to one run.
        machine: where its process runs; processes of one machine see each other's ids.
        process: its id.
        began: when the process began, in a form that only tells processes with one id apart; empty where unknown.
    """

    token: str
    machine: str
    process: int
    began: str

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return dict(vars(self))


def holder_of(attributes: Mapping[str, Any]) -> Holder | None:
    """The holder that a trial's attributes name, None where they name none."""
    known = attributes.get("holder")
    return Holder(**known) if known else None


def held_by(holder: Holder) -> dict[str, Any]:
    """Attributes of a trial that runs: whose it is."""
    return {"holder": holder.to_json()}


def claim_of(holder: Holder) -> dict[str, Any]:
    """Attributes of a trial that waits, and that a process is about to begin.

    Others may be about to do the same, and a storage says only to the one that succeeded that it did. That one then
    calls the trial its own. Should it die before it can, the trial is that of any of those that claimed it.
    """
    return {f"{_CLAIM}{holder.token}": holder.to_json()}


@contextmanager
def holding() -> Iterator[tuple[Holder, set[int]]]:
    """Make this process a holder: who it is, and the numbers of the trials that it has, kept by the caller."""
    process = os.getpid()
    holder = Holder(secrets.token_hex(6), _machine(), process, _began(process))
    held = _held_here[holder.token] = set()
    try:
        yield holder, held
    finally:
        del _held_here[holder.token]


class Watch:
    """Watches heartbeats of other processes' trials.

    Args:
        pace: of the leases.
        clock: seconds that only go up; this process's own.
    """

    def __init__(self, pace: Pace | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._pace, self._clock = pace or Pace(), clock
        self._seen: dict[Hashable, tuple[Any, float, float | None]] = {}

    def is_dead(self, number: int, attributes: Mapping[str, Any]) -> bool:
        """Whether a running trial has lost its process.

        Args:
            number: of the trial.
            attributes: of the trial, as they are now.
        """
        holder = holder_of(attributes)
        if holder is None:  # without claims it was begun by a version without leases, or by another program
            claims = [Holder(**value) for key, value in attributes.items() if key.startswith(_CLAIM)]
            lost = [self._lost(number, claim, attributes) for claim in claims]  # each is looked at
            return all(lost)
        return self._lost(number, holder, attributes)

    def _lost(self, number: int, holder: Holder, attributes: Mapping[str, Any]) -> bool:
        if holder.token in _held_here:
            return number not in _held_here[holder.token]
        if holder.machine == _machine():
            began = _began(holder.process)
            if holder.process == os.getpid() or began == GONE or (began and holder.began and began != holder.began):
                return True
        now, sign = self._clock(), (holder.token, attributes.get("beat", 0))
        key = (number, holder.token)
        known, since, suspected = self._seen.get(key, (None, now, None))
        if known != sign:
            self._seen[key] = (sign, now, None)
            return False
        if suspected is not None:
            return now - suspected >= self._pace.confirm
        if now - since >= self._pace.grace:
            self._seen[key] = (sign, since, now)
        return False


def _machine() -> str:
    """The host, its boot, and the namespace of its process ids: containers of one host don't see each other's."""
    try:
        boot, ids = Path("/proc/sys/kernel/random/boot_id").read_text().strip(), os.readlink("/proc/self/ns/pid")
    except OSError:  # only Linux has them
        boot, ids = "", ""
    return f"{socket.gethostname()}/{boot}/{ids}"


def _began(process: int) -> str:
    """When a process began, empty where that isn't known; `GONE` where there is no such process, or it is a zombie."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:  # there is no /proc, or it hides other users' processes
        return _exists(process)
    return GONE if fields[0] in "ZX" else fields[19]


def _exists(process: int) -> str:
    """As `_began`, of a process that can't be looked at."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return GONE
    except OSError:  # it is another user's
        return ""
    return ""
