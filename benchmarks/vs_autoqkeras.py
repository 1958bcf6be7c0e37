"""mpsearch against AutoQKeras: the same float weights, data, sites, menus, cost and training.

    MPSEARCH_DATA=… python benchmarks/vs_autoqkeras.py --traces FOLDER --seeds 0 1 2 --out result.json
    python benchmarks/vs_autoqkeras.py --space autoqkeras_ds_cnn --write-task task.npz
    python benchmarks/vs_autoqkeras.py --space autoqkeras_ds_cnn --traces FOLDER --out result.json
    python benchmarks/vs_autoqkeras.py --samplers tpe --trials 80 --known auto.json --out both.json
    python benchmarks/vs_autoqkeras.py --traces FOLDER --known result.json --seeds --theirs --out result.json

AutoQKeras's runs are recorded, those of `run_autoqkeras_ds_cnn.py` for instance, which needs the task: JSON traces with
a row for each epoch (`t` seconds since its search began, without imports and loading; `epoch`; `val_acc`; `val_score`;
`val_trial`, a size in bits), in files whose names begin with the space's. Ours are run here, each in a process
of its own, whose time counts from its start: imports, loading, building, sensitivities, all of it. Another process has
just imported the same, so that what is read from the disk is in memory. Run it where mpsearch alone is installed, as
users have it: Keras imports whatever it finds of matplotlib, pandas and JAX as well. A score is that of a trial's best
epoch so far, as there.

Machines differ, and so do a machine's hours. `--yardstick` names a command that prints `float_epoch_seconds`, what an
epoch of the float model takes AutoQKeras's TensorFlow here; their runs recorded the same where they ran. It is measured
after each run of ours.

Besides the times, the winner of each run, by what is believed of its score after all of them, is trained again with
three seeds, and judged on the test images that no search has seen. After the first run the uniform configs are
trained as well: what counts is how far a search gets beyond them. `--theirs` trains the config of AutoQKeras's best
trial with our engine as well, and judges it in the same way: what it is worth, but for the training that it had.
"""

import argparse
import importlib
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
GOALS = {  # besides AutoQKeras's bests, and what lies beyond all uniform configs
    "autoqkeras_resnet8": (0.88, 0.89),
    "autoqkeras_ds_cnn": (1.06, 1.07, 1.08, 1.09),
}
FINALS = 3  # trainings of a winner


def ours(
    space_file: Path, sampler: str, seed: int, limits: Any, finals: int = FINALS, uniform: bool = False
) -> dict[str, Any]:
    """A run of ours in this process, which began at the time that the environment says."""
    began = float(os.environ["BENCHMARK_BEGAN"])
    from mpsearch.cli.silence import import_tensorflow

    import_tensorflow()  # as the command line does
    from mpsearch.creation import provenance_of
    from mpsearch.goal import Goal
    from mpsearch.methods import usual_pruner
    from mpsearch.probing import prepare
    from mpsearch.ranking import ranked
    from mpsearch.runners.inprocess import run
    from mpsearch.searching.engine import Engine
    from mpsearch.spacefile import load_space_file
    from mpsearch.study import create_study

    file, goal = load_space_file(space_file), Goal(costs=("autoqkeras_bits",))
    engine = Engine(file, goal=goal)
    space = engine.network.space
    study = create_study(
        "benchmark", provenance_of(file, engine.data, space, seed, sampler, usual_pruner(sampler, False), goal=goal)
    )
    built = time.time() - began
    prepare(study, engine)
    probed = time.time() - began
    rows: list[dict[str, float]] = []

    class Progress:
        def trial_started(self, number: int, config: Any) -> None:
            self.delta = engine.delta(engine.costs(config))

        def epoch_ended(self, number: int, epoch: int, logs: dict[str, float]) -> None:
            score = logs["val_accuracy"] * (1 + self.delta)
            rows.append({"t": time.time() - began, "trial": number, "epoch": epoch, "score": score})

        def trial_ended(self, record: Any) -> None: ...

    left = None if limits.seconds is None else max(limits.seconds - probed, 1.0)
    run(study, engine, replace(limits, seconds=left), Progress())
    ended = time.time() - began
    winner = ranked(study, 1)[0].record
    config = winner.config
    delta = engine.delta(engine.costs(config))
    scores = judged(engine, config, range(1000 + 10 * seed, 1000 + 10 * seed + finals))
    uniforms = {}
    for width in (4, 8, 16) if uniform else ():
        alike = space.uniform(width)
        uniforms[width] = engine.train(alike, 1000 + seed).metric * (1 + engine.delta(engine.costs(alike)))
    return {
        "uniform": uniforms,
        "sampler": sampler,
        "seed": seed,
        "built": built,
        "probed": probed,
        "seconds": ended,
        "trials": len(study.records()),
        "rows": rows,
        "best": max(row["score"] for row in rows),
        "winner": {"trial": winner.number, "score": winner.score, "delta": delta, "finals": scores},
    }


