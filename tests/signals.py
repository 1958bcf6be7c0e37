"""Signals of processes that tests start."""

import signal


def heed_ctrl_c() -> None:
    """Let a process that begins heed SIGINT, which shells let jobs in the background ignore; for `preexec_fn`."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
