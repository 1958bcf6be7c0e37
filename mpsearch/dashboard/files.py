"""Files that belong to a study, as Optuna's artifacts: the report, and what was exported of its trials."""

import hashlib
import json
import mimetypes
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from optuna.artifacts.exceptions import ArtifactNotFound

from mpsearch.errors import StudyError
from mpsearch.export.folders import export_folders

if TYPE_CHECKING:
    from optuna.artifacts._protocol import ArtifactStore

REPORT = "report.html"
PREFIX = "artifacts:"  # of the system attributes by which Optuna finds artifacts


@dataclass(frozen=True)
class Artifact:
    """A file to be shown.

    Attributes:
        path: where it is.
        name: under which it is shown.
        trial: to which it belongs; None: to the study.
    """

    path: Path
    name: str
    trial: int | None = None

    @property
    def id(self) -> str:
        """Of its path: the same each time that it is looked for."""
        return hashlib.sha256(str(self.path.resolve()).encode()).hexdigest()[:32]

    @property
    def attribute(self) -> tuple[str, str]:
        """The system attribute that says so."""
        mimetype, encoding = mimetypes.guess_type(self.path.name)
        about = {
            "artifact_id": self.id,
            "filename": self.name,
            "mimetype": mimetype or "application/octet-stream",
            "encoding": encoding,
        }
        return PREFIX + self.id, json.dumps(about)


def artifacts_of(study_folder: Path) -> list[Artifact]:
    """The files that a study has now."""
    report = study_folder / REPORT
    found = [Artifact(report, REPORT)] if report.is_file() else []
    for folder in export_folders(study_folder):
        found += [Artifact(path, f"{folder.path.name}-{path.name}", folder.trial) for path in folder.files]
    return found


class Files:
    """Optuna's artifact store of the files that a study has: it only reads, and only these.

    Args:
        found: artifacts by their ids; may change.
    """

    def __init__(self, found: Mapping[str, Artifact]) -> None:
        self._found = found

    def open_reader(self, artifact_id: str) -> BinaryIO:
        try:
            return self._found[artifact_id].path.open("rb")
        except (KeyError, OSError) as error:
            raise ArtifactNotFound("the file is no longer there") from error

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        raise StudyError("files can't be added here")

    def remove(self, artifact_id: str) -> None:
        raise StudyError("files can't be removed here")


if TYPE_CHECKING:
    _: ArtifactStore = Files({})
