"""How a study's throughput grows with its workers: `python benchmarks/scaling.py`; prints JSON lines, writes a plot.

    python benchmarks/scaling.py simulated --kinds processes journal postgres grpc ray --workers 1 4 8 32
    python benchmarks/scaling.py real                               # training in 1 and 2 processes
    python benchmarks/scaling.py simulated --write studies/scaling  # records.json, RESULTS.md, scaling.svg

Simulated: a trial sleeps 2 s in place of training, in 3 epochs; the space has 12 sites, the sampler is random. Workers
begin when all are ready, spread over 2 s, as they would be if trials took different times. Measured is the time in
which as many trials end as there are workers, without each one's first trial: 2 s and the overhead of a trial.
"""

import argparse
import json
import math
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
os.environ["PYTHONPATH"] = str(ROOT)

from benchmarks import simulation
from mpsearch.config import Config
from mpsearch.records import TrialRecord
from mpsearch.runners.limits import Limits
from mpsearch.runners.processes import run_in_processes

SECONDS = 2.0
ROUNDS = 10  # trials of each worker
REAL_TRIALS = 20
BEGIN, END = "<!-- tables -->", "<!-- end of tables -->"


class Clock:
    """Notes when the first trial begins and when each ends, in a run of this process."""

    def __init__(self) -> None:
        self.begun, self.ended = math.inf, list[float]()

    def trial_started(self, number: int, config: Config) -> None:
        self.begun = min(self.begun, time.time())

    def epoch_ended(self, number: int, epoch: int, logs: dict[str, float]) -> None:
        return

    def trial_ended(self, record: TrialRecord) -> None:
        self.ended.append(time.time())

    def waiting(self, numbers: Sequence[int]) -> None:
        return

    def repeat_ended(self, record: TrialRecord, index: int, score: float | None, cause: str) -> None:
        return


def soon(seconds: float) -> None:
    """Let simulated workers begin in so many seconds, when all of them are ready, spread over a trial's time."""
    os.environ[simulation.BEGIN] = json.dumps([time.time() + seconds, SECONDS])


def a_trial(ended: Sequence[float], workers: int) -> float:
    """Seconds of a worker's trial and of all that is between it and the next one.

    In steady state as many trials as there are workers end in this time, whichever of them count. Each worker's first
    trial is left out.

    Args:
        ended: when each trial ended.
        workers: that ran side by side.
    """
    order = sorted(ended)[workers - 1 :]
    return statistics.mean(later - earlier for earlier, later in zip(order, order[workers:], strict=False))


def by_processes(workers: int, trials: int, folder: Path) -> list[float]:
    """Local processes of one parent, which writes to SQLite."""
    url = f"sqlite:///{folder / 's.db'}"
    study, clock = simulation.create("scaling", url), Clock()
    file = replace(simulation.FILE, path=folder / f"{SECONDS}.py")
    module = "benchmarks.simulation_worker"
    soon(10 + 4 * workers)
    run_in_processes(study, file, simulation.space(), Limits(trials), clock, workers, module=module)
    return clock.ended


def by_ray(workers: int, trials: int, folder: Path) -> list[float]:
    """Ray actors of one driver, which writes to SQLite; each is given the share of a CPU that lets all of them run."""
    from benchmarks.simulation_ray import run

    study, clock = simulation.create("scaling", f"sqlite:///{folder / 's.db'}"), Clock()
    soon(30 + 5 * workers)
    run(study, Limits(trials), clock, workers, SECONDS)
    return clock.ended


def standalone(url: str, workers: int, trials: int) -> list[float]:
    """Workers of a storage, as `mpsearch worker` is one."""
    simulation.create("scaling", url)
    soon(15 + 1.5 * workers)
    command = [sys.executable, "-m", "benchmarks.simulation", url, "scaling", "--trials", str(trials)]
    command += ["--seconds", str(SECONDS), "--workers", str(workers)]
    said = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    return [line["at"] for line in map(json.loads, said.splitlines()) if "ended" in line]


def by_journal(workers: int, trials: int, folder: Path) -> list[float]:
    """Workers of one journal file."""
    return standalone(f"journal:///{folder / 's.log'}", workers, trials)


def by_postgres(workers: int, trials: int, folder: Path) -> list[float]:
    """Workers of a PostgreSQL server on this machine."""
    from tests.postgres import Postgres, programs

    found = programs()
    assert found is not None, "install the Debian package postgresql"
    server = Postgres(found)
    server.start()
    try:
        return standalone(server.create_database(), workers, trials)
    finally:
        server.remove()


def wait_for(port: int) -> None:
    """Wait until something listens on a port of this machine."""
    for _ in range(600):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise TimeoutError(f"nothing listens on port {port} after a minute")


def by_grpc(workers: int, trials: int, folder: Path) -> list[float]:
    """Workers of a gRPC proxy in front of an SQLite file."""
    from tests.ports import free_port

    port, behind = free_port(), f"sqlite:///{folder / 's.db'}"
    simulation.create("other", behind)
    program = "from mpsearch.cli.app import main; main()"
    serve = [sys.executable, "-c", program, "storage", "serve", "--storage", behind, "--port", str(port)]
    server = subprocess.Popen(serve, stdout=subprocess.DEVNULL)
    try:
        wait_for(port)
        return standalone(f"grpc://127.0.0.1:{port}", workers, trials)
    finally:
        server.terminate()
        server.wait()


