"""The command `mpsearch doctor`."""

from contextlib import suppress

import typer

from mpsearch.cli.options import AsJson, Storage, examples
from mpsearch.cli.silence import import_tensorflow

EXAMPLES = examples("doctor", "doctor --storage sqlite:///studies/mine.db", "doctor --json")


def doctor(storage: Storage = None, as_json: AsJson = False) -> None:
    """Look whether all is there that mpsearch needs.

    Where something isn't, it is said what to do.

    Exits with 1 where there is a problem; notes are none.
    """
    from mpsearch.cli.common import counted
    from mpsearch.cli.output import print_json, print_table
    from mpsearch.doctor import Verdict, checks

    with suppress(Exception):  # what keeps it from starting is one of the checks
        import_tensorflow()
    found = list(checks(storage))
    problems = [check for check in found if check.verdict is Verdict.PROBLEM]
    if as_json:
        print_json([check.to_json() for check in found])
    else:
        print_table(
            [{"": check.name, "verdict": check.verdict.value, "found": check.found} for check in found],
            "what mpsearch needs",
        )
        for check in found:
            if check.remedy:
                print(f"{check.name}: {check.remedy}")
        print(f"{counted(len(problems), 'problem')}" if problems else "no problem")
    if problems:
        raise typer.Exit(1)
