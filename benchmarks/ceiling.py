"""What the best configs of the AutoQKeras comparison are worth, as far as many trainings can tell.

    python benchmarks/ceiling.py --train 150 --trained trained.json     # random configs, judged by the test split
    python benchmarks/ceiling.py --trained trained.json --finals 4 --out ceiling.json

A search sees 2,000 validation images and has five minutes. Here, random configs are trained and judged by the 8,000
test images that no search may see; a sum over choices is fitted to their accuracy (ridge regression), and its best
config found, choice by choice. That one and the three that did best are trained again: what a search can hope for. They
are chosen by the test images, as no search's winner is. Not a timing.
"""

import argparse
import json
import sys
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

SPACE = Path(__file__).with_name("autoqkeras_resnet8.py")
RIDGE = 1.0
CLIMBS = 6


def drawn(sizes: list[int], rng: np.random.Generator) -> list[int]:
    """Positions of a random config: from one to the next the share of narrow widths varies."""
    narrow = rng.uniform(0.2, 1.0)
    return [0 if rng.uniform() < narrow else min(1 + int(rng.uniform() > 0.85), size - 1) for size in sizes]


class Judge:
    """Trains configs, and judges them by the test split."""

    def __init__(self) -> None:
        from mpsearch.goal import Goal
        from mpsearch.searching.engine import Engine
        from mpsearch.spacefile import load_space_file

        self.engine = Engine(load_space_file(SPACE), goal=Goal(costs=("autoqkeras_bits",)))
        self.space = self.engine.network.space
        self.sizes = [len(choice.specs) for choice in self.space.choices]

    def config(self, positions: Any) -> Any:
        return next(self.space.configs(np.array([positions])))

    def delta(self, positions: Any) -> float:
        config = self.config(positions)
        return float(self.engine.delta(self.engine.costs(config)))

    def train(self, positions: list[int], seed: int) -> dict[str, Any]:
        engine = self.engine
        outcome = engine.train(self.config(positions), seed)
        engine.network.load_state(outcome.state)
        accuracy = engine.session(engine.task.training).evaluate(engine.data, engine.data.test)["accuracy"]
        delta = self.delta(positions)
        return {"positions": positions, "delta": delta, "validation": outcome.metric, "test": accuracy}


def fitted(judge: Judge, rows: list[dict[str, Any]]) -> tuple[list[int], float]:
    """The config that the fitted sum promises most of, and the score that it promises."""
    positions = np.array([row["positions"] for row in rows])
    features = np.column_stack([np.ones(len(rows)), positions == 0]).astype(float)
    penalty = np.diag([0.0] + [RIDGE] * positions.shape[1])
    weights = np.linalg.solve(features.T @ features + penalty, features.T @ np.array([row["test"] for row in rows]))

    def promised(row: np.ndarray) -> float:
        return float(weights[0] + (row == 0) @ weights[1:]) * (1 + judge.delta(row))

    best: tuple[float, list[int]] = (0.0, [])
    for climb in range(CLIMBS):
        here = np.random.default_rng(climb).integers(0, 2, positions.shape[1])
        height = promised(here)
        while True:
            around = [np.where(np.arange(len(here)) == n, 1 - here, here) for n in range(len(here))]
            heights = [promised(row) for row in around]
            if max(heights) <= height:
                break
            height, here = max(heights), around[int(np.argmax(heights))]
        best = max(best, (height, here.tolist()))
    return best[1], best[0]


def main() -> None:
    """Train, or fit and train again."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trained", type=Path, required=True, help="JSON of trainings, read and added to")
    parser.add_argument("--train", type=int, default=0, help="so many further random configs")
    parser.add_argument("--finals", type=int, default=4)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    judge, rows = Judge(), json.loads(args.trained.read_text()) if args.trained.exists() else []
    for _ in range(args.train):
        rng = np.random.default_rng(len(rows))
        rows.append(judge.train(drawn(judge.sizes, rng), len(rows)))
        args.trained.write_text(json.dumps(rows))
    if args.train:
        return
    best, promised = fitted(judge, rows)
    top = sorted(rows, key=lambda row: -row["test"] * (1 + row["delta"]))[:3]
    chosen = {
        "best of the fit": best,
        **{f"number {n + 1} of those trained": row["positions"] for n, row in enumerate(top)},
    }
    result: dict[str, Any] = {"trainings": len(rows), "promised": promised, "configs": []}
    for name, positions in chosen.items():
        finals = [judge.train(positions, 20_000 + again) for again in range(args.finals)]
        scores = [final["test"] * (1 + final["delta"]) for final in finals]
        result["configs"].append(
            {"config": name, "delta": finals[0]["delta"], "positions": positions, "scores": scores}
        )
        print(f"{name}: {fmean(scores):.4f}", file=sys.stderr, flush=True)
    text = json.dumps(result, indent=1)
    if args.out:
        args.out.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
