"""One process makes an artifact at a time: another one waits, and takes what was made."""

import fcntl
import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path

LOCK = ".lock"  # of a stage's folder: a byte of it for each artifact
LOOK_SECONDS = 0.2


def acquire_lock(target: Path, tell: Callable[[str], None]) -> None:
    """Returns when this process is the only one that makes `target`, and stays so until it ends.

    A job may outlive the Snakemake that started it, on a cluster for hours.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    lock = os.open(target.parent / LOCK, os.O_RDWR | os.O_CREAT, 0o666)  # never closed: it holds
    place = int.from_bytes(hashlib.blake2b(target.name.encode(), digest_size=7).digest())
    try:
        if not _take(lock, place):
            tell(f"another process is making {target}: waiting until it has ended")
            while not _take(lock, place):
                time.sleep(LOOK_SECONDS)
    except OSError as error:
        tell(f"this file system knows no locks ({error}): nothing else may make {target} now")


def _take(lock: int, place: int) -> bool:
    try:
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
    except (BlockingIOError, PermissionError):  # somebody holds it: systems differ in the number
        return False
    return True
