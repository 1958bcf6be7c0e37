"""Journal: Optuna's log file of a storage, which a write that breaks off doesn't spoil."""

import json
import os
from pathlib import Path
from typing import Any

from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.storages.journal._file import get_lock_file


class Journal(JournalFileBackend):
    """A log file of which each line is whole.

    Optuna appends to the file whatever its end; behind the half of a line, which a full disk or a crash has left there,
    everything that follows would be lost. The next write drops such a half. A whole line is never taken back, not even
    where its write failed or was interrupted at last: others may have read it.

    Args:
        file: made where it doesn't exist.
    """

    def __init__(self, file: Path) -> None:
        # the lock is made by O_CREAT | O_EXCL, which NFS 3 and later, SMB, Lustre and the like do in one step; Optuna's
        # other one, a symbolic link, leads nowhere where the folder is mounted elsewhere, and is waited for forever
        path = str(file.absolute())
        self._held = JournalFileOpenLock(path)
        super().__init__(path, lock_obj=self._held)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        lines = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs).encode()
        with get_lock_file(self._held), open(self._file_path, "a+b", buffering=0) as file:
            size = file.seek(0, os.SEEK_END)
            end = _end(file, size)
            if end < size:
                file.truncate(end)
            written = 0
            while written < len(lines):
                written += file.write(lines[written:]) or 0
            os.fsync(file.fileno())


def _end(file: Any, size: int) -> int:
    """Where the last whole line of a file of this size ends."""
    position = size
    while position > 0:
        start = max(0, position - 65_536)
        file.seek(start)
        newline = file.read(position - start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        position = start
    return 0
