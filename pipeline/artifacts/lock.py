"""One process makes an artifact at a time: another one waits, and takes what was made.

Parts of an artifact are made side by side, but not beside the whole, nor beside those of another
cut, whose pieces they share.
"""

from collections.abc import Callable
from pathlib import Path

from filelock import BaseFileLock, FileLock, Timeout

from pipeline.artifacts.part import Part, locked

POLL_SECONDS = 0.2
BRIEFLY = 1.0  # seconds that a part which is about to begin locks the whole

_HELD: dict[Path, BaseFileLock] = {}  # until this process ends: a lock that is collected is free


def acquire_lock(target: Path, log: Callable[[str], None]) -> None:
    """Returns when this process is the only one that makes `target`; it stays so until it ends.

    The kernel frees the lock of a process that is killed; its file stays until the artifact is
    made. A job may outlive the Snakemake that started it, on a cluster for hours.
    """
    if target in _HELD:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(target.parent / f".{target.name}.lock", thread_local=False)
    try:
        lock.acquire(timeout=BRIEFLY, poll_interval=POLL_SECONDS / 10)
    except Timeout:
        log(f"another process is making {target}: waiting until it has ended")
        lock.acquire(poll_interval=POLL_SECONDS)
    except (OSError, NotImplementedError) as error:
        log(f"this file system has no locks ({error}): nothing else may make {target} now")
    _HELD[target] = lock


def acquire_lock_of_whole(whole: Path, state: Path, log: Callable[[str], None]) -> None:
    """As `acquire_lock`; no part of it is being made then."""
    acquire_lock(whole, log)
    for marker, _ in locked(state):
        acquire_lock(marker, log)


def acquire_lock_of_part(part: Part, whole: Path, state: Path, log: Callable[[str], None]) -> None:
    """Returns when this process is the only one that makes a part, and no other cut is made.

    A part begins under the lock of the whole: it waits for one that is being made.
    """
    acquire_lock(whole, log)
    for marker, count in locked(state):
        if count != part.count:
            acquire_lock(marker, log)
            _release(marker)
    acquire_lock(part.marker(state, whole), log)
    _release(whole)


def release_locks() -> None:
    """Frees what this process has locked, and leaves no lock's file behind.

    A process that waits for one sees that its file is gone, and locks a new one.
    """
    while _HELD:
        _release(next(iter(_HELD)))


def _release(target: Path) -> None:
    lock = _HELD.pop(target)
    if lock.is_locked:
        Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()
