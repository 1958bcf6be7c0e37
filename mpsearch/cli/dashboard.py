"""The command `mpsearch dashboard`."""

import signal
from typing import Annotated

import typer

from mpsearch.cli.common import say
from mpsearch.cli.options import Storage, StudyName, examples

EXAMPLES = examples("dashboard digits", "dashboard digits --port 0", "dashboard digits --host 0.0.0.0 --port 8000")
REPORT = "report.html"  # in the study's folder
LOOPBACK = ("127.0.0.1", "localhost", "::1", "[::1]")


def attach_report(name: str, storage: str | None) -> None:
    """Write a study's report into its folder, as far as there is anything to report."""
    from mpsearch.changes import space_file_of
    from mpsearch.errors import MpsearchError, StudyError
    from mpsearch.pages import write_page
    from mpsearch.report.document import document
    from mpsearch.report.gathering import gather
    from mpsearch.study import open_study

    study = open_study(name, storage)
    facts = study.facts
    try:
        if facts is None:  # its model would have to be built
            raise StudyError(f"`{name}` has kept no facts of its model; mpsearch report {name} makes one")
        write_page(document(gather(study, space_file_of(study), facts)), study.folder / REPORT)
    except MpsearchError as error:
        say(f"no new report is attached: {error}")


def dashboard(
    name: StudyName,
    host: Annotated[
        str, typer.Option(metavar="HOST", help="Where to listen; 0.0.0.0: at all of this machine's addresses.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(metavar="PORT", help="Port to listen at; 0: a free one.", min=0, max=65535)
    ] = 8080,
    storage: Storage = None,
) -> None:
    """Show a study in a browser, by optuna-dashboard.

    Parameters have the names of tensors and the values that these take, such as `4 auto`; trials that come meanwhile
    appear. Each trial has a note with its config; attached are exported files, and the report as of the start. It is a
    view: of the study only notes can be changed there, which are those of `mpsearch study note`. Ends at Ctrl-C.

    There is no password: whoever reaches the port sees the study and may write notes.
    """
    from mpsearch.dashboard.server import serve_dashboard

    if host not in LOOPBACK:
        say("warning: there is no password: whoever reaches this port sees the study and may write notes")

    def ready(url: str) -> None:
        print(f"{name} is shown at {url}; Ctrl-C ends it", flush=True)

    attach_report(name, storage)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        serve_dashboard(name, storage, host, port, ready, say)
    except KeyboardInterrupt:
        print("ended")
