"""The folder of a run's temporary files, which outlives no run.

A killed process deletes nothing. So all processes of a run have their temporary files in a folder
of its own, and hold a lock on it that the kernel releases however they end: the next run deletes
the folders whose lock is free.
"""

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

PREFIX = "distilbench-run-"


@contextlib.contextmanager
def temporary_folder() -> Iterator[tuple[Path, int]]:
    """A run's folder, and its lock: a file descriptor that each process of the run inherits."""
    parent = Path(tempfile.gettempdir())
    _delete_abandoned(parent)
    unlocked = Path(tempfile.mkdtemp(prefix=f".{PREFIX}", dir=parent))
    lock = os.open(unlocked, os.O_RDONLY)
    with contextlib.suppress(OSError):  # a file system without locks: no run deletes it
        fcntl.flock(lock, fcntl.LOCK_SH)
    folder = unlocked.rename(parent / unlocked.name.removeprefix("."))
    try:
        yield folder, lock
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _delete_abandoned(parent: Path) -> None:
    for folder in parent.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):  # a process holds it, or it is another user's
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder)
            finally:
                os.close(lock)
