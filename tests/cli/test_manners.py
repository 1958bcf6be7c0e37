"""How commands behave towards people: errors, suggestions, colours, completion."""

import io
import os
import sys

import pytest
from rich.console import Console

from mpsearch.cli import export, output
from mpsearch.cli.completion import among, spaces, studies
from mpsearch.errors import StudyError
from mpsearch.export.formats import FORMATS


@pytest.fixture(autouse=True)
def variables(monkeypatch):
    """What `--verbose` sets is gone after a test."""
    for name in ("MPSEARCH_DEBUG", "MPSEARCH_VERBOSE", "TF_CPP_MIN_LOG_LEVEL"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


def broken(*arguments):
    raise ValueError("the sky fell\nand more")


def test_an_error_that_nobody_expected_is_one_line(mpsearch, monkeypatch):
    monkeypatch.setattr("mpsearch.study.study_names", lambda storage: int("seven"))
    monkeypatch.setattr("mpsearch.cli.unexpected._is_users", lambda path: False)
    code, out, err = mpsearch("study", "list")
    assert (code, out) == (1, "")
    assert err == (
        "error: ValueError: invalid literal for int() with base 10: 'seven'; this is a defect of mpsearch, or of a "
        "package that it uses; please report it, with what `mpsearch --debug …` shows\n"
    )


def test_an_error_in_the_user_s_code_names_file_and_line(mpsearch, monkeypatch):
    monkeypatch.setattr("mpsearch.study.study_names", broken)
    code, _, err = mpsearch("study", "list")
    line = broken.__code__.co_firstlineno + 1
    assert (code, err.count("\n")) == (1, 1)
    assert err.startswith("error: ValueError: the sky fell; it arose from ")
    assert f"test_manners.py, line {line}; `mpsearch --debug …` shows how" in err


@pytest.mark.parametrize("by", ["option", "variable"])
def test_debug_shows_the_traceback_of_any_error(mpsearch, monkeypatch, by):
    def refuse(storage):
        raise StudyError("there is none")

    words = ("--debug",) if by == "option" else ()
    if by == "variable":
        monkeypatch.setenv("MPSEARCH_DEBUG", "1")
    for function, last in ((broken, "error: ValueError: the sky fell; it arose"), (refuse, "error: there is none")):
        monkeypatch.setattr("mpsearch.study.study_names", function)
        code, _, err = mpsearch(*words, "study", "list")
        assert code == 1
        assert err.startswith("Traceback (most recent call last)")
        assert err.splitlines()[-1].startswith(last)
        assert "--debug" not in err.splitlines()[-1]


def test_verbose_lets_libraries_speak(mpsearch, tmp_path, monkeypatch):
    import optuna

    before = optuna.logging.get_verbosity()
    monkeypatch.setattr("logging.basicConfig", lambda **options: None)
    monkeypatch.chdir(tmp_path)
    mpsearch("--verbose", "study", "list", "--storage", "sqlite:///nowhere/mine.db")
    assert (os.environ["MPSEARCH_VERBOSE"], os.environ["TF_CPP_MIN_LOG_LEVEL"]) == ("1", "0")
    assert optuna.logging.get_verbosity() == before


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (("stduy",), "'study'"),
        (("study", "rnu"), "'run'"),
        (("study", "run", "mine", "--trails", "3"), "--trials"),
        (("study", "show", "mien"), "did you mean `mine`?"),
        (("study", "create", "--space", "resnt8"), "did you mean resnet8.py?"),
        (("study", "create", "--space", "digits", "--sampler", "tp"), "did you mean tpe?"),
        (("study", "create", "--space", "digits", "--pruner", "medan"), "did you mean median?"),
        (
            ("study", "create", "--space", "digits", "--sampler", "tpe", "--sampler-option", "n_startup_trial=3"),
            "did you mean n_startup_trials?",
        ),
        (("export", "mine", "--out", "o", "--format", "onx"), "did you mean onnx?"),
        (("data", "cifar1"), "did you mean cifar10?"),
        (("finetune", "mine", "--alpha", "auto_po"), "did you mean auto_po2?"),
    ],
)
def test_what_was_probably_meant_is_suggested(mpsearch, tiny_study, words, meant):
    tiny_study("mine")
    code, _, err = mpsearch(*words)
    assert code in (1, 2)
    assert meant in err


def test_a_study_that_was_exported_in_part_is_refused(mpsearch, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "half.json").write_text('{"kind": "mpsearch study", "name": "half"}')
    code, _, err = mpsearch("study", "import", "half.json")
    assert (code, "it lacks format, provenance, attributes, trials: export it again" in err) == (1, True)


@pytest.mark.parametrize(("no_color", "escapes"), [("", True), ("1", False)])
def test_no_color_holds_for_tables(monkeypatch, no_color, escapes):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setenv("NO_COLOR", no_color)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "80")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    assert Console().is_terminal
    output.print_table([{"name": "a", "value": 1}], "title")
    assert ("\x1b[" in terminal.getvalue()) == escapes


def test_shells_complete_names(tiny_study, tmp_path, monkeypatch):
    monkeypatch.delenv("MPSEARCH_STORAGE", raising=False)
    assert studies("") == []
    tiny_study("mine")
    tiny_study("other")
    assert (studies(""), studies("m")) == (["mine", "other"], ["mine"])
    monkeypatch.setenv("MPSEARCH_STORAGE", f"sqlite:///{tmp_path}/studies/mpsearch.db")
    assert studies("o") == ["other"]
    for url in ("postgresql://me@db/studies", "sqlite:///none.db"):
        monkeypatch.setenv("MPSEARCH_STORAGE", url)
        assert studies("") == []
    (tmp_path / "digits_of_mine.py").touch()
    assert {"digits.py", "digits_of_mine.py"} <= set(spaces("dig"))
    assert among(["tpe", "random"])("t") == ["tpe"]
    assert set(export.FORMAT_NAMES) == set(FORMATS)


def test_a_shell_is_told_how_to_complete(mpsearch, monkeypatch):
    monkeypatch.setattr("typer._completion_shared._get_shell_name", lambda: "bash", raising=False)
    code, out, _ = mpsearch("--help")
    assert code == 0
    assert "--install-completion" in out
    assert "--debug" in out
    assert "--verbose" in out
