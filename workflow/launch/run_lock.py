"""The runs of a folder: who is under way, and what a killed one has left.

Snakemake locks its folder, and a kill leaves it locked. A run holds a lock of its own, which the
system takes back when it ends, however it ends: so a lock of Snakemake's that no run holds any
more is removed. Each Snakemake has such a note, and each supervisor of one
(`workflow.launch.preloaded`).
"""

import atexit
import contextlib
import fcntl
import json
import os
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(".snakemake/runs")
SNAKEMAKES = Path(".snakemake/locks")
SUPERVISORS, NOTES = "*.run", "*.snakemake"  # with what it works on
LOOK_SECONDS = 0.1


@dataclass
class Run:
    """A run, as its supervisor knows it."""

    number: int  # of an open file, which is locked for as long as a process holds it
    was_killed: bool = False  # its command was: the next run has to clear up after it


@contextlib.contextmanager
def under_way(tell: Callable[[str], None]) -> Iterator[Run]:
    """A run of this folder; every process of it is to hold its file number.

    Waits for the last processes of a killed run. A living run is told of: Snakemake refuses to make
    what that one makes, and else they go on side by side.
    """
    FOLDER.mkdir(parents=True, exist_ok=True)
    own = FOLDER / f"{socket.gethostname()}.{os.getpid()}.run"
    mine, everyone = (_opened(path) for path in (own, FOLDER / "all.lock"))
    try:
        fcntl.lockf(mine, fcntl.LOCK_EX)  # no child inherits this kind of lock
        _settle(own, everyone, tell)
        fcntl.flock(everyone, fcntl.LOCK_SH)  # and every child this kind
        run = Run(everyone)
        yield run
        if not run.was_killed:
            own.unlink(missing_ok=True)
    finally:
        os.close(mine)
        os.close(everyone)


def _settle(own: Path, everyone: int, tell: Callable[[str], None]) -> None:
    """Removes what killed runs have left, once their last process has ended."""
    is_told = False
    while not _is_taken(fcntl.flock, everyone):
        if living := [path.stem for path in _paths(SUPERVISORS) if path != own and _lives(path)]:
            tell(
                f"another run of this folder is under way ({', '.join(living)}, host and process): "
                "this one goes on only if it makes nothing that that one makes"
            )
            return
        if not is_told:
            tell("the last run was killed: waiting for its jobs, which save their state and end")
            is_told = True
        time.sleep(LOOK_SECONDS)
    others = [path for path in _paths(SUPERVISORS, NOTES) if path != own]
    if not any(map(_lives, others)):
        _clear(others, tell)


def clear_after_kill(tell: Callable[[str], None]) -> None:
    """Takes away the lock of a Snakemake that was killed, unless another one is under way."""
    with contextlib.suppress(OSError):  # a file system without locks: Snakemake will say what to do
        paths = _paths(SUPERVISORS, NOTES)
        if not any(map(_lives, paths)):
            _clear(paths, tell)


def _clear(killed: list[Path], tell: Callable[[str], None]) -> None:
    for path in killed:
        path.unlink(missing_ok=True)
    if killed and any(SNAKEMAKES.glob("*.lock")):
        shutil.rmtree(SNAKEMAKES)
        tell("the last run of this folder was killed: this one goes on from what it has finished")


def note(experiment: str) -> None:
    """Tells others what this process, a Snakemake, works on, for as long as it lives."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = FOLDER / f"{socket.gethostname()}.{os.getpid()}{NOTES[1:]}"
    number = _opened(path)  # never closed: it holds
    try:
        fcntl.lockf(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # a file system without locks
        path.unlink()
        return
    os.write(number, json.dumps({"experiment": experiment}).encode())
    atexit.register(path.unlink, missing_ok=True)


def at_work() -> list[str] | None:
    """The experiments that living Snakemakes work on; None where none has left a note at all."""
    try:
        notes = {path: _lives(path) for path in _paths(NOTES)}
        return [json.loads(path.read_text())["experiment"] for path in notes if notes[path]] or (
            [] if notes else None
        )
    except (OSError, ValueError):  # it ends just now, or nobody can tell
        return None


def _paths(*patterns: str) -> list[Path]:
    return [path for one in patterns for path in sorted(FOLDER.glob(one))]


def _opened(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)


def _is_taken(take: Callable[[int, int], None], number: int) -> bool:
    try:
        take(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # somebody holds it: systems differ in the number
        return False
    return True


def _lives(path: Path) -> bool:
    """Whether a run still holds the lock of its file."""
    number = _opened(path)
    try:
        return not _is_taken(fcntl.lockf, number)
    finally:
        os.close(number)
