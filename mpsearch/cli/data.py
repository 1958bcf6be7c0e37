"""The command `mpsearch data`."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from mpsearch.cli.options import AsJson, Quiet, examples

if TYPE_CHECKING:
    from mpsearch.datasets.sources import Located, Source

EXAMPLES = examples("data", "data speech_commands", "data fashion_mnist --download")


def data(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Name of a dataset; none: all of them.")] = None,
    download: Annotated[
        bool, typer.Option("--download", help="Download it into MPSEARCH_DATA, else ~/.cache/mpsearch.")
    ] = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Say which datasets are here, and how to get others.

    With --download a dataset with a public address is downloaded, compared with its checksum and unpacked. No other
    command downloads anything.
    """
    from mpsearch.cli.output import print_json
    from mpsearch.datasets.sources import SOURCES, source_of

    if name is None:
        if download:
            raise typer.BadParameter("--download needs the name of a dataset: mpsearch data NAME --download")
        _show_all(list(SOURCES.values()), as_json)
        return
    source = source_of(name)
    if download:
        _download(source, quiet or as_json, as_json)
    elif as_json:
        print_json(_facts(source))
    else:
        _show(source)


def _download(source: "Source", quiet: bool, as_json: bool) -> None:
    from mpsearch.cli.output import print_json
    from mpsearch.datasets.download import download
    from mpsearch.datasets.sources import locate
    from mpsearch.progress import DownloadProgress

    located = locate(source)
    if _there(source, located):
        where = f"by {source.provided}" if located is None else f"in {located.path}"
        said = f"{source.name} is there already, {where}: nothing to do"
    else:
        with DownloadProgress(quiet) as progress:
            path = download(source, progress)
        said = f"{source.name} is now in {path}"
    if as_json:
        print_json(_facts(source))
    else:
        print(said)


def _show_all(sources: "list[Source]", as_json: bool) -> None:
    from mpsearch.cli.output import print_json, print_table

    facts = [_facts(source) for source in sources]
    if as_json:
        print_json(facts)
        return
    rows = [
        {
            "dataset": one["name"],
            "there": _word(one),
            "on disk": _bytes(one["bytes"]),
            "download": _bytes(one["download_bytes"]),
            "where": one["path"],
            "licence": one["licence"],
            "source": one["source"],
        }
        for one in facts
    ]
    print_table(rows, "datasets", spare=["source", "licence"])
    print("more of one: mpsearch data NAME; to download one: mpsearch data NAME --download")


def _show(source: "Source") -> None:
    from mpsearch.datasets.sources import locate

    located = locate(source)
    print(f"{source.name}: {source.about}")
    if located is not None:
        lacks = f", {_bytes(located.size())}" if located.whole else f", but lacks {', '.join(located.missing)}"
        print(f"there:     {located.path}{lacks}")
    elif source.provided:
        print(f"there:     by {source.provided}")
    elif source.roots:
        print("there:     no")
    for index, path in enumerate(source.candidates()):
        print(f"{'' if index else 'looked in:':<10} {path}")
    print(f"layout:    {source.layout}")
    print(f"source:    {source.origin}")
    print(f"licence:   {source.licence or 'not known'}")
    print(f"by hand:   {source.by_hand}")
    if source.downloads:
        print(f"download:  {source.command} ({_bytes(source.size)})")


def _facts(source: "Source") -> dict[str, Any]:
    """What is known of a dataset, as plain data."""
    from mpsearch.datasets.sources import locate

    located = locate(source)
    return {
        "name": source.name,
        "about": source.about,
        "there": _there(source, located),
        "path": None if located is None else str(located.path),
        "missing": [] if located is None else list(located.missing),
        "bytes": None if located is None else located.size(),
        "looked_in": [str(path) for path in source.candidates()],
        "layout": source.layout,
        "source": source.origin,
        "licence": source.licence,
        "by_hand": source.by_hand,
        "provided_by": source.provided or None,
        "download_bytes": source.size or None,
        "urls": [download.url for download in source.downloads],
    }


def _there(source: "Source", located: "Located | None") -> bool | None:
    """Whether it is there and whole; None where nobody can say, for folders of one's own."""
    if not source.roots:
        return True if source.provided else None
    return located is not None and located.whole


def _word(facts: dict[str, Any]) -> str | None:
    if facts["provided_by"]:
        return f"by {facts['provided_by']}"
    if facts["there"] is None:
        return None
    return "yes" if facts["there"] else "in part" if facts["path"] else "no"


def _bytes(size: int | None) -> str | None:
    """A number of bytes as people say it: 31 MB."""
    if size is None:
        return None
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= factor:
            return f"{size / factor:.3g} {unit}"
    return f"{size} bytes"
