"""The Ray Tune trainable: an actor that keeps its network and trains one trial after the other."""

import json
import os
import queue
import tempfile
import threading
import traceback
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ray import get_runtime_context, put, tune

from mpsearch.config import Config
from mpsearch.data import Data
from mpsearch.errors import MpsearchError
from mpsearch.runners.job import Job, Report
from mpsearch.runners.setup import Setup, build_engine, grow_gpu_memory, thread_variables

SAID = "mpsearch"
"""Key of a result under which an actor says what happened, as JSON."""
WEIGHTS = "weights"
"""Key of a result under which the trained weights are found: a list with a reference to them."""


class TrialTrainable(tune.Trainable):
    """Trains trials, an epoch a step after a first one, which says that it is ready; `reset_config` gives it the next.

    A trial's training runs in a thread, which waits at the end of each epoch until Tune asks for the next step, or
    takes the trial away.
    """

    def setup(self, config: dict[str, Any], *given: Any, **parameters: Any) -> None:
        self._failed: str | None = None
        self._files: tempfile.TemporaryDirectory[str] | None = None
        self.build(**parameters)
        self.reset_config(config)

    def build(self, setup: Setup, data: Data | None, threads: int) -> None:
        """Get ready to train."""
        os.environ.update(thread_variables(threads))  # before TensorFlow is imported
        self._folder = setup.folder
        try:
            grow_gpu_memory()
            self._files = tempfile.TemporaryDirectory(prefix="mpsearch-")
            try:  # Tune is in a folder of its own
                os.chdir(setup.working or self._files.name)
            except OSError:  # it isn't on this machine, or is another user's
                os.chdir(self._files.name)
            self._engine = build_engine(setup, data, Path(self._files.name))
            self._float = self._engine.float_metric()
        except MpsearchError as error:  # said by the first step: an actor that can't be set up would be replaced
            self._failed = json.dumps({"mistaken": [type(error).__name__, str(error)]})
        except Exception:
            self._failed = json.dumps({"crashed": traceback.format_exc()})

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.cleanup()
        config = Config.from_json(new_config["config"])
        self._job = Job(new_config["number"], config, new_config["seed"])
        self._said: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._go_on: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._ready = False
        return True

    def step(self) -> dict[str, Any]:
        if self._failed is not None:
            return {SAID: self._failed, "done": True}
        if not self._ready:
            self._ready = True
            said = {"float": self._float, "node": get_runtime_context().get_node_id(), "process": os.getpid()}
            return {SAID: json.dumps({"ready": said})}
        if self._thread is None:
            self._thread = threading.Thread(target=self._train, daemon=True)
            self._thread.start()
        else:
            self._go_on.put(True)
        return self._said.get()

    def cleanup(self) -> None:
        thread = getattr(self, "_thread", None)
        if thread is not None:
            self._go_on.put(False)
            thread.join()
            self._thread = None

    def stop(self) -> None:
        super().stop()  # type: ignore[no-untyped-call]
        if self._files is not None:
            self._files.cleanup()

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:
        return {}  # a trial that dies begins anew

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Nothing is in it."""

    def _train(self) -> None:
        try:
            self._said.put(self.train_job(self._job, self._report))
        except MpsearchError as error:
            self._said.put({SAID: json.dumps({"mistaken": [type(error).__name__, str(error)]}), "done": True})
        except BaseException:
            self._said.put({SAID: json.dumps({"crashed": traceback.format_exc()}), "done": True})

    def _report(self, epoch: int, logs: dict[str, float]) -> bool:
        self._said.put({SAID: json.dumps({"epoch": epoch, "logs": logs}), "epoch": epoch})
        return not self._go_on.get()

    def train_job(self, job: Job, report: Report) -> dict[str, Any]:
        """Train a job; the result that says what came of it."""
        from mpsearch.runners.jobs import train

        ending, state = train(self._engine, job, report, self._folder)
        said = {SAID: json.dumps({"ended": asdict(ending)}), "done": True}
        return said if state is None else {**said, WEIGHTS: [put(list(state))]}
