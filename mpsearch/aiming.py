"""Make a study's goal of what a user asks for, and make sure that it can be reached."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mpsearch.config import Config
from mpsearch.costs.measured import read_table
from mpsearch.costs.profile import load_profile
from mpsearch.costs.registry import Device, make_cost
from mpsearch.costs.sizes import parse_size
from mpsearch.errors import ConfigError
from mpsearch.goal import Goal, Objective, split_limits
from mpsearch.methods import AUTO, BELIEVED, PRUNERS, SAMPLERS, Method
from mpsearch.searching.budgets import Budget, Feasible, budget_of
from mpsearch.searching.scoring import Scoring
from mpsearch.space import ResolvedSpace
from mpsearch.spacefile import SpaceFile


def make_goal(
    file: SpaceFile,
    space: ResolvedSpace,
    objective: str = "score",
    costs: Sequence[str] = (),
    limits: Sequence[str] = (),
    profile: str | None = None,
    latency_table: str | None = None,
) -> Goal:
    """The goal that a user asks for.

    Args:
        file: of the study; says which metric there is, and the reference.
        space: of its configs.
        objective: "score" or "pareto".
        costs: names of costs; default: bits.
        limits: as they are typed, `flash=2MB` or `accuracy=0.8`.
        profile: of the hardware: name or file. Its memory becomes limits where none are given, and pairs of widths
            that it can't multiply are ruled out; `SpaceFile.narrowed` takes widths that it doesn't have off the menus.
        latency_table: CSV file of measured layers.

    Raises:
        ConfigError: there is no such objective or cost, a limit isn't a size, or the device lacks what a cost needs.
        DataMissingError: there is no such profile.
    """
    given, floor = split_limits(limits, file.task.metric)
    device = Device(
        None if profile is None else load_profile(profile),
        () if latency_table is None else tuple(read_table(Path(latency_table))),
        file.reference,
    )
    found: dict[str, float] = {}
    if device.profile is not None:
        memory = {"flash": device.profile.flash, "ram": device.profile.ram}
        found |= {name: most for name, most in memory.items() if most is not None}
        if device.profile.pairs:
            found["unsupported"] = 0.0
    for name, text in given.items():
        found[name] = parse_size(text, make_cost(name, space.facts, device).unit, f"limit {name}")
    least = None if floor is None else parse_size(floor, "", file.task.metric)
    wanted: Any = objective  # `Goal` refuses what is none
    fixed = device.profile is not None and (device.profile.widths or device.profile.aligned_biases)
    narrows = found.get("unsupported") == 0 or bool(fixed)
    return Goal(wanted, tuple(costs) or ("bits",), found, least, device.profile, device.latencies, narrows)


def check_methods(goal: Goal, sampler: str, pruner: str) -> None:
    """Refuse a sampler or pruner that can't work towards a goal.

    Raises:
        ConfigError: it can't.
    """
    several = goal.objective is Objective.PARETO
    for what, name, known in (("sampler", sampler, SAMPLERS), ("pruner", pruner, PRUNERS)):
        method = known.get(name)
        if method is not None and (method.single_only if several else method.several_only):
            usable = ", ".join(other for other, m in known.items() if _fits(m, several))
            raise ConfigError(
                f"the {what} {name} can't work for the objective {goal.objective}; those that can: {usable}"
            )
    if pruner == BELIEVED and sampler != AUTO:
        raise ConfigError(f"the pruner {pruner} needs the sampler {AUTO}, but got {sampler}: give another --pruner")


def _fits(method: Method, several: bool) -> bool:
    return not (method.single_only if several else method.several_only)


def reachable(file: SpaceFile, space: ResolvedSpace, goal: Goal) -> tuple[Budget, list[Feasible]]:
    """The limits of a goal, and how each can be met.

    Raises:
        ConfigError: they can't be met, or there is no such cost; the message has the numbers.
    """
    scoring = Scoring.of(file, space.facts, goal)
    for width in sorted({width for choice in space.choices for width in choice.menu.widths}):
        scoring.delta(scoring.costs(space.uniform(width)))  # what can't be costed is refused before the first trial
    budget = budget_of(space, scoring)
    if not budget.costs:
        return budget, []
    budget.repaired(space.uniform(2))
    return budget, budget.feasible()


def refuse_beyond(budget: Budget, config: Config, what: str) -> None:
    """Refuse a config beyond a limit, which would never be trained.

    Raises:
        ConfigError: it is.
    """
    broken = budget.broken(config)
    if broken:
        raise ConfigError(f"{what} is over budget, and would never be trained: {', '.join(broken)}")