KINDS: dict[str, Callable[[int, int, Path], list[float]]] = {
    "processes": by_processes,
    "journal": by_journal,
    "postgres": by_postgres,
    "grpc": by_grpc,
    "ray": by_ray,
}


def simulated(kind: str, workers: int) -> dict[str, Any]:
    """One row: a kind with a number of workers."""
    trials = workers * ROUNDS
    with tempfile.TemporaryDirectory(prefix="mpsearch-scaling-") as folder:
        ended = KINDS[kind](workers, trials, Path(folder))
    assert len(ended) == trials, f"{len(ended)} trials ended in place of {trials}"
    seconds = a_trial(ended, workers)
    return {
        "kind": kind,
        "workers": workers,
        "trials": trials,
        "overhead_ms": round(1000 * (seconds - SECONDS)),
        "of ideal": round(SECONDS / seconds, 3),
        "cores": os.cpu_count(),
    }


def real(workers: int) -> dict[str, Any]:
    """One row: `spaces/digits.py` trained in this many local processes, which share the cores."""
    from mpsearch.creation import provenance_of, resolve
    from mpsearch.floatmodel import float_model
    from mpsearch.spacefile import find_space_file, load_space_file
    from mpsearch.study import create_study

    file = load_space_file(find_space_file("digits.py"))
    data = file.task.data()
    space = resolve(file, data)
    float_model(file.task, data, file.path.parent)
    with tempfile.TemporaryDirectory(prefix="mpsearch-scaling-") as folder:
        made = provenance_of(file, data, space, 0, "random", "none")
        study = create_study("scaling", made, f"sqlite:///{folder}/s.db")
        clock = Clock()
        run_in_processes(study, file, space, Limits(REAL_TRIALS), clock, workers)
    seconds = round(max(clock.ended) - clock.begun, 2)
    row = {"kind": "training", "workers": workers, "trials": REAL_TRIALS, "seconds": seconds}
    return row | {"cores": os.cpu_count()}


def report(rows: list[dict[str, Any]], folder: Path) -> None:
    """Write the tables and the plot between the marks of `RESULTS.md`, whose other text stays."""
    heads = ["kind", "workers", "trials", "overhead_ms", "of ideal"]
    sleeping = [row for row in rows if row["kind"] != "training"]
    lines = [
        "| kind | workers | trials | overhead of a trial, ms | of ideal throughput |",
        "|" + " --- |" * 5,
    ]
    lines += ["| " + " | ".join(str(row[head]) for head in heads) + " |" for row in sleeping]
    trained = [row for row in rows if row["kind"] == "training"]
    if trained:
        lines += ["", "| processes that train | trials | seconds | trials a minute |", "|" + " --- |" * 4]
        rates = [60 * row["trials"] / row["seconds"] for row in trained]
        cells = [[row["workers"], row["trials"], row["seconds"]] for row in trained]
        lines += [f"| {w} | {t} | {s} | {rate:.1f} |" for (w, t, s), rate in zip(cells, rates, strict=True)]
    path = folder / "RESULTS.md"
    before, _, rest = path.read_text().partition(BEGIN) if path.exists() else ("# Scaling\n\n", "", END)
    after = rest.partition(END)[2]
    path.write_text(f"{before}{BEGIN}\n" + "\n".join(lines) + f"\n{END}{after}")
    plot(sleeping, folder / "scaling.svg")


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    """Throughput, as a part of the ideal one, over workers; each kind a line."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4.5))
    counts = sorted({row["workers"] for row in rows})
    for kind, marker in zip(KINDS, "osD^v", strict=True):
        own = sorted((row for row in rows if row["kind"] == kind), key=lambda row: row["workers"])
        if own:
            parts = [100 * row["of ideal"] for row in own]
            axes.plot([row["workers"] for row in own], parts, f"{marker}-", label=kind)
    axes.axhline(90, color="grey", linestyle="--", linewidth=1, label="goal")
    axes.set_xscale("log", base=2)
    axes.set_xticks(counts, [str(count) for count in counts])
    axes.set_ylim(80, 100.5)
    axes.set_xlabel("workers on 2 cores (trials of 2 s)")
    axes.set_ylabel("throughput, % of ideal")
    axes.legend()
    figure.savefig(path, bbox_inches="tight", metadata={"Date": None})
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["simulated", "real"])
    parser.add_argument("--kinds", nargs="*", default=list(KINDS), choices=list(KINDS))
    parser.add_argument("--workers", nargs="*", type=int, default=[1, 2, 4, 8, 16, 32])
    parser.add_argument("--write", type=Path, help="folder for records.json and RESULTS.md; rows kept there stay")
    options = parser.parse_args()
    records = options.write / "records.json" if options.write else None
    rows = json.loads(records.read_text()) if records and records.exists() else []
    kinds, counts = (options.kinds, options.workers) if options.what == "simulated" else (["training"], [1, 2])
    for kind in kinds:
        for workers in counts:
            row = real(workers) if options.what == "real" else simulated(kind, workers)
            print(json.dumps(row), flush=True)
            rows = [r for r in rows if (r["kind"], r["workers"]) != (kind, workers)] + [row]
            if records:
                records.parent.mkdir(parents=True, exist_ok=True)
                records.write_text(json.dumps(rows, indent=1) + "\n")
                report(
                    sorted(rows, key=lambda row: ([*KINDS, "training"].index(row["kind"]), row["workers"])),
                    options.write,
                )


if __name__ == "__main__":
    main()
