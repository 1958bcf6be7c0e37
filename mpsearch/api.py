"""Search from Python: what the commands do, with objects in place of a space file."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras

from mpsearch.aiming import make_goal, reachable, refuse_beyond
from mpsearch.analysis.analysing import BOTH
from mpsearch.analysis.analysing import SAMPLES as ANALYSED
from mpsearch.analysis.trials import TrialAnalysis, analyse_trial
from mpsearch.baselines.measuring import ALPHAS, baselines
from mpsearch.baselines.record import Baseline
from mpsearch.config import Alpha, Config, parse_alpha
from mpsearch.costs.bits import ReferenceBits
from mpsearch.creation import (
    check_unchanged,
    float_weights,
    note_weights,
    provenance_of,
    resolve,
    uniform_config,
)
from mpsearch.data import Data
from mpsearch.errors import ConfigError, MissingPackageError, StudyError
from mpsearch.export.exporting import Exported, export
from mpsearch.export.exporting import Options as ExportOptions
from mpsearch.export.folders import remember_export
from mpsearch.export.formats import parse_formats
from mpsearch.finetuning import FineTuned, finetune, kept_weights
from mpsearch.floatmodel import float_model
from mpsearch.goal import Objective
from mpsearch.importance import Importances, importances
from mpsearch.methods import AUTO, Value, usual_pruner
from mpsearch.network.calibration import CALIBRATION_SAMPLES
from mpsearch.objective import ForgivingFactor
from mpsearch.objects import file_of, task_of
from mpsearch.pages import write_page
from mpsearch.probing import prepare, probe
from mpsearch.progress import EpochProgress, RunProgress
from mpsearch.queueing import config_from_mapping
from mpsearch.ranking import Candidate, ranked
from mpsearch.records import TrialRecord
from mpsearch.report.document import document
from mpsearch.report.evaluating import evaluate as evaluate_trial
from mpsearch.report.gathering import gather
from mpsearch.runners.inprocess import run
from mpsearch.runners.leftovers import settle
from mpsearch.runners.limits import Limits, parse_duration
from mpsearch.runners.processes import run_in_processes
from mpsearch.runners.repeats import candidates_of, missing_repeats, repeat, to_repeat
from mpsearch.runners.setup import grow_gpu_memory
from mpsearch.searching.budgets import budget_of
from mpsearch.searching.engine import Engine
from mpsearch.searching.scoring import Scoring
from mpsearch.sensitivities import SAMPLES, Sensitivity, are_known
from mpsearch.solving import Solved, solved
from mpsearch.space import ResolvedSpace, Space
from mpsearch.spacefile import SpaceFile
from mpsearch.study import Study, create_study, open_study, study_names
from mpsearch.task import Loss, Training

if TYPE_CHECKING:
    import pandas


def search(
    model: keras.Model | Callable[[], keras.Model],
    data: Data | tuple[Any, ...],
    space: Space,
    trials: int | None = 50,
    *,
    timeout: float | str | None = None,
    until_score: float | None = None,
    patience: int | None = None,
    name: str | None = None,
    training: Training | None = None,
    float_training: Training | None = None,
    finetuning: Training | None = None,
    loss: Loss = "sparse_categorical_crossentropy",
    metric: str = "accuracy",
    further_metrics: tuple[str, ...] = (),
    weights: str | Path | None = None,
    forgiving: ForgivingFactor | None = None,
    reference: ReferenceBits | None = None,
    sampler: str | None = None,
    sampler_options: Mapping[str, Value] | None = None,
    pruner: str | None = None,
    pruner_options: Mapping[str, Value] | None = None,
    seed: int | None = None,
    uniform: Sequence[int] = (),
    objective: str | None = None,
    costs: Sequence[str] = (),
    limits: Mapping[str, float | str] | None = None,
    profile: str | None = None,
    latency_table: str | Path | None = None,
    storage: str | None = None,
    accept_change: bool = False,
    jobs: int = 1,
    quiet: bool = False,
) -> "Search":
    """Search the bit widths of a model; goes on where an earlier call with the same name stopped.

    Args:
        model: a float model with its weights, or a function that makes one, which is then trained first, or gets
            `weights`. A model given together with `float_training` is trained from its weights on.
        data: the splits, or arrays (x_train, y_train, x_validation, y_validation[, x_test, y_test]).
        space: what is searched.
        trials: complete, pruned and failed trials that the study shall have in the end; None where another end is
            given.
        timeout, until_score, patience: further ends, of which the first counts: a time of running (seconds, or "2h"),
            a score that is good enough, trials in a row without a better one.
        name: of the study; default: the model's name, or the function's.
        training, float_training, finetuning, loss, metric, further_metrics, weights: as in a `Task`.
        forgiving: how much metric a saving is worth.
        reference: widths that costs are compared with.
        sampler, sampler_options, pruner, pruner_options, seed: as of `mpsearch study create`, with the same defaults;
            an existing study has them.
        uniform: widths that a new study tries everywhere first.
        objective, costs, limits, profile, latency_table: what a new study looks for, as of `mpsearch study create`:
            `objective="pareto", costs=("flash", "energy")`, `limits={"flash": "300KB", "accuracy": 0.9}`; a number is
            in the cost's unit.
        storage: an Optuna storage URL; default: SQLite in `studies/mpsearch.db`.
        accept_change: go on with a study although data or recipes changed.
        jobs: processes that train at the same time, each with a share of the threads.
        quiet: show no progress.

    Returns:
        The study with its engine. Where layers have no names, Keras numbers them through the process: name them, or
        give a function, if another process shall go on with the study.

    Raises:
        StudyError: what the study of this name was made of has changed.
        ConfigError: there is no such sampler or option, no end of the run, or `jobs` is below 1.
        KeyboardInterrupt: the study can be gone on with by the same call.
    """
    ends = _limits(trials, timeout, until_score, patience)
    _check_jobs(jobs)
    task = task_of(model, data, training, float_training, finetuning, loss, metric, further_metrics, weights)
    file = file_of(task, space, model, forgiving or ForgivingFactor(), reference or ReferenceBits())
    name = name or str(model.name if isinstance(model, keras.Model) else getattr(model, "__name__", "study"))
    chosen = {
        "sampler": sampler,
        "sampler_options": None if sampler_options is None else dict(sampler_options),
        "pruner": pruner,
        "pruner_options": None if pruner_options is None else dict(pruner_options),
        "seed": seed,
    }
    loaded = task.data()
    resolved = resolve(file, loaded)
    typed = [f"{cost}={most}" for cost, most in (limits or {}).items()]
    table = None if latency_table is None else str(latency_table)
    aims = (objective or "score", costs, typed, profile, table)
    if name in _known(storage):
        study = open_study(name, storage)
        file = file.narrowed(study.goal)
        resolved = file.space.resolve(resolved.facts)
        for key, value in chosen.items():
            was = getattr(study.provenance, key)
            if value is not None and value != was:
                raise StudyError(f"the study `{name}` has {key}={was!r}, but got {value!r}: give another name")
        for note in check_unchanged(study, file, loaded, resolved, accept_change, float_weights(file, loaded)):
            print(note)
        if any((objective, costs, limits, profile, table)) and make_goal(file, resolved, *aims) != study.goal:
            raise StudyError(f"the study `{name}` looks for something else ({study.goal}): give another name")
    else:
        goal = make_goal(file, resolved, *aims)
        file = file.narrowed(goal)
        resolved = file.space.resolve(resolved.facts)
        budget, _ = reachable(file, resolved, goal)
        sampling = sampler or AUTO
        pruning = pruner or usual_pruner(sampling, goal.objective is Objective.PARETO)
        made = provenance_of(
            file, loaded, resolved, seed or 0, sampling, pruning, sampler_options, pruner_options, goal
        )
        uniforms = [(uniform_config(resolved, width), f"uniform {width}") for width in uniform]
        for config, what in uniforms:
            refuse_beyond(budget, config, what)
        study = create_study(name, made, storage)
        study.keep_facts(resolved.facts)
        for config, origin in uniforms:
            study.enqueue(resolved, config, origin)
        for note in [] if quiet else resolved.notes:
            print(note)
    return Search(study, file, loaded, quiet, accept_change)._run(ends, jobs)


class Search:
    """A study made from Python objects, with what is needed to go on with it.

    Attributes:
        study: the records in their storage.
        file: model, data, recipes and space.
    """

    def __init__(self, study: Study, file: SpaceFile, data: Data, quiet: bool = False, accept: bool = False) -> None:
        self.study, self.file = study, file
        self._data, self._quiet, self._accept = data, quiet, accept
        self._engines: dict[tuple[Alpha, ...], Engine] = {}

    def __repr__(self) -> str:
        found = self.study.best()
        best = f", best score {found[0].score:.4f} (trial {found[0].number})" if found else ""
        return f"<study `{self.study.name}`: {self.study.finished} trials{best}>"

    @property
    def best(self) -> TrialRecord:
        """The complete trial whose config comes first in `top`.

        Raises:
            StudyError: there is none.
        """
        found = self.top(1)
        if not found:
            raise StudyError(f"`{self.study.name}` has no complete trial yet: .run(trials)")
        return found[0].record

    def top(self, count: int) -> list[Candidate]:
        """The best configs, each with all its trainings; see `study best` for their order."""
        return ranked(self.study, count)

    @property
    def trials(self) -> "pandas.DataFrame":
        """All trials, a row each, with their numbers as index; the widths chosen are in columns named by site.

        Raises:
            MissingPackageError: pandas isn't installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise MissingPackageError("trials is a table of pandas: pip install 'mpsearch[notebook]'") from error
        rows = [_row(record) for record in self.study.records()]
        return pandas.DataFrame(rows, columns=None if rows else ["trial"]).set_index("trial")

    def run(
        self,
        trials: int | None = None,
        timeout: float | str | None = None,
        until_score: float | None = None,
        patience: int | None = None,
        jobs: int = 1,
    ) -> "Search":
        """Run trials until the study has `trials` finished ones, or another of the ends of `search` is reached."""
        _check_jobs(jobs)
        return self._run(_limits(trials, timeout, until_score, patience), jobs)

    def _run(self, limits: Limits, jobs: int) -> "Search":
        ended = limits.reached(self.study.records(), time.monotonic(), self.study.goal.floor)
        if ended is None:
            found = self.study.best()
            best = found[0].score if found else None
            shown = self._progress(limits.trials, self.study.finished, best)
            if jobs > 1:
                grow_gpu_memory()
                self._train_float()
                if self.study.provenance.sampler == AUTO and not are_known(self.study, self.space):
                    self._probe_first()
                with shown as progress:
                    ended = run_in_processes(self.study, self.file, self.space, limits, progress, jobs)
            else:
                engine = self.engine()
                if not self.study.kept("float"):
                    self.study.keep("float", {"validation": engine.float_metric()})
                self._probe_first()
                with shown as progress:
                    ended = run(self.study, engine, limits, progress)
        else:
            settle(self.study, (lambda line: None) if self._quiet else print)
        if ended and not self._quiet:
            print(f"ended with {self.study.finished} finished trials in the study: {ended}")
        return self

    def _probe_first(self) -> None:
        """Measure what the study's sampler needs before its first trial."""
        rows = prepare(self.study, self.engine())
        if rows and not self._quiet:
            print(f"sensitivities measured in {sum(row.seconds for row in rows):.0f} s")

    def sensitivity(self, samples: int = SAMPLES, again: bool = False) -> list[Sensitivity]:
        """How much each spec of each choice harms the float model, by forward passes alone.

        Args:
            samples: of the training split.
            again: measure also what is kept with the study.

        Returns:
            One for each choice of the space, in network order.
        """
        return probe(self.study, self.engine(), samples, again)

    def solve(self, limits: Mapping[str, float | str]) -> Solved:
        """The widths that harm least within limits, selected without training.

        Args:
            limits: name of a cost to the most that it may be: `{"flash": "300KB"}`; a number is in the cost's unit.

        Raises:
            ConfigError: a limit isn't one, or no config meets them all.
            StudyError: `sensitivity` wasn't called before.
        """
        typed = [f"{name}={value}" for name, value in limits.items()]
        return solved(self.study, self.file, self.space, typed)

    def importance(self) -> Importances:
        """Which tensors matter for the metric, and which for the costs of the objective.

        Raises:
            StudyError: `sensitivity` wasn't called before, and the study's sampler isn't auto.
        """
        return importances(self.study, self.file, self.space)

    def enqueue(self, config: Config | Mapping[str, Any] | int, origin: str = "queued") -> "Search":
        """Let a config be tried before the sampler's next one.

        Args:
            config: a config, site to width or spec, or one width for all sites (or the next wider on their menus).
            origin: what to call where it comes from.

        Raises:
            ConfigError: it isn't in the space.
        """
        space = self.space
        if isinstance(config, int):
            chosen = uniform_config(space, config)
        else:
            chosen = config if isinstance(config, Config) else config_from_mapping(config, space)
        refuse_beyond(budget_of(space, Scoring.of(self.file, space.facts, self.study.goal)), chosen, origin)
        self.study.enqueue(space, chosen, origin)
        return self

    def repeat(self, top: int = 3, repeats: int = 3) -> list[Candidate]:
        """Train the best configs again with other seeds, so that `best` ranks them by more than one training.

        Args:
            top: so many of the best.
            repeats: trainings that each shall have besides its trial.

        Returns:
            These configs with all their trainings, in the order of `top`.
        """
        records, engine = to_repeat(self.study, top), self.engine()
        with self._progress(missing_repeats(self.study, records, repeats), 0, None) as progress:
            repeat(self.study, engine, records, repeats, progress)
        return candidates_of(self.study, records)

    @property
    def space(self) -> ResolvedSpace:
        """The exact space: sites, menus, size."""
        return resolve(self.file, self._data) if not self._engines else next(iter(self._engines.values())).network.space

    def _progress(self, total: int | None, finished: int, best: float | None) -> RunProgress:
        task = self.file.task
        return RunProgress(total, finished, best, task.training.epochs, task.metric, self._quiet)

    def engine(self, extra_alphas: tuple[Alpha, ...] = ()) -> Engine:
        """What trains the configs; built when it is first needed."""
        if extra_alphas not in self._engines:
            self._engines[extra_alphas] = Engine(
                self.file, self._float_progress(), extra_alphas, self._data, self.study.goal
            )
            note_weights(self.study, self.file, self._data, self._accept)
        return self._engines[extra_alphas]

    def _float_progress(self) -> EpochProgress:
        return EpochProgress("float", self.file.task.float_recipe.epochs, self._quiet)

    def _train_float(self) -> None:
        """Make sure that the float weights are there."""
        float_model(self.file.task, self._data, self.file.path.parent, self._float_progress())
        note_weights(self.study, self.file, self._data, self._accept)

    def finetune(self, trial: int | None = None, alpha: str | None = None) -> FineTuned:
        """Train a trial's config for longer and judge it on the test split.

        Args:
            trial: its number; default: the best.
            alpha: scale mode to use in place of auto, for instance "auto_po2".

        Raises:
            StudyError: the data has no test split, or the trial no config.
        """
        record, changed = self._chosen(trial), None if alpha is None else parse_alpha(alpha)
        report = EpochProgress(f"trial {record.number}", self.file.task.finetune_recipe.epochs, self._quiet)
        return finetune(self.study, self.engine(_extra(changed)), record, changed, report)

    def baselines(
        self,
        only: Sequence[str] = (),
        recipe: str = "trial",
        calibration: int = CALIBRATION_SAMPLES,
        again: bool = False,
    ) -> list[Baseline]:
        """Compare the best config with what else there is; each row is kept with the study as soon as it is measured.

        The rows are the float model, post-training quantization to 8 bits in its variants, 8-bit training, flat
        configs, and the best config as searched and with all scales powers of two.

        Args:
            only: names of rows, or patterns such as "PTQ*"; none: all rows.
            recipe: by which rows are trained: "trial", as the study's trials were, or "finetuning".
            calibration: samples of the training split for post-training quantization.
            again: measure anew what is kept with the study.

        Raises:
            ConfigError: no such recipe or row, or too few samples.
        """
        task = self.file.task
        epochs = (task.training if recipe == "trial" else task.finetune_recipe).epochs
        shown = None if self._quiet else lambda row: EpochProgress(row, epochs)
        return baselines(self.study, self.engine(ALPHAS), only, recipe, calibration, again, shown)

    def analyse(
        self, trial: int | None = None, train: bool = False, alpha: str | None = None, samples: int = ANALYSED
    ) -> TrialAnalysis:
        """What quantization does to a trial's model, tensor by tensor.

        The weights are those of the trial's fine-tuning where it has one, else the trial's own.

        Args:
            trial: its number; default: the best.
            train: train the trial's config again, as the trial was, and watch what each epoch does.
            alpha: the scale mode that replaced auto in its fine-tuning.
            samples: of the training split, that feature maps and outputs are of.

        Raises:
            StudyError: no weights of the trial are kept; `train` or `finetune` gives some.
        """
        record, changed = self._chosen(trial), None if alpha is None else parse_alpha(alpha)
        report = EpochProgress("training again", self.file.task.training.epochs, self._quiet)
        return analyse_trial(self.study, record, lambda: self.engine(BOTH), train, changed, samples, report)

    def report(
        self, file: str | Path | None = None, trial: int | None = None, evaluate: bool = False, others: int = 4
    ) -> Path:
        """Write the study as a page to look at and to send: one HTML file that needs no network.

        Args:
            file: an .html file; None: `NAME.html`.
            trial: number of the trial to report on; None: the best.
            evaluate: whether to evaluate that trial first, for its confusion matrix and its tensors' noise.
            others: how many other configs are shown beside it.

        Returns:
            The file.

        Raises:
            StudyError: there is no complete trial, or no weights of it are kept.
            ConfigError: the file can't be written.
        """
        path = Path(file or f"{self.study.name}.html")
        facts = self.study.facts or self.engine().network.facts
        found = gather(self.study, self.file, facts, trial, others=others)
        if evaluate:
            evaluate_trial(self.study, self.study.record(found.best), lambda: self.engine(BOTH))
            found = gather(self.study, self.file, facts, trial, others=others)
        write_page(document(found), path)
        return path

    def export(
        self,
        folder: str | Path,
        trial: int | None = None,
        alpha: str | None = None,
        force: bool = False,
        formats: str | Sequence[str] = "keras",
        options: ExportOptions | None = None,
    ) -> list[Exported]:
        """Write a trial's model as files, each verified in its own runtime against the searched model.

        The weights are those of the trial's fine-tuning where it has one, else the trial's own.

        Args:
            folder: to write to.
            trial: its number; default: the best.
            alpha: the scale mode that replaced auto in its fine-tuning.
            force: replace files that are there.
            formats: names of formats, such as "onnx" or ("onnx", "keras").
            options: further ones; default: `ExportOptions()`. Its `force` counts as well.

        Raises:
            ConfigError: no such format.
            StudyError: no weights of the trial are kept.
            ExportError: a format can't hold it, a file differs, or files are there already.
            MissingPackageError: what a format needs isn't installed.
        """
        chosen = parse_formats(formats if isinstance(formats, str) else ",".join(formats))
        record, changed = self._chosen(trial), None if alpha is None else parse_alpha(alpha)
        config, state, weights = kept_weights(self.study, record, changed)
        engine = self.engine(_extra(changed))
        engine.network.set_config(config)
        engine.network.load_state(state)
        about = {"study": self.study.name, "trial": record.number, "weights": weights}
        options = options or ExportOptions()
        options = replace(options, force=options.force or force)
        report = (lambda line: None) if self._quiet else print
        files = export(engine, config, Path(folder), chosen, about, options, report)
        remember_export(self.study.folder, Path(folder))
        return files

    def _chosen(self, trial: int | None) -> TrialRecord:
        return self.best if trial is None else self.study.record(trial)


def _limits(trials: int | None, timeout: float | str | None, until_score: float | None, patience: int | None) -> Limits:
    seconds = parse_duration(timeout) if isinstance(timeout, str) else timeout
    return Limits(trials, seconds, until_score, patience)


def _check_jobs(jobs: int) -> None:
    if jobs < 1:
        raise ConfigError(f"`jobs` must be at least 1, but got {jobs}")


def _extra(changed: Alpha | None) -> tuple[Alpha, ...]:
    return () if changed is None else (changed,)


def _row(record: TrialRecord) -> dict[str, Any]:
    return {
        "trial": record.number,
        "state": record.state.value,
        "score": record.score,
        "metric": record.metric,
        **record.costs,
        "delta": record.delta,
        "epochs": record.epochs,
        "seconds": record.seconds,
        "origin": record.origin,
        "answered_from": record.answered_from,
        "cause": record.cause,
        **({} if record.config is None else {site: spec.bits for site, spec in record.config.items()}),
    }


def _known(storage: str | None) -> list[str]:
    try:
        return study_names(storage)
    except StudyError:  # there is no storage yet; where it can't be opened, creating a study says so
        return []
