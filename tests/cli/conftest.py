"""What tests of commands share."""

import sys

import pytest

from mpsearch.cli.app import main


@pytest.fixture
def mpsearch(monkeypatch, capsys):
    """Types a command and gives (exit code, standard output, standard error)."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["mpsearch", *map(str, words)])
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else (0 if stop.code is None else 1)
            if isinstance(stop.code, str):
                print(stop.code, file=sys.stderr)
        out, err = capsys.readouterr()
        return code, out, err

    return run
