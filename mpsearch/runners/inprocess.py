"""Run a study's trials in this process, one after the other."""

from functools import partial

from mpsearch.leases import Pace
from mpsearch.runners.jobs import train
from mpsearch.runners.ledger import Ledger, Progress
from mpsearch.runners.limits import Limits
from mpsearch.runners.weights import save_weights, weights_file
from mpsearch.searching.engine import Engine
from mpsearch.study import Study


def run(
    study: Study,
    engine: Engine,
    limits: Limits | int,
    progress: Progress,
    alone: bool = True,
    pace: Pace | None = None,
) -> str:
    """Run trials until a limit is reached.

    Trials that a dead process left behind are failed and their configs tried again first. A config that the
    study trained before is answered from it. Other processes may run the same study; what they train is waited for
    where it counts for a limit.

    Args:
        study: the study, made for the engine's space.
        engine: trains the configs.
        limits: when to end; a number is that of complete, pruned and failed trials that the study shall have.
        progress: is told what happens.
        alone: whether only this process asks for trials; see `Ledger`.
        pace: of leases.

    Returns:
        Why the run ended before it had all trials; empty where it has them.

    Raises:
        StudyError: another process changes the study.
        KeyboardInterrupt: after the running trial was ended cleanly and its config queued again.
    """
    limits = Limits(trials=limits) if isinstance(limits, int) else limits
    with Ledger(study, engine.file, engine.network.space, limits, progress, alone, pace) as ledger:
        while True:
            job = ledger.next()
            if job is None:
                if ledger.ended is not None:
                    return ledger.ended
                ledger.wait()
                continue
            ending, state = train(engine, job, partial(ledger.epoch, job.number), study.folder)
            if state is not None:
                save_weights(weights_file(study, job.number), state, job.config)
            ledger.take(job.number, ending)