def yardstick(command: str) -> float:
    """What an epoch of the float model takes AutoQKeras's TensorFlow on this machine now, in seconds.

    The lesser of two measurements: the first reads its libraries from the disk.
    """
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    found = []
    for _ in range(2):
        done = subprocess.run(shlex.split(command), env=environment, stdout=subprocess.PIPE, text=True, check=True)
        found.append(float(json.loads(done.stdout.splitlines()[-1])["float_epoch_seconds"]))
    return min(found)


def judged(engine: Any, config: Any, seeds: Iterable[int]) -> list[dict[str, float]]:
    """What a config is worth: trained with each seed, and judged on the test images."""
    session, delta, scores = engine.session(engine.task.training), engine.delta(engine.costs(config)), []
    for seed in seeds:
        outcome = engine.train(config, seed)
        engine.network.load_state(outcome.state)
        accuracy = session.evaluate(engine.data, engine.data.test)["accuracy"]
        scores.append(
            {"validation": outcome.metric * (1 + delta), "test": accuracy * (1 + delta), "accuracy": accuracy}
        )
    return scores


def theirs(space_file: Path, trial: dict[str, Any], finals: int) -> list[dict[str, float]]:
    """What the config of one of AutoQKeras's trials is worth, trained by our engine: its widths on our menus."""
    from mpsearch.config import Config
    from mpsearch.goal import Goal
    from mpsearch.searching.engine import Engine
    from mpsearch.spacefile import load_space_file

    engine = Engine(load_space_file(space_file), goal=Goal(costs=("autoqkeras_bits",)))
    widths = widths_of(space_file, trial)
    menus = engine.network.space.menus
    specs = {
        site: next(spec for spec in menus[site].specs if spec.bits == widths[site]) for site in menus if site in widths
    }
    if specs.keys() != menus.keys():
        raise SystemExit(f"AutoQKeras's trial has no widths for {sorted(menus.keys() - specs.keys())}")
    return judged(engine, Config(specs), range(1000, 1000 + finals))


def first_time(rows: list[dict[str, Any]], goal: float, score: str = "score") -> float | None:
    """When a score was reached first, in seconds."""
    return next((row["t"] for row in rows if row[score] >= goal), None)


def widths_of(space_file: Path, trial: dict[str, Any]) -> dict[str, int]:
    """The widths of a trial of AutoQKeras's, by our sites."""
    counted, widths = _counted(space_file), {}
    for name, quantizer in trial["config"].items():
        layer, _, role = name.removesuffix("_quantizer").rpartition("_")
        if role == "activation" and layer.endswith("_relu"):
            layer = layer.removesuffix("_relu")
        elif role == "activation":  # activation, activation_1, …: the ReLUs in order
            number = layer.removeprefix("activation").lstrip("_")
            layer = counted.RELU[int(number) if number else 0]
        widths[f"{layer}/{role}"] = int(quantizer.partition("(")[2].partition(",")[0])
    return widths


def _counted(space_file: Path) -> Any:
    """The space file as a module, with what it counts."""
    if str(FOLDER) not in sys.path:
        sys.path.insert(0, str(FOLDER))
    return importlib.import_module(space_file.stem)


def check_sizes(space_file: Path, trace: dict[str, Any]) -> int:
    """Compare the sizes of the recorded configs with our cost; how many there are."""
    from mpsearch import facts_of
    from mpsearch.config import Config, QuantizerSpec
    from mpsearch.spacefile import load_space_file

    facts, count = facts_of(load_space_file(space_file).task.build()), 0
    for trial in trace.get("trials", []):
        specs = {site: QuantizerSpec(width) for site, width in widths_of(space_file, trial).items()}
        size = _counted(space_file).autoqkeras_bits(facts, Config(specs))
        recorded = trial["metrics"]["val_trial"]
        if size != recorded:
            raise SystemExit(f"trial {trial['id']}: AutoQKeras counts {recorded:,.0f} bits, our cost {size:,}")
        count += 1
    return count


def write_task(space_file: Path, path: Path) -> None:
    """Write what AutoQKeras's run needs: training and validation data, and float weights with BatchNorms folded.

    The float model is trained, and its weights are kept for our runs in the cache folder.
    """
    import numpy as np

    from mpsearch.floatmodel import float_model
    from mpsearch.folders import cache_folder
    from mpsearch.searching.engine import Engine
    from mpsearch.spacefile import load_space_file

    float_task = _counted(space_file)._float_task
    trained = float_model(float_task, float_task.data(), FOLDER)
    trained.save_weights(cache_folder() / f"{space_file.stem}.weights.h5")
    engine = Engine(load_space_file(space_file))
    found = {}
    for name in ("train", "validation"):
        split = getattr(engine.data, name)
        found |= {f"{name}_x": np.asarray(engine.data.inputs(split.x)), f"{name}_y": split.y}
    for layer in engine.network.float_model.layers:
        if layer.weights:
            found |= {f"{layer.name}/{w.name}": np.asarray(w) for w in layer.weights}
    np.savez(path, **found)


