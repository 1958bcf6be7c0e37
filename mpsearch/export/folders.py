"""Which folders of this machine hold exports of a study; what they hold is said by the `export.json` in each."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ABOUT = "export.json"
LIST = "exports.json"
"""In the study's folder: paths mean nothing on another machine, and so they are no part of the study itself."""


@dataclass(frozen=True)
class ExportFolder:
    """A folder that an export of a study was written to.

    Attributes:
        path: of the folder.
        trial: number of the trial.
        weights: whose they are: the trial's, or fine-tuned ones.
        files: that are in it.
    """

    path: Path
    trial: int
    weights: str
    files: tuple[Path, ...]


def remember_export(study_folder: Path, folder: Path) -> None:
    """Note that an export was written to a folder."""
    paths = dict.fromkeys((*_listed(study_folder), str(folder.resolve())))
    study_folder.mkdir(parents=True, exist_ok=True)
    (study_folder / LIST).write_text(json.dumps(list(paths), indent=1), encoding="utf-8")


def export_folders(study_folder: Path) -> Iterator[ExportFolder]:
    """The exports of a study that are still there, in the order in which they were written first."""
    for path in map(Path, _listed(study_folder)):
        try:
            about = json.loads((path / ABOUT).read_text(encoding="utf-8"))
            names = [ABOUT, *(file["path"] for file in about["files"].values())]
            trial, weights = int(about["trial"]), str(about["weights"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError):  # deleted, or something else by now
            continue
        yield ExportFolder(path, trial, weights, tuple(path / name for name in names if (path / name).is_file()))


def _listed(study_folder: Path) -> list[str]:
    try:
        found = json.loads((study_folder / LIST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return [path for path in found if isinstance(path, str)] if isinstance(found, list) else []
