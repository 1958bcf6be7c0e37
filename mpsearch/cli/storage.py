"""The commands `mpsearch storage …`."""

import signal
from typing import Annotated

import typer

from mpsearch.cli.common import counted, say
from mpsearch.cli.options import AsJson, Storage, examples

app = typer.Typer(
    help="Look after the storages of studies.\n\n"
    "A storage is named by a URL: sqlite:///FILE, journal:///FILE, postgresql://USER:PASSWORD@HOST:PORT/DATABASE, "
    "mysql://… or grpc://HOST:PORT; a path from the root has four slashes. What is typed may be seen by other users "
    "of a machine: keep a password in PGPASSWORD or ~/.pgpass, or the whole URL in MPSEARCH_STORAGE.",
    epilog=examples("storage check", "storage check --storage postgresql://me@db.example.org/studies"),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.command(epilog=examples("storage check", "storage check --storage journal:////shared/studies.log --json"))
def check(storage: Storage = None, as_json: AsJson = False) -> None:
    """Try a storage: open it, write to it, read from it.

    What is written is a study that is deleted at once. A storage that can't be used is an error, with exit code 1; a
    server is not waited for.
    """
    from mpsearch.cli.output import print_json, print_table
    from mpsearch.storagecheck import check_storage

    found = check_storage(storage)
    if as_json:
        print_json(vars(found))
        return
    schema = "none" if found.schema is None else f"{found.schema}, as the installed Optuna's"
    rows = {
        "kind": found.kind,
        "address": found.address,
        "schema": schema,
        "studies": f"{found.studies:,}",
        "trials": f"{found.trials:,}",
        "a write takes": f"{found.write_ms} ms",
        "a read takes": f"{found.read_ms} ms",
        "writing processes": found.writers,
    }
    print_table([{"property": name, "value": value} for name, value in rows.items()], "storage")


@app.command(epilog=examples("storage upgrade", "storage upgrade --storage sqlite:///other.db"))
def upgrade(storage: Storage = None) -> None:
    """Bring a database's tables to the installed Optuna's version.

    First end all that uses the storage, and copy its file or dump its database: there is no way back.
    """
    from mpsearch.storagecheck import upgrade_storage
    from mpsearch.storages import shown

    versions = upgrade_storage(storage)
    if versions is None:
        print(f"nothing to upgrade: {shown(storage)} has no tables of its own")
    elif versions[0] == versions[1]:
        print(f"nothing to upgrade: the tables of {shown(storage)} have version {versions[0]}, the installed Optuna's")
    else:
        print(f"the tables of {shown(storage)} have version {versions[1]} now, before it was {versions[0]}")


@app.command(
    epilog=examples(
        "storage copy sqlite:///studies/mpsearch.db journal:////shared/a.log",
        "storage copy sqlite:///old.db sqlite:///new.db \\\n    --study digits --study resnet8",
        "storage copy sqlite:///old.db sqlite:///new.db --running --json",
    )
)
def copy(
    source: Annotated[str, typer.Argument(metavar="SRC", help="URL of the storage that has the studies.")],
    target: Annotated[str, typer.Argument(metavar="DST", help="URL of the storage that is to get them.")],
    study: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Copy this study; may be repeated.", show_default="all"),
    ] = None,
    running: Annotated[bool, typer.Option("--running", help="Copy studies with running trials as well.")] = False,
    as_json: AsJson = False,
) -> None:
    """Copy studies from one storage to another.

    Trials are copied whole, and each copy is read back and compared with its original. Weights and fine-tunings are
    copied where they are on this machine. Names that the other storage has already are refused, and so are studies
    with running trials: somebody would go on with the originals. --running copies these as well, as they are at that
    moment; the first run of the copy queues their configs again.
    """
    from mpsearch.cli.output import print_json
    from mpsearch.storages import shown
    from mpsearch.transfer import copy_studies

    copied, foreign = copy_studies(source, target, study or (), running)
    if as_json:
        print_json([vars(one) for one in copied])
    else:
        for one in copied:
            files = "with weights and logs" if one.files else "no weights or logs were found here"
            print(f"{one.name}: {counted(one.trials, 'trial')}, {files}")
        print(f"studies copied to {shown(target)}: {len(copied)}")
    for name in foreign:
        say(f"`{name}` was left out: it wasn't made by mpsearch")


@app.command(
    epilog=examples(
        "storage serve",
        "storage serve --storage postgresql://me@localhost/studies \\\n    --host 0.0.0.0 --port 13000",
    )
)
def serve(
    storage: Storage = None,
    host: Annotated[
        str, typer.Option(metavar="HOST", help="Where to listen; 0.0.0.0: at all of this machine's addresses.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(metavar="PORT", help="Port to listen at.", min=1, max=65535)] = 13000,
) -> None:
    """Serve a storage to workers on other machines, until Ctrl-C.

    They reach it at grpc://HOST:PORT and need neither its driver nor its password: whoever reaches the port may read
    and write, and nothing is encrypted. Only for networks that you trust.
    """
    from mpsearch.proxy import serve_storage
    from mpsearch.storages import shown

    def ready(url: str) -> None:
        print(f"serving {shown(storage)}; for the workers: --storage {url}, or MPSEARCH_STORAGE={url}", flush=True)

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        serve_storage(storage, host, port, ready)
    except KeyboardInterrupt:
        print("ended")
