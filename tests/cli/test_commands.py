"""The commands, typed as a user would, on a tiny task."""

import dataclasses
import json
import shlex
import shutil
import signal
import sys
from pathlib import Path

import pytest
import typer

from mpsearch.cli.app import app, main
from mpsearch.errors import StudyError
from mpsearch.export.folders import export_folders
from mpsearch.leases import holding
from mpsearch.records import State, TrialRecord
from mpsearch.study import open_study
from mpsearch.version import __version__

TINY = Path(__file__).resolve().parents[1] / "tiny.py"


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tiny_engine):
    """A folder with a space file of its own; float weights come from the session's cache."""
    made = tmp_path_factory.mktemp("work")
    shutil.copy(TINY, made / "mine.py")
    return made


@pytest.fixture
def engines(monkeypatch):
    """Engines are built once for each set of scale modes."""
    import mpsearch.creation as creation

    made, build = {}, creation.Engine

    def engine(file, report, extra_alphas, data, goal):
        if extra_alphas not in made:
            made[extra_alphas] = build(file, report, extra_alphas, data, goal)
        return made[extra_alphas]

    monkeypatch.setattr(creation, "Engine", engine)
    return made


def test_the_main_path(mpsearch, folder, engines, monkeypatch):
    monkeypatch.chdir(folder)
    code, out, _ = mpsearch("study", "create", "--space", "mine.py", "--sampler", "random", "--uniform", "8")
    assert code == 0
    assert "conv" in out
    assert "2/4/8 auto" in out
    assert "next: mpsearch study run mine" in out

    code, out, _ = mpsearch("study", "run", "mine", "--trials", "2")
    assert code == 0
    assert "[1/2] trial 0: score" in out
    assert "[2/2] trial 1" in out
    assert "mine: best" in out

    code, out, _ = mpsearch("study", "run", "mine", "--trials", "2")
    assert (code, "has 2 trials already" in out) == (0, True)

    code, out, _ = mpsearch("study", "list", "--json")
    assert json.loads(out)[0]["trials"] == 2

    code, out, _ = mpsearch("study", "show", "mine")
    assert "uniform 8" in out
    assert "sampler, pruner, seed" in out
    shown = json.loads(mpsearch("study", "show", "mine", "--json")[1])
    assert [trial["state"] for trial in shown["trials"]] == ["complete", "complete"]
    assert shown["provenance"]["space_text"] == TINY.read_text()

    best = json.loads(mpsearch("study", "best", "mine", "--json")[1])
    assert best[0]["score"] == max(trial["score"] for trial in shown["trials"])

    code, out, _ = mpsearch("export", "mine", "--out", "out")
    assert code == 0
    assert "trial weights" in out
    assert "another fine-tuning" not in out
    assert [found.path for found in export_folders(open_study("mine").folder)] == [(folder / "out").resolve()]
    code, out, err = mpsearch("export", "mine", "--top", "2", "--format", "onnx", "--out", "two", "--accept", "0.9")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines() if line.startswith("  onnx")] == ["onnx", "onnx"]
    assert "onnx: writing two/trial_" in err
    folders = sorted(path.name for path in (folder / "two").iterdir())
    assert folders == ["trial_0", "trial_1"]
    file = f"two/{folders[0]}/model.onnx"
    code, out, _ = mpsearch(
        "run", file, "--data", "digits", "--samples", "50", "--out", "p.csv", "--labels", "zero,one"
    )
    assert code == 0
    assert "frames/s" in out
    lines = (folder / "p.csv").read_text().splitlines()
    assert lines[0] == "sample,predicted,output,target"
    assert len(lines) == 51
    assert {line.split(",")[1] for line in lines[1:]} & {"zero", "one"}
    result = json.loads(mpsearch("run", file, "--data", "mine.py", "--split", "validation", "--json")[1])
    described = json.loads((folder / "two" / folders[0] / "export.json").read_text())
    assert result["samples"] == 128
    assert result["accuracy"] == pytest.approx(described["files"]["onnx"]["comparison"]["exported"], abs=1e-6)
    code, out, _ = mpsearch("finetune", "mine", "--json", "--alpha", "auto_po2")
    assert code == 0
    tuned = json.loads(out)[0]
    assert tuned["changed_alpha"] == "auto_po2"
    assert tuned["test"] > 0.5
    code, out, err = mpsearch("baselines", "mine", "--only", "PTQ M*", "--only", "best mixed*")
    assert code == 0
    assert [line.split("  ")[1] for line in out.splitlines() if line.startswith(("  PTQ", "  best"))] == [
        "PTQ MSE",
        "PTQ MSE + BC",
        "PTQ MSE + CLE",
        "PTQ MSE + CLE + BC",
        "best mixed",
        "best mixed, auto_po2",
    ]
    assert f"best mixed; best mixed, auto_po2: trial {tuned['trial']}" in out
    assert "best mixed, auto_po2: epoch 2/2" in out
    assert "[1/6] PTQ MSE: accuracy 0." in err
    again = json.loads(mpsearch("baselines", "mine", "--only", "best*", "--json")[1])
    assert again[0]["validation"] == pytest.approx(best[0]["metric"])
    kept = json.loads(mpsearch("study", "show", "mine", "--json")[1])["baselines"]
    assert [row for row in kept if row["name"].startswith("best")] == again
    code, _, err = mpsearch("baselines", "mine", "--recipe", "long")
    assert (code, "the recipe must be trial or finetuning" in err) == (1, True)

    code, out, err = mpsearch("export", "mine", "--out", "out", "--alpha", "auto_po2")
    assert code == 1
    assert "--force" in err
    code, out, _ = mpsearch("export", "mine", "--out", "out", "--alpha", "auto_po2", "--force", "--json")
    assert code == 0
    assert [file["weights"] for file in json.loads(out)] == ["fine-tuned"]
    assert (folder / "out" / "model.keras").exists()
    code, out, _ = mpsearch("export", "mine", "--out", "out", "--force")
    assert code == 0
    number = tuned["trial"]
    other = f"mpsearch export mine --trial {number} --alpha auto_po2 --format keras --out out_auto_po2"
    assert f"to export that: {other}" in out

    (folder / "mine.py").write_text(TINY.read_text() + "# changed\n")
    for words in (("study", "run", "mine", "--trials", "3"), ("finetune", "mine"), ("export", "mine", "--out", "no")):
        code, _, err = mpsearch(*words)
        assert code == 1
        assert "+# changed" in err
        assert "--accept-change" in err
    code, out, _ = mpsearch("study", "run", "mine", "--trials", "2", "--accept-change")
    assert (code, "has 2 trials already" in out) == (0, True)
    code, out, _ = mpsearch("study", "run", "mine", "--trials", "3", "--json")
    assert code == 0
    assert json.loads(out)[0]["state"] == "complete"
    code, out, _ = mpsearch("study", "show", "mine")
    assert out.count(" before ") == 2 + 1
    assert "changed" in out
    (folder / "mine.py").write_text(TINY.read_text())
    code, out, _ = mpsearch("export", "mine", "--out", "again", "--accept-change")
    assert code == 0
    assert len(engines) == 3  # as searched, with auto_po2, and with both modes everywhere


