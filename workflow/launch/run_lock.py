"""The active runs of a folder, and the removal of the locks that a killed one has left.

A killed Snakemake leaves its folder locked. So each Snakemake, and each supervisor of one
(`workflow.launch.preloaded`), holds a lock of its own, which the kernel releases however the
process ends: Snakemake's lock is removed if no process holds a run's lock.
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

from filelock import BaseFileLock, FileLock, Timeout

FOLDER = Path(".snakemake/runs")
SNAKEMAKE_LOCKS = Path(".snakemake/locks")
SUPERVISOR, SNAKEMAKE = ".run", ".snakemake"  # suffixes; a Snakemake's file names its experiment
POLL_SECONDS = 0.1


@dataclass
class Run:
    """A run, as its supervisor knows it."""

    inherited_lock: int  # file descriptor that all processes of the run hold
    was_killed: bool = False  # its command was: the next run removes its lock


@contextlib.contextmanager
def registered_run(log: Callable[[str], None]) -> Iterator[Run]:
    """A run of this folder; each of its processes is to inherit its lock.

    Waits for the last processes of a killed run. An active run is reported: Snakemake refuses to
    make what that one makes; otherwise both continue side by side.
    """
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = _own_path(SUPERVISOR)
    # a child inherits this kind of lock, which filelock has not: it closes its own in a child
    every_process = os.open(FOLDER / "all.lock", os.O_RDWR | os.O_CREAT, 0o666)
    try:
        with _lock(path):
            _clear_killed_runs(path, every_process, log)
            fcntl.flock(every_process, fcntl.LOCK_SH)
            run = Run(every_process)
            yield run
            if not run.was_killed:
                path.unlink(missing_ok=True)
    finally:
        os.close(every_process)


def _clear_killed_runs(own: Path, every_process: int, log: Callable[[str], None]) -> None:
    """Removes the locks of killed runs, once their last process has ended."""
    is_logged = False
    while not _is_only_process(every_process):
        active = [path.stem for path in _paths(SUPERVISOR) if path != own and _is_held(path)]
        if active:
            log(
                f"another run of this folder is active ({', '.join(active)}, host and process): "
                "this one continues unless both make the same artifact"
            )
            return
        if not is_logged:
            log("the last run was killed: waiting for its jobs, which save their state and end")
            is_logged = True
        time.sleep(POLL_SECONDS)
    _remove_locks([path for path in _paths(SUPERVISOR, SNAKEMAKE) if path != own], log)


def _is_only_process(every_process: int) -> bool:
    try:
        fcntl.flock(every_process, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def clear_after_kill(log: Callable[[str], None]) -> None:
    """Removes the lock of a Snakemake that was killed, unless another one is active."""
    with contextlib.suppress(OSError):  # a file system without locks: Snakemake will say what to do
        _remove_locks(_paths(SUPERVISOR, SNAKEMAKE), log)


def _remove_locks(runs: list[Path], log: Callable[[str], None]) -> None:
    """Removes Snakemake's locks and the files of the runs, if no run is active."""
    if not runs or any(map(_is_held, runs)):
        return
    for path in runs:
        path.unlink(missing_ok=True)
    if any(SNAKEMAKE_LOCKS.glob("*.lock")):
        shutil.rmtree(SNAKEMAKE_LOCKS)
        log("the last run of this folder was killed: this one resumes from what it has finished")


def register_snakemake(experiment: str) -> None:
    """Records the experiment that this process, a Snakemake, makes, for as long as it lives."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = _own_path(SNAKEMAKE)
    lock = _lock(path)
    try:
        lock.acquire(blocking=False)
    except OSError:  # a file system without locks
        path.unlink(missing_ok=True)
        return
    path.write_text(json.dumps({"experiment": experiment}), encoding="utf-8")
    atexit.register(_unregister, path, lock)


def _unregister(path: Path, lock: BaseFileLock) -> None:
    path.unlink(missing_ok=True)
    lock.release()


def active_experiments() -> list[str] | None:
    """The experiments that active Snakemakes make; None where none has ever been registered."""
    paths = _paths(SNAKEMAKE)
    try:
        active = [json.loads(path.read_bytes())["experiment"] for path in paths if _is_held(path)]
    except (OSError, ValueError):  # it ends at this moment, or the file system has no locks
        return None
    return active if paths else None


def _own_path(suffix: str) -> Path:
    return FOLDER / f"{socket.gethostname()}.{os.getpid()}{suffix}"


def _paths(*suffixes: str) -> list[Path]:
    return [path for suffix in suffixes for path in sorted(FOLDER.glob(f"*{suffix}"))]


def _lock(path: Path) -> BaseFileLock:
    # a lock that is a mere file would outlive a killed process
    return FileLock(path, thread_local=False, fallback_to_soft=False)


def _is_held(path: Path) -> bool:
    """Whether a living process holds the lock of a run."""
    try:
        with _lock(path).acquire(blocking=False):
            return False
    except Timeout:
        return True
