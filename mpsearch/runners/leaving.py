"""Leaving a run in good order though its user presses Ctrl-C once more."""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


@contextmanager
def undisturbed() -> Iterator[None]:
    """Let one Ctrl-C and one SIGTERM pass, with a word, while trials are ended; a second one acts.

    Only the main thread gets signals; in others this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before: dict[int, Any] = {}

    def pass_by(number: int, frame: FrameType | None) -> None:
        signal.signal(number, before[number])
        print("ending in good order; once more breaks that off", file=sys.stderr, flush=True)

    for number in (signal.SIGINT, signal.SIGTERM):
        if callable(signal.getsignal(number)):  # else it is ignored, or ends the process whatever it does
            before[number] = signal.signal(number, pass_by)
    try:
        yield
    finally:
        for caught, handler in before.items():
            signal.signal(caught, handler)
