"""Download a dataset's files and unpack them: whole, or not at all."""

import errno
import hashlib
import http.client
import os
import shutil
import tarfile
import tempfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from mpsearch.datasets.decoded import DAMAGED
from mpsearch.datasets.sources import Download, Source
from mpsearch.errors import DataError
from mpsearch.folders import data_folders
from mpsearch.version import __version__

Report = Callable[[str, int, int | None], None]
"""Hears the name of a file, its bytes so far, and its bytes in all, None where the server doesn't say."""
_PIECE = 1 << 18  # bytes read in one go
_PATIENCE = 60  # seconds without an answer


def download(source: Source, report: Report) -> Path:
    """Download a dataset into the first data folder, and unpack it there.

    All is done in a hidden folder beside the target, which takes its name in one step at the end: what is broken off
    leaves nothing that a loader finds.

    Returns:
        The folder that holds it now.

    Raises:
        DataError: there is no download, something is in its place, the network or the server fails, the file has
            another checksum or other content than it should have, or it can't be written.
    """
    if not source.downloads:
        raise DataError(f"{source.name} has no download; to get it: {source.by_hand} ({source.origin})")
    target = data_folders()[0] / source.roots[0]
    candidates = source.candidates()
    for path in candidates[: candidates.index(target) + 1]:  # the paths that a loader tries before the target
        if path.exists():
            lacks = f", but lacks {missing}" if (missing := ", ".join(source.missing(path))) else ""
            raise DataError(f"{path} is there{lacks}: move it away, then give the same command again")
    with _writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{target.name}-", suffix=".part", dir=target.parent) as folder:
            root = _fetched(source, Path(folder), report)
            try:
                root.rename(target)
            except OSError as error:
                if target.exists():
                    raise DataError(f"{target} came into being meanwhile: another process put it there") from error
                raise
    return target


def _fetched(source: Source, folder: Path, report: Report) -> Path:
    """Download all files of a dataset into `folder` and unpack them; the folder that holds its data."""
    root = folder / "data"
    root.mkdir()
    for wanted in source.downloads:
        file = folder / wanted.file if wanted.top is not None else root / wanted.file
        try:
            _download(wanted, file, report)
        except DataError as error:
            raise DataError(f"{error}; or by hand: {source.by_hand} ({source.origin})") from error
        if wanted.top is not None:
            _unpack(file, root)
            file.unlink()
            root = root / wanted.top
    lacks = ", ".join(source.missing(root))
    if lacks:
        raise DataError(f"what {source.downloads[0].url} gave lacks {lacks}: nothing of it was kept")
    return root


def _download(wanted: Download, file: Path, report: Report) -> None:
    """Download a file and compare its checksum."""
    kind, _, expected = wanted.checksum.partition(":")
    digest = hashlib.new(kind, usedforsecurity=False)
    done = 0
    with _asking(wanted.url) as answer, file.open("wb") as stream:
        length = answer.headers.get("Content-Length")
        total = int(length) if length else None
        report(wanted.file, done, total)
        while piece := _read(answer, wanted.url):
            stream.write(piece)
            digest.update(piece)
            done += len(piece)
            report(wanted.file, done, total)
    if total is not None and done != total:
        raise DataError(f"{wanted.url} broke off after {done:,} of {total:,} bytes: give the same command again")
    if digest.hexdigest() != expected:
        raise DataError(
            f"{wanted.url} must have the {kind} checksum {expected}, but what came has {digest.hexdigest()}: the file "
            "was changed on its way or at its address"
        )


@contextmanager
def _asking(url: str) -> Iterator[http.client.HTTPResponse]:
    """The answer to a request."""
    request = urllib.request.Request(url, headers={"User-Agent": f"mpsearch/{__version__}"})
    try:
        answer = urllib.request.urlopen(request, timeout=_PATIENCE)
    except urllib.error.HTTPError as error:
        error.close()
        raise DataError(f"{url} can't be downloaded: the server answers {error.code} {error.reason}") from error
    except (OSError, http.client.HTTPException) as error:
        raise DataError(f"{url} can't be reached ({_reason(error)}): see whether there is a network") from error
    with answer:
        yield answer


def _read(answer: http.client.HTTPResponse, url: str) -> bytes:
    """The next bytes of an answer, empty at its end."""
    try:
        return answer.read(_PIECE)
    except (OSError, http.client.HTTPException) as error:
        raise DataError(f"{url} broke off ({_reason(error)}): give the same command again") from error


def _reason(error: Exception) -> str:
    return str(getattr(error, "reason", error)) or type(error).__name__


def _unpack(file: Path, folder: Path) -> None:
    """Unpack an archive; nothing of it may lie outside of `folder`.

    Raises:
        DataError: something would, or it isn't a whole archive.
    """
    try:
        if file.suffix == ".zip":
            with zipfile.ZipFile(file) as archive:
                outside = [name for name in archive.namelist() if _leads_out(name)]
                if outside:
                    raise DataError(f"{file.name} holds `{outside[0]}`, which lies outside of its folder: refused")
                archive.extractall(folder)
        else:
            with tarfile.open(file) as archive:
                archive.extractall(folder, filter="data")
    except DataError:
        raise
    except tarfile.FilterError as error:
        raise DataError(f"{file.name} holds what an archive of data must not: {error}") from error
    except (*DAMAGED, tarfile.TarError) as error:
        if getattr(error, "errno", None) is not None:
            raise  # the disk's fault, not the archive's
        raise DataError(f"{file.name} isn't a whole archive ({error})") from error


def _leads_out(name: str) -> bool:
    path = PurePosixPath(name.replace("\\", "/"))
    return path.is_absolute() or ".." in path.parts or any(":" in part for part in path.parts[:1])


@contextmanager
def _writing(target: Path) -> Iterator[None]:
    """Say what hinders writing."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOSPC:
            free = shutil.disk_usage(target.parent).free if target.parent.is_dir() else 0
            raise DataError(
                f"the disk of {target.parent} is full ({free:,} bytes are free, nothing was kept): free some, or set "
                "MPSEARCH_DATA to a folder on another one"
            ) from error
        raise DataError(
            f"{target} can't be written ({os.strerror(error.errno or 0)}): set MPSEARCH_DATA to a folder of yours"
        ) from error