def test_a_grid_ends_cleanly_with_the_best(mpsearch, folder, monkeypatch):
    monkeypatch.chdir(folder)
    text = (
        TINY.read_text()
        .replace("bits(2, 4, 8", "bits(8")
        .replace("bits(8, 16", "bits(8")
        .replace("bits(4, 8", "bits(8")
    )
    (folder / "grid.py").write_text(text + 'space.at("dw", kernel=bits(4, 8))\n')
    assert mpsearch("study", "create", "--space", "grid.py", "--sampler", "grid")[0] == 0
    code, out, _ = mpsearch("study", "run", "grid")
    assert code == 0
    assert "grid: best" in out
    assert "ended after 2 trials: all 2 configs of the grid were tried" in out


def test_train_keeps_the_weights_where_studies_find_them(mpsearch, tiny_file, tiny_engine, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    code, out, _ = mpsearch("train", TINY, "--json")
    assert code == 0
    found = json.loads(out)
    assert Path(found["weights"]).exists()
    assert found["validation"] > 0.7


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("study", "run", "none"), 1, "error: there is no"),
        (("study", "create", "--space", "none.py"), 1, "error: there is no space file `none.py`"),
        (("export", "x", "--out", "y", "--format", "onx"), 1, "must be one of onnx, litert, keras, qonnx, but got onx"),
        (("run", "x.onnx"), 1, "give either --data or --camera"),
        (("run", "x.pb", "--data", "digits"), 1, "its name must end as one of *.onnx, *.tflite, *.keras, *.qonnx.onnx"),
        (("run", "x.onnx", "--data", "digits"), 1, "there is no file x.onnx"),
        (("finetune", "x", "--alpha", "auto_po3"), 1, "must be one of"),
        (("study", "list", "--storage", "sqlite://"), 1, "keeps its data in memory"),
        (("study", "run"), 2, "Missing argument"),
        (("study", "run", "x", "--until-score", "nan"), 2, "must be a finite number, but got nan"),
        (("study", "rename", "x", ""), 2, "a study needs a name"),
        (("study", "copy", "x", " "), 2, "a study needs a name"),
        (("study", "import", "x.json", "--name", ""), 2, "a study needs a name"),
        (("study", "create", "--space", "digits.py", "--name", ""), 2, "a study needs a name"),
        (("study", "tag", "x", ""), 1, "a tag must not be empty"),
        (("study", "tag", "x", "--remove"), 1, "mpsearch study tag x TAG --remove"),
        (("study", "run", "x", "--trials", "0"), 2, "trials"),
        (("nonsense",), 2, "nonsense"),
    ],
)
def test_errors_say_what_to_do_and_exit_with_1_or_2(mpsearch, tmp_path, monkeypatch, words, code, message):
    monkeypatch.chdir(tmp_path)
    found, _, err = mpsearch(*words)
    assert found == code
    assert message in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("words", "loads"),
    [
        (("train", TINY), "mpsearch.cli.app.import_tensorflow"),
        (("study", "best", "x"), "mpsearch.study.open_study"),
        (("space", "check", TINY), "mpsearch.spacefile.load_space_file"),
    ],
)
def test_an_interrupted_command_says_so_and_exits_with_130(mpsearch, monkeypatch, words, loads):
    def interrupted(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(loads, interrupted)
    code, out, err = mpsearch(*words)
    assert (code, out) == (130, "")
    assert err.strip() == "interrupted before it was done; to start it again give the same command"


@pytest.mark.parametrize("words", [("study", "run"), ("worker",)], ids=" ".join)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_ctrl_c_or_sigterm_ends_says_how_to_go_on_and_exits_with_130(
    mpsearch, tiny_study, monkeypatch, words, number
):
    def here(*args, **options):
        signal.raise_signal(number)

    tiny_study("mine")
    monkeypatch.setattr("mpsearch.cli.running._here", here)
    code, out, err = mpsearch(*words, "mine", "--trials", "3")
    assert (code, out) == (130, "")
    assert err == f"interrupted after 0 of 3 trials; go on with: mpsearch {' '.join(words)} mine --trials 3\n"


def test_a_run_that_is_interrupted_while_its_storage_is_away_exits_with_130_at_once(mpsearch, tiny_study, monkeypatch):
    def here(*args, **options):
        monkeypatch.setattr("mpsearch.study.Study.finished", property(away))
        raise KeyboardInterrupt

    def away(study):
        assert study._study._storage.patience == 0
        raise StudyError("the storage is away")

    tiny_study("mine")
    monkeypatch.setattr("mpsearch.cli.running._here", here)
    code, out, err = mpsearch("worker", "mine", "--patience", "3")
    assert (code, out) == (130, "")
    assert err == "interrupted; go on with: mpsearch worker mine and the options as before\n"


def test_interrupted_repeats_exit_with_130(mpsearch, tiny_study, tiny_engine, monkeypatch):
    def interrupted(*args):
        raise KeyboardInterrupt

    study = tiny_study("mine")
    record(study, tiny_engine)
    monkeypatch.setattr("mpsearch.creation.Engine", lambda *args: tiny_engine)
    monkeypatch.setattr("mpsearch.runners.repeats.repeat", interrupted)
    code, _, err = mpsearch("study", "repeat", "mine", "--quiet")
    assert code == 130
    assert err.endswith("interrupted; the same command goes on with the repeats that are missing\n")


def record(study, engine, holder=None):
    """Add a trial that is complete, or with a holder one that runs."""
    asked = study.ask(engine.network.space, holder)
    if holder is None:
        costs = engine.costs(asked.config).to_json()
        done = TrialRecord(asked.number, State.COMPLETE, metric=0.5, score=0.5, costs=costs, delta=0.0)
        study.complete(asked.number, done)


@pytest.mark.parametrize("words", [("study", "run"), ("worker",)], ids=" ".join)
def test_a_study_at_its_end_gets_back_the_trials_of_dead_processes(mpsearch, tiny_study, tiny_engine, words):
    study = tiny_study("mine")
    record(study, tiny_engine)
    with holding() as (holder, _):
        record(study, tiny_engine, dataclasses.replace(holder, token="dead", process=2**22 + 1))
    code, out, _ = mpsearch(*words, "mine", "--trials", "1")
    assert (code, "has 1 trial already" in out) == (0, True)
    states = [found.state for found in open_study("mine").records()]
    assert states == [State.COMPLETE, State.BROKEN, State.WAITING]


@pytest.mark.parametrize(
    ("words", "address"),
    [
        (("--ray",), "local"),
        (("--ray", "--cpus", "2"), "local"),
        (("--ray", "auto", "--quiet"), "auto"),
        (("--ray=head:6379",), "head:6379"),
        (("--ray", "head:6379"), "head:6379"),
    ],
    ids=" ".join,
)
def test_ray_may_stand_without_an_address(mpsearch, tiny_study, monkeypatch, words, address):
    asked = []
    monkeypatch.setattr("mpsearch.cli.running._on_ray", lambda *given: asked.append(given[-1]["address"]) or "")
    monkeypatch.setattr("mpsearch.cli.running.print_best", lambda *given: None)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    tiny_study("mine")
    assert mpsearch("study", "run", "mine", *words)[0] == 0
    monkeypatch.setenv("RAY_ADDRESS", "head:6379")
    assert mpsearch("study", "run", "mine", *words)[0] == 0
    assert asked == [address, "auto" if words[0] == "--ray" and address == "local" else address]


def test_without_ray_the_extra_is_named(mpsearch, tiny_study, monkeypatch):
    tiny_study("mine")
    monkeypatch.delitem(sys.modules, "mpsearch.runners.ray_tune", raising=False)
    monkeypatch.setitem(sys.modules, "ray", None)
    code, _, err = mpsearch("study", "run", "mine", "--ray", "local")
    assert (code, err) == (1, "error: running on Ray needs ray: pip install 'mpsearch[ray]'\n")


def test_a_ray_client_is_refused(mpsearch, tiny_study):
    pytest.importorskip("ray", reason="ray isn't installed")
    tiny_study("mine")
    code, _, err = mpsearch("study", "run", "mine", "--ray", "ray://head:10001")
    assert code == 1
    assert err.startswith("error: the process that holds a study can't be a Ray client (ray://head:10001): run it on ")


def commands(group, prefix=()):
    for name, command in typer.main.get_command(group).commands.items():
        if hasattr(command, "commands"):
            yield from (((*prefix, name, sub), c) for sub, c in command.commands.items())
        else:
            yield (*prefix, name), command


COMMANDS = [pytest.param(w, c, id=" ".join(w)) for w, c in commands(app)]


def examples_of(command):
    """The examples at the end of a command's help, each split into words as a shell does."""
    head, *lines = command.epilog.replace("\\\n", " ").removeprefix("\b\n").splitlines()
    assert head == "Examples:"
    return [shlex.split(line) for line in lines]


@pytest.mark.parametrize(("words", "command"), COMMANDS)
def test_each_help_ends_with_examples_that_the_command_takes(words, command):
    assert command.help
    for program, *typed in examples_of(command):
        assert (program, *typed[: len(words)]) == ("mpsearch", *words)
        rest = typed[len(words) :]
        command.make_context(" ".join(words), rest[: rest.index(">")] if ">" in rest else rest)


@pytest.mark.parametrize(("words", "command"), COMMANDS)
def test_each_option_has_an_example(words, command):
    shared = {"--json", "--quiet", "--accept-change", "--storage", "--help"}
    typed = {word for example in examples_of(command) for word in example}
    assert {option for p in command.params for option in p.opts if option.startswith("--")} <= typed | shared


def test_the_shared_options_have_an_example():
    typed = {word for _, command in commands(app) for example in examples_of(command) for word in example}
    assert {"--json", "--accept-change", "--storage"} <= typed


@pytest.mark.parametrize(
    "words", [(), ("study",), ("space",), ("storage",), *(param.values[0] for param in COMMANDS)], ids=" ".join
)
def test_a_help_fits_80_columns_with_no_line_of_it_cut(mpsearch, monkeypatch, words):
    monkeypatch.setenv("COLUMNS", "80")
    code, out, _ = mpsearch(*words, "--help")
    assert code == 0
    assert all(len(line) <= 80 for line in out.splitlines())
    assert "..." not in out.replace("[ARGS]...", "").replace("[TAG]...", "").replace("{NAMES}...", "")
    assert "\n  Examples:\n    mpsearch " in out


def test_every_command_that_prints_a_table_has_json():
    with_json = {" ".join(words) for words, c in commands(app) if any("--json" in p.opts for p in c.params)}
    assert with_json >= {
        "train",
        "finetune",
        "baselines",
        "export",
        "run",
        "demo",
        "data",
        "study create",
        "study list",
        "study show",
        "study best",
        "storage check",
    }


def test_the_version_is_printed(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["mpsearch", "--version"])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code in (0, None)
    assert capsys.readouterr().out == f"mpsearch {__version__}\n"
