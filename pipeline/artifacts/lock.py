"""One process makes an artifact at a time: another one waits, and takes what was made."""

from collections.abc import Callable
from pathlib import Path

from filelock import BaseFileLock, FileLock, Timeout

POLL_SECONDS = 0.2

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
        lock.acquire(blocking=False)
    except Timeout:
        log(f"another process is making {target}: waiting until it has ended")
        lock.acquire(poll_interval=POLL_SECONDS)
    except (OSError, NotImplementedError) as error:
        log(f"this file system has no locks ({error}): nothing else may make {target} now")
    _HELD[target] = lock


def release_locks() -> None:
    """Frees what this process has locked, and leaves no lock's file behind.

    A process that waits for one sees that its file is gone, and locks a new one.
    """
    while _HELD:
        _, lock = _HELD.popitem()
        if lock.is_locked:
            Path(lock.lock_file).unlink(missing_ok=True)
            lock.release()
