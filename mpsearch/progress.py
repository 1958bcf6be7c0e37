"""What a running command shows: a live bar on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Sequence
from importlib.util import find_spec
from types import TracebackType
from typing import Any

from mpsearch.config import Config
from mpsearch.costs.sizes import shown_costs
from mpsearch.records import State, TrialRecord


def describe(record: TrialRecord, metric: str) -> str:
    """One line on an ended trial."""
    head = f"trial {record.number}"
    if record.state is not State.COMPLETE:
        says_so = record.cause.startswith(record.state.value)
        return f"{head}: {record.cause}" if says_so else f"{head}: {record.state} ({record.cause})"
    if record.answered_from is not None:
        return f"{head}: answered from trial {record.answered_from}, score {record.score:.4f}"
    costs = "".join(f", {name} {shown}" for name, shown in shown_costs(record.costs).items())
    return (
        f"{head}: score {record.score:.4f}, {metric} {record.metric:.4f}, "
        f"{record.costs['total_bits']:,} bits (δ {record.delta:+.2%}){costs}, {record.seconds:.1f} s"
    )


class RunProgress:
    """Follows a run of trials (`runners.ledger.Progress`) and shows it.

    Args:
        total: trials that the study shall have; None where something else ends the run.
        finished: those that it has already.
        best: the best score so far.
        epochs: of a trial.
        metric: name of the metric.
        quiet: show nothing.
    """

    def __init__(
        self, total: int | None, finished: int, best: float | None, epochs: int, metric: str, quiet: bool = False
    ) -> None:
        self._total, self._finished, self._best = total, finished, best
        self._epochs, self._metric, self._quiet = epochs, metric, quiet
        self._bar: Any = None
        self._started = time.perf_counter()
        self._first = finished
        self._running: set[int] = set()

    def __enter__(self) -> "RunProgress":
        if not self._quiet and (sys.stdout.isatty() or _in_notebook()):
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("{task.fields[left]}"),
            )
            self._bar = Progress(*columns)
            self._bar.start()
            self._task = self._bar.add_task("starting", total=self._total, completed=self._finished, left="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def trial_started(self, number: int, config: Config) -> None:
        """A trial begins."""
        self._running.add(number)
        self._show(number, 0)

    def epoch_ended(self, number: int, epoch: int, logs: dict[str, float]) -> None:
        """An epoch ended."""
        self._show(number, epoch + 1, logs["score"])

    def trial_ended(self, record: TrialRecord) -> None:
        """A trial ended."""
        self._running.discard(record.number)
        if record.state is State.BROKEN:  # its config is tried again
            self._line(f"{self._count()} {describe(record, self._metric)}, tried again")
            return
        self._finished += 1
        if record.score is not None and record.state is State.COMPLETE:
            self._best = max(self._best or record.score, record.score)
        line = f"{describe(record, self._metric)}; best {self._best or float('nan'):.4f}, {self._left()}".rstrip(", ")
        self._line(line if self._bar is not None else f"{self._count()} {line}")
        if self._bar is not None:
            best = "" if self._best is None else f" · best {self._best:.4f}"  # stays on the screen after the last one
            self._bar.update(
                self._task, description=f"trial {record.number}{best}", completed=self._finished, left=self._left()
            )

    def waiting(self, numbers: Sequence[int]) -> None:
        """Nothing is left to begin before other processes' trials have ended."""
        what = f"trial {numbers[0]}" if len(numbers) == 1 else f"trials {', '.join(map(str, numbers))}"
        self._line(f"waiting for {what} of other processes")

    def repeat_ended(self, record: TrialRecord, index: int, score: float | None, cause: str) -> None:
        """A repeat of a trial ended."""
        self._finished += 1
        result = cause if score is None else f"score {score:.4f} (the trial's: {record.score:.4f})"
        line = f"{self._count()} trial {record.number}, repeat {index}: {result}, {self._left()}".rstrip(", ")
        self._line(line)
        if self._bar is not None:
            self._bar.update(self._task, completed=self._finished, left=self._left())

    def _count(self) -> str:
        return f"[{self._finished}]" if self._total is None else f"[{self._finished}/{self._total}]"

    def _left(self) -> str:
        done = self._finished - self._first
        if done == 0 or self._total is None or self._finished >= self._total:
            return ""
        seconds = (time.perf_counter() - self._started) / done * (self._total - self._finished)
        return f"{seconds / 60:.0f} min left" if seconds >= 90 else f"{seconds:.0f} s left"

    def _show(self, number: int, epoch: int, score: float | None = None) -> None:
        if self._bar is not None:
            best = "" if self._best is None else f" · best {self._best:.4f}"
            now = "" if score is None else f" · score {score:.4f}"
            what = f"trial {number} · epoch {epoch}/{self._epochs}{now}"
            if len(self._running) > 1:
                what = f"{len(self._running)} trials run"
            self._bar.update(self._task, description=f"{what}{best}", left=self._left())

    def _line(self, text: str) -> None:
        if self._bar is not None:
            self._bar.console.print(text, highlight=False, markup=False)
        elif not self._quiet:
            print(text, flush=True)


def _in_notebook() -> bool:
    """Whether rich can show a bar in a Jupyter notebook, for which it needs ipywidgets."""
    from rich.console import Console

    return Console().is_jupyter and find_spec("ipywidgets") is not None


class EpochProgress:
    """Shows the epochs of one training, a line each.

    Args:
        what: is trained.
        epochs: at most.
        quiet: show nothing.
    """

    def __init__(self, what: str, epochs: int, quiet: bool = False) -> None:
        self._what, self._epochs, self._quiet = what, epochs, quiet

    def __call__(self, epoch: int, logs: dict[str, float]) -> None:
        if not self._quiet:
            numbers = ", ".join(f"{name} {value:.4f}" for name, value in sorted(logs.items()))
            print(f"{self._what}: epoch {epoch + 1}/{self._epochs}: {numbers}", flush=True)


class DownloadProgress:
    """Shows a download: a bar on a terminal, elsewhere a line for each tenth of a file.

    Args:
        quiet: show nothing.
    """

    def __init__(self, quiet: bool = False) -> None:
        self._quiet = quiet
        self._bar: Any = None
        self._tasks: dict[str, Any] = {}
        self._tenths: dict[str, int] = {}

    def __enter__(self) -> "DownloadProgress":
        if not self._quiet and sys.stdout.isatty():
            from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

            self._bar = Progress(TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, file: str, done: int, total: int | None) -> None:
        if self._bar is not None:
            if file not in self._tasks:
                self._tasks[file] = self._bar.add_task(file, total=total)
            self._bar.update(self._tasks[file], completed=done)
        elif not self._quiet:
            self._line(file, done, total)

    def _line(self, file: str, done: int, total: int | None) -> None:
        tenth = done >> 26 if total is None else 10 * done // max(total, 1)  # each 64 MiB where the end isn't known
        if self._tenths.get(file) != tenth:
            self._tenths[file] = tenth
            print(f"{file}: {done:,} bytes" + ("" if total is None else f" of {total:,}"), flush=True)
