"""Options of samplers and pruners: which there are, what they take, and how they are written on a command line."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mpsearch.errors import ConfigError
from mpsearch.suggestions import suggestion

Value = bool | int | float | str


@dataclass(frozen=True)
class Method:
    """A sampler or pruner by name.

    Attributes:
        about: one line for a user.
        options: name of each option to the type of its value; a tuple of strings lists the allowed ones.
        needs: package that has to be installed besides, and the extra of mpsearch that brings it.
        ordered_only: whether it takes numbers alone, and no searched scale modes.
        single_only: whether it works towards a single number, and not for the objective pareto.
        several_only: whether it works for the objective pareto alone.
    """

    about: str
    options: Mapping[str, type | tuple[str, ...]] = field(default_factory=dict)
    needs: tuple[str, str] | None = None
    ordered_only: bool = False
    single_only: bool = False
    several_only: bool = False


AUTO, BELIEVED = "auto", "believed"
SAMPLERS = {
    AUTO: Method("by sensitivities, exact selection of widths, and what trials teach"),
    "tpe": Method(
        "tree-structured Parzen estimator, multivariate",
        {"n_startup_trials": int, "n_ei_candidates": int, "group": bool},
    ),
    "gp": Method(
        "Gaussian process", {"n_startup_trials": int, "deterministic_objective": bool}, needs=("torch", "gp"),
        single_only=True,
    ),
    "random": Method("every config with the same probability"),
    "grid": Method("every config, in order"),
    "qmc": Method(
        "a low-discrepancy sequence: evenly spread", {"sequence": ("sobol", "halton"), "scramble": bool}
    ),
    "nsga2": Method(
        "genetic algorithm",
        {"population_size": int, "mutation_prob": float, "crossover_prob": float, "swapping_prob": float},
    ),
    "nsga3": Method(
        "genetic algorithm with reference points, for three costs and more",
        {"population_size": int, "mutation_prob": float, "crossover_prob": float, "swapping_prob": float},
    ),
    "cmaes": Method(
        "covariance matrix adaptation; widths only, no searched scale modes",
        {
            "sigma0": float,
            "n_startup_trials": int,
            "popsize": int,
            "with_margin": bool,
            "use_separable_cma": bool,
            "lr_adapt": bool,
        },
        ordered_only=True,
        single_only=True,
    ),
}  # fmt: skip

PRUNERS = {
    "none": Method("every trial is trained to its end"),
    BELIEVED: Method(
        "for the sampler auto: after epochs 1, 3, 9, … the third goes on that is believed to score best",
        single_only=True,
    ),
    "median": Method(
        "stops a trial below the median of earlier ones at the same epoch",
        {"n_startup_trials": int, "n_warmup_steps": int, "interval_steps": int, "n_min_trials": int},
        single_only=True,
    ),
    "percentile": Method(
        "stops a trial outside the best so many percent at the same epoch",
        {
            "percentile": float,
            "n_startup_trials": int,
            "n_warmup_steps": int,
            "interval_steps": int,
            "n_min_trials": int,
        },
        single_only=True,
    ),
    "hyperband": Method(
        "successive halving in several brackets",
        {"min_resource": int, "max_resource": int, "reduction_factor": int},
        single_only=True,
    ),
    "wilcoxon": Method(
        "stops a trial whose epochs are significantly worse than the best trial's",
        {"p_threshold": float, "n_startup_steps": int},
        single_only=True,
    ),
    "dominated": Method(
        "for the objective pareto: stops a trial that some earlier ones surpass at the same epoch and in each cost",
        {"n_startup_trials": int, "n_warmup_steps": int, "n_dominating": int},
        several_only=True,
    ),
}  # fmt: skip


def usual_pruner(sampler: str, several: bool) -> str:
    """The pruner of a study that isn't told one.

    Args:
        sampler: of the study.
        several: whether it has several objectives.
    """
    return BELIEVED if sampler == AUTO and not several else "none"


def check_method(what: str, name: str, known: Mapping[str, Method], options: Mapping[str, Value]) -> None:
    """Check a sampler's or pruner's name and options.

    Args:
        what: "sampler" or "pruner", for messages.
        name: of the method.
        known: methods by name.
        options: given for it.

    Raises:
        ConfigError: there is no such method, it has no such option, or the option's value is of another type.
    """
    if name not in known:
        close = suggestion(name, known, before="; ")
        raise ConfigError(f"a {what} must be one of {', '.join(known)}, but got {name!r}{close}")
    takes = known[name].options
    for key, value in options.items():
        if key not in takes:
            found = ", ".join(f"{option} ({_kind(kind)})" for option, kind in takes.items())
            close = suggestion(key, takes, before="; ")
            raise ConfigError(f"the {what} {name} takes {found or 'no options'}, but got {key}={value}{close}")
        kind = takes[key]
        right = value in kind if isinstance(kind, tuple) else type(value) is kind or (kind, type(value)) == (float, int)
        if not right:
            raise ConfigError(f"option {key} of the {what} {name} must be {_kind(kind)}, but got {value!r}")


def parse_options(words: Sequence[str]) -> dict[str, Value]:
    """Options as written on a command line, for instance `n_startup_trials=20`.

    >>> parse_options(["n_startup_trials=20", "group=true", "sigma0=0.5", "sequence=sobol"])
    {'n_startup_trials': 20, 'group': True, 'sigma0': 0.5, 'sequence': 'sobol'}

    Raises:
        ConfigError: a word isn't of the form NAME=VALUE, or a name is given twice.
    """
    found: dict[str, Value] = {}
    for word in words:
        name, sign, text = word.partition("=")
        if not (name and sign and text) or name in found:
            raise ConfigError(f"an option must be NAME=VALUE, each name once, but got {word!r}")
        found[name] = _value(text)
    return found


def _value(text: str) -> Value:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _kind(kind: type | tuple[str, ...]) -> str:
    if isinstance(kind, tuple):
        return " or ".join(kind)
    return {int: "an integer", float: "a number", bool: "true or false"}[kind]


def describe(known: Mapping[str, Method]) -> str:
    """Methods and what they take, a line for each; for a command's help."""
    lines: list[str] = []
    for name, method in known.items():
        takes = f" ({', '.join(method.options)})" if method.options else ""
        lines.append(f"{name}: {method.about}{takes}")
    return "; ".join(lines)
