"""What a cost is made of: the operations or sites that contribute most."""

from mpsearch.config import Config
from mpsearch.costs.model import Cost
from mpsearch.costs.specs import Specs


def made_of(cost: Cost, config: Config, count: int) -> list[tuple[str, float]]:
    """The operations or sites that contribute most to a config's cost, the largest first; none where it has no parts.

    Args:
        cost: of the model.
        config: the specs.
        count: so many at most.
    """
    parts = cost.parts(Specs.of(cost.facts, [config]))
    if parts is None:
        return []
    ordered = sorted(zip(parts[0], parts[1][0], strict=True), key=lambda part: -part[1])
    return [(name, float(value)) for name, value in ordered[:count] if value > 0]