def main() -> None:
    """Run all of it and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", default="autoqkeras_resnet8", help="file beside this one")
    parser.add_argument("--write-task", type=Path, metavar="FILE", help="write data and weights for AutoQKeras's run")
    parser.add_argument("--traces", type=Path, help="folder of AutoQKeras's traces")
    parser.add_argument("--known", type=Path, nargs="+", default=[], help="earlier results, whose runs are kept")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--samplers", nargs="+", default=["auto"])
    parser.add_argument("--seconds", type=float, default=330.0, help="when a run of ours ends")
    parser.add_argument("--trials", type=int, help="after which it ends, in place of a time")
    parser.add_argument("--finals", type=int, default=FINALS)
    parser.add_argument("--yardstick", metavar="COMMAND", help="prints what an epoch of the float model takes")
    parser.add_argument("--theirs", action="store_true", help="train the configs of AutoQKeras's best trials as well")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--one", nargs=2, metavar=("SAMPLER", "SEED"), help=argparse.SUPPRESS)
    parser.add_argument("--uniform", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    space_file = FOLDER / f"{args.space}.py"
    goals_here = GOALS.get(args.space, ())
    if args.write_task:
        write_task(space_file, args.write_task)
        return
    if args.one:
        from mpsearch.runners.limits import Limits

        limits = Limits(trials=args.trials) if args.trials else Limits(seconds=args.seconds)
        print(json.dumps(ours(space_file, args.one[0], int(args.one[1]), limits, args.finals, args.uniform)))
        return
    result: dict[str, Any] = {"autoqkeras": {}, "runs": []}
    known = [json.loads(file.read_text()) for file in args.known]
    for file in sorted(args.traces.glob(f"{args.space}*.json")) if args.traces else []:
        trace = json.loads(file.read_text())
        rows = [{"t": row["t"], "score": row["val_score"]} for row in trace["rows"]]
        result["autoqkeras"][file.stem] = {
            "sizes compared": check_sizes(space_file, trace),
            "best": max(row["score"] for row in rows),
            "seconds": rows[-1]["t"],
            "yardstick": trace.get("float_epoch_seconds"),
            "to": {str(goal): first_time(rows, goal) for goal in goals_here},
            "rows": rows,
        }
        if args.theirs and "trials" in trace:
            best = max(trace["trials"], key=lambda trial: trial["score"])
            result["autoqkeras"][file.stem]["finals"] = theirs(space_file, best, args.finals)
    for earlier in known:
        for name, found in earlier["autoqkeras"].items():
            if "finals" in found and name in result["autoqkeras"]:
                result["autoqkeras"][name].setdefault("finals", found["finals"])
    bests = [trace["best"] for trace in result["autoqkeras"].values()]

    def add(found: dict[str, Any]) -> None:
        """Add a run, with the times that it took to each goal."""
        result["runs"].append(found)
        beyond = max(result["runs"][0]["uniform"].values()) + 0.01
        goals = {**{str(goal): goal for goal in (*goals_here, *bests)}, "best uniform + 0.01": beyond}
        found["to"] = {name: first_time(found["rows"], goal) for name, goal in goals.items()}
        if args.out:
            args.out.write_text(json.dumps(result, indent=1) + "\n")

    for earlier in known:
        for found in earlier["runs"]:
            add(found)
    for seed in args.seeds:
        for sampler in args.samplers:
            with tempfile.TemporaryDirectory() as folder:
                subprocess.run([sys.executable, "-c", "import mpsearch.searching.engine"], check=True)
                command = [sys.executable, str(Path(__file__).resolve()), "--one", sampler, str(seed)]
                command += ["--space", args.space]
                options = ["--seconds", str(args.seconds), "--finals", str(args.finals)]
                options += ["--trials", str(args.trials)] if args.trials else []
                options += [] if result["runs"] else ["--uniform"]
                environment = {**os.environ, "BENCHMARK_BEGAN": str(time.time())}
                done = subprocess.run(
                    [*command, *options], cwd=folder, env=environment, stdout=subprocess.PIPE, text=True, check=True
                )
            found = json.loads(done.stdout.splitlines()[-1])
            found["yardstick"] = yardstick(args.yardstick) if args.yardstick else None
            add(found)
            finals = [final["test"] for final in found["winner"]["finals"]]
            shown = {key: found[key] for key in ("sampler", "seed", "built", "probed", "trials", "best", "to")}
            print(json.dumps({**shown, "on untouched images": finals}), file=sys.stderr, flush=True)
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
