"""The command `mpsearch`."""

import errno
import os
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from mpsearch.cli import analyse as analyse_commands
from mpsearch.cli import baselines, running, upkeep
from mpsearch.cli import compare as compare_command
from mpsearch.cli import convert as convert_command
from mpsearch.cli import dashboard as dashboard_command
from mpsearch.cli import data as data_command
from mpsearch.cli import doctor as doctor_command
from mpsearch.cli import export as export_commands
from mpsearch.cli import predict as predict_commands
from mpsearch.cli import report as report_command
from mpsearch.cli import sensitivity as sensitivity_commands
from mpsearch.cli import space as space_commands
from mpsearch.cli import storage as storage_commands
from mpsearch.cli.common import INTERRUPTED, open_engine, say, trials_to_tune
from mpsearch.cli.completion import spaces
from mpsearch.cli.options import ABOUT_SPACE, AcceptChange, AsJson, Quiet, Storage, StudyName, examples
from mpsearch.cli.silence import import_tensorflow, show_messages, silence_imports
from mpsearch.cli.unexpected import HANDLED, UnexpectedError, show_traceback, unexpected
from mpsearch.errors import MpsearchError
from mpsearch.version import __version__


class Commands(TyperGroup):
    """The commands; one that Ctrl-C ends, and that has nothing of its own to say of it, says so."""

    def invoke(self, ctx: Any) -> Any:
        debug = bool(ctx.params.get("debug"))
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            say("\ninterrupted before it was done; to start it again give the same command")
            raise typer.Exit(INTERRUPTED) from None
        except HANDLED:
            raise
        except MpsearchError:
            show_traceback(debug)
            raise
        except Exception as error:
            if getattr(error, "errno", None) == errno.EPIPE:  # nobody reads on: `mpsearch study list | head`
                raise
            show_traceback(debug)
            raise UnexpectedError(unexpected(error, debug)) from error


app = typer.Typer(
    name="mpsearch",
    cls=Commands,
    help="Mixed-precision quantization search for Keras models.",
    epilog=examples(
        "demo",
        "space check digits.py",
        "study create --space digits.py --uniform 8",
        "study run digits --trials 20",
        "study best digits --top 3",
        "export digits --format onnx --out exports/digits",
        "run exports/digits/model.onnx --data digits",
    ),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # rich would double the start-up time
)
app.add_typer(upkeep.app, name="study")
app.add_typer(space_commands.app, name="space")
app.add_typer(storage_commands.app, name="storage")


def main() -> None:
    """Run the command line.

    Exits with 0, with 1 after an error, with 2 after wrong usage, with 130 after Ctrl-C, and after SIGTERM where that
    ends a run as Ctrl-C does.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    silence_imports()
    try:
        app()
    except MpsearchError as error:
        sys.exit(f"error: {error}")


def _show_version(asked: bool) -> None:
    if asked:
        print(f"mpsearch {__version__}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_show_version, is_eager=True)
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", envvar="MPSEARCH_DEBUG", help="Show where in the code an error arose.")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", envvar="MPSEARCH_VERBOSE", help="Show what libraries have to say.")
    ] = False,
) -> None:
    """Mixed-precision quantization search for Keras models."""
    if verbose:
        show_messages()


app.command(epilog=running.WORKER_EXAMPLES)(running.worker)
app.command(epilog=baselines.EXAMPLES)(baselines.baselines)
app.command(epilog=sensitivity_commands.EXAMPLES)(sensitivity_commands.sensitivity)
app.command(epilog=sensitivity_commands.SOLVE_EXAMPLES)(sensitivity_commands.solve)
app.command(epilog=compare_command.EXAMPLES)(compare_command.compare)
app.command(epilog=dashboard_command.EXAMPLES)(dashboard_command.dashboard)
app.command(epilog=data_command.EXAMPLES)(data_command.data)
app.command("convert-autoqkeras", epilog=convert_command.EXAMPLES)(convert_command.convert_autoqkeras)
app.command(epilog=doctor_command.EXAMPLES)(doctor_command.doctor)


@app.command(epilog=examples("train digits.py"))
def train(
    space: Annotated[str, typer.Argument(metavar="SPACE", help=ABOUT_SPACE, autocompletion=spaces)],
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Train the float model of a space file and keep it.

    BatchNorm is trained with it. All studies of the same model, recipe and data use these weights.
    """
    from mpsearch.cli.output import print_json
    from mpsearch.progress import EpochProgress
    from mpsearch.spacefile import find_space_file, load_space_file

    task = load_space_file(find_space_file(space)).task
    import_tensorflow()
    from mpsearch.floatmodel import cached_weights, train_float

    data = task.data()
    history = train_float(task, data, EpochProgress("float", task.float_recipe.epochs, quiet or as_json))
    best = history.best(f"val_{task.metric}")
    result = {
        "metric": task.metric,
        "validation": best,
        "epochs": len(history.epochs),
        "weights": str(cached_weights(task, data)),
    }
    if as_json:
        print_json(result)
    else:
        print(
            f"validation {task.metric} {best:.4f} in epoch {history.best_epoch + 1}; weights kept in "
            f"{result['weights']}"
        )
    if task.weights is not None:
        print(
            f"note: the space file names weights of its own ({task.weights}), which studies use instead",
            file=sys.stderr,
        )


