"""The rows of the table of baselines: what each is, and how the model is made that it judges."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import islice
from typing import Any

from mpsearch.baselines.posttraining import PostTraining, int8_config, int8_engine, kernels_of
from mpsearch.baselines.ranges import RangeMethod
from mpsearch.baselines.record import FLAT_WIDTHS
from mpsearch.config import Alpha, Config
from mpsearch.finetuning import weights_of
from mpsearch.ranking import ranked
from mpsearch.records import TrialRecord
from mpsearch.searching.engine import Engine
from mpsearch.searching.samplers import derived_seed
from mpsearch.study import Study
from mpsearch.task import Training
from mpsearch.training import Report


@dataclass(frozen=True)
class Made:
    """A model that is ready to be judged: the state of an engine's network.

    Attributes:
        engine: of the network.
        epochs: trained.
        extra_seconds: that making it took, beside those of this call: calibration that rows share, or a trial's.
        note: what is to be said of it.
    """

    engine: Engine
    epochs: int = 0
    extra_seconds: float = 0.0
    note: str = ""


@dataclass(frozen=True)
class Row:
    """A row that can be measured.

    Attributes:
        name: of the row.
        config: by which it is priced; sites without a spec are float.
        make: brings a network into the state to be judged.
        prepare: builds what rows share, before the time is taken.
        depends_on: what else than the study's conditions decides on its numbers.
    """

    name: str
    config: Config
    make: Callable[[Report | None], Made]
    prepare: Callable[[], None] = lambda: None
    depends_on: tuple[Any, ...] = ()


class Rows:
    """All rows for a study.

    Args:
        study: with the trials.
        engine: of its space, made with the scale modes auto and auto_po2 for all sites.
        recipe: by which rows are trained; None: a trial's.
        calibration: samples for post-training quantization.
        seed: of training.
    """

    def __init__(self, study: Study, engine: Engine, recipe: Training | None, calibration: int, seed: int) -> None:
        self._study, self._engine, self._calibration, self._seed = study, engine, calibration, seed
        self._as_trials = recipe is None
        self._recipe = recipe or engine.task.training
        self._traced: list[Engine] = []
        self._corrected = False

    def __iter__(self) -> Iterator[Row]:
        int8 = int8_config(self._engine)
        yield Row("float", Config({}), self._float)
        yield Row("PTQ dynamic range", kernels_of(int8, self._engine), self._dynamic, self._build)
        for equalize in (False, True):
            for method in RangeMethod:
                for correct in (False, True):
                    name = " + ".join([f"PTQ {method}", *["CLE"] * equalize, *["BC"] * correct])
                    prepare = partial(self._build, calibrate=True, equalize=equalize, correct=correct)
                    yield Row(name, int8, self._static(method, equalize, correct), prepare, (self._calibration,))
        yield Row("QAT int8", int8, self._qat, lambda: self._trace(self._int8, int8), self._training)
        for width in FLAT_WIDTHS:
            for alpha in (Alpha.AUTO, Alpha.AUTO_PO2):
                config = flat(self._engine, width, alpha)
                depends_on = (*self._training, config.fingerprint)
                trace = partial(self._trace, self._engine, config)
                yield Row(f"flat {width}, {alpha}", config, self._flat(width, config), trace, depends_on)
        present = (c.record for c in ranked(self._study) if not c.record.before_change)
        for record in islice(present, 1):
            yield from self._mixed(record)

    @cached_property
    def _int8(self) -> Engine:
        return int8_engine(self._engine)

    @cached_property
    def _post(self) -> PostTraining:
        return PostTraining(self._int8, self._calibration)

    def _build(self, calibrate: bool = False, equalize: bool = False, correct: bool = False) -> None:
        """Build, and trace, what rows of post-training quantization share."""
        post = self._post
        if calibrate:
            _ = post.seen_equalized if equalize else post.seen
        if correct and not self._corrected:
            post.reset(post.config)
            post.correction(post.config)
            self._corrected = True

    def _trace(self, engine: Engine, config: Config) -> None:
        """Trace training, so that the first row of an engine doesn't take longer than the others."""
        if engine not in self._traced:
            engine.train(
                config,
                self._seed,
                replace(self._recipe, epochs=1, warmup_epochs=0, subset=self._recipe.batch_size, patience=None),
            )
            self._traced.append(engine)

    @property
    def _training(self) -> tuple[Any, ...]:
        return ("trial" if self._as_trials else "finetuning", self._seed)

    def _float(self, report: Report | None) -> Made:
        self._engine.network.set_config(None)
        return Made(self._engine)

    def _dynamic(self, report: Report | None) -> Made:
        self._post.dynamic_range()
        return Made(self._int8)

    def _static(self, method: RangeMethod, equalize: bool, correct: bool) -> Callable[[Report | None], Made]:
        def make(report: Report | None) -> Made:
            seconds = self._post.static(method, equalize)
            nothing = ["no pair of layers can be equalized"] * (equalize and not self._post.equalized[1])
            if correct and not self._post.correction(self._post.config):
                nothing.append("no layer has a bias to correct")
            return Made(self._int8, extra_seconds=seconds, note=", ".join(nothing))

        return make

    def _qat(self, report: Report | None) -> Made:
        self._post.reset(None)  # frozen layers too
        return self._trained(self._int8, int8_config(self._engine), self._seed)(report)

    def _flat(self, width: int, config: Config) -> Callable[[Report | None], Made]:
        kernels = kernels_of(config, self._engine)
        others = {site: spec.bits for site, spec in kernels.items() if spec.bits != width}
        named = ", ".join(f"{site} {bits}" for site, bits in list(others.items())[:3])
        more = f" and {len(others) - 3} more" if len(others) > 3 else ""
        note = f"{len(others)} of {len(kernels)} kernels can't have {width} bits: {named}{more}" if others else ""
        return _noted(note, self._trained(self._engine, config, self._seed))

    def _trained(self, engine: Engine, config: Config, seed: int) -> Callable[[Report | None], Made]:
        def make(report: Report | None) -> Made:
            outcome = engine.train(config, seed, self._recipe, report)
            engine.network.load_state(outcome.state)
            return Made(engine, len(outcome.history.epochs))

        return make

    def _mixed(self, record: TrialRecord) -> Iterator[Row]:
        config, number = record.config, record.number
        assert config is not None
        # with the trial's own seed, so that scale modes differ in nothing else
        seed, depends_on = derived_seed(self._study.provenance.seed, record.sequence, "training"), self._training
        trace = partial(self._trace, self._engine, config)
        yield Row("best mixed", config, self._best(record, config, seed), trace, (*depends_on, config.fingerprint))
        if any(spec.alpha is Alpha.AUTO for spec in config.values()):
            po2 = config.with_alpha(Alpha.AUTO, Alpha.AUTO_PO2)
            make = _noted(f"trial {number}", self._trained(self._engine, po2, seed))
            yield Row("best mixed, auto_po2", po2, make, trace, (*depends_on, po2.fingerprint))

    def _best(self, record: TrialRecord, config: Config, seed: int) -> Callable[[Report | None], Made]:
        """The trial as it was where its weights were kept, else trained again."""

        def make(report: Report | None) -> Made:
            weights = weights_of(self._study, record) if self._as_trials else None
            if weights is None:
                again = self._trained(self._engine, config, seed)(report)
                return replace(again, note=f"trial {record.number}, trained again")
            trained = self._study.trained(record)
            self._engine.network.set_config(config)
            self._engine.network.load_state(weights[1])
            return Made(self._engine, trained.epochs, trained.seconds, f"trial {record.number}")

        return make


def flat(engine: Engine, width: int, alpha: Alpha) -> Config:
    """The config nearest to a width everywhere.

    Args:
        engine: of the space, whose menus say which widths there are.
        width: in bits.
        alpha: "auto" for kernels with scales that are any number, and the space's own modes elsewhere; "auto_po2" for
            powers of two wherever scales depend on values.
    """
    uniform = engine.network.space.uniform(width)
    if alpha is Alpha.AUTO_PO2:
        return uniform.with_alpha(Alpha.AUTO, Alpha.AUTO_PO2)
    return Config({**uniform, **kernels_of(uniform, engine).with_alpha(Alpha.AUTO_PO2, Alpha.AUTO)})


def _noted(note: str, make: Callable[[Report | None], Made]) -> Callable[[Report | None], Made]:
    """`make` with something to be said of what it made."""
    return lambda report: replace(make(report), note=note)