@app.command(
    epilog=examples("finetune digits", "finetune digits --top 3", "finetune digits --trial 12 --alpha auto_po2")
)
def finetune(
    name: StudyName,
    trial: Annotated[str, typer.Option(metavar="N", help="Number of the trial, or best.")] = "best",
    top: Annotated[int, typer.Option(metavar="N", help="Fine-tune the N best trials.", min=1)] = 1,
    alpha: Annotated[
        str | None, typer.Option(metavar="MODE", help="Scale mode in place of auto, for instance auto_po2.")
    ] = None,
    accept_change: AcceptChange = False,
    storage: Storage = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Train configs longer, judge them on the test split."""
    from mpsearch.cli.output import print_json, print_table
    from mpsearch.cli.tables import finetuned_rows
    from mpsearch.config import parse_alpha
    from mpsearch.progress import EpochProgress
    from mpsearch.study import open_study

    changed = None if alpha is None else parse_alpha(alpha)
    opened = open_study(name, storage)
    chosen = trials_to_tune(opened, trial, top, changed)
    import_tensorflow()
    from mpsearch.finetuning import finetune as finetune_trial
    from mpsearch.metrics import direction

    engine = open_engine(opened, quiet or as_json, accept_change, () if changed is None else (changed,))
    results = []
    for record in chosen:
        report = EpochProgress(f"trial {record.number}", engine.task.finetune_recipe.epochs, quiet or as_json)
        results.append(finetune_trial(opened, engine, record, changed, report))
    if as_json:
        print_json([result.to_json() for result in results])
        return
    directions = {metric: direction(metric) for metric in engine.task.further_metrics}
    rows = finetuned_rows(results, directions)
    print_table(rows, f"{name}, fine-tuned: {opened.provenance.metric}", spare=["seconds"])
    print("before: validation with the trial's weights; best epoch 0: no epoch was better, these are kept")
    if directions:
        print("↑ ↓: further metrics on the test split, and whether they rise or fall as a model gets better")
    for r in results:
        print(f"trial {r.trial}: {r.folder}")


app.command(epilog=analyse_commands.EXAMPLES)(analyse_commands.analyse)
app.command(epilog=export_commands.EXAMPLES)(export_commands.export)
app.command(epilog=report_command.EXAMPLES)(report_command.report)
app.command(epilog=predict_commands.EXAMPLES)(predict_commands.run)


@app.command(epilog=examples("demo", "demo --trials 10 --seed 1"))
def demo(
    trials: Annotated[int, typer.Option(metavar="N", help="Trials of the search.", min=3)] = 20,
    seed: Annotated[int, typer.Option(metavar="N", help="Seed of the study.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Search a small CNN on digits, from start to end.

    Trains the float model, searches, and compares the best mixed config with uniform ones. Keeps nothing but the float
    model's weights.
    """
    from mpsearch.cli.demo import run_demo

    run_demo(trials, seed, as_json)
