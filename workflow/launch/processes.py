"""Processes that do not outlive their parent, and the wait until all children have ended."""

import ctypes
import os
import signal
import sys
import time
from pathlib import Path

PR_SET_PDEATHSIG = 1  # linux/prctl.h
PR_SET_CHILD_SUBREAPER = 36
POLL_SECONDS = 0.02


def end_with_parent(signal_number: int) -> None:
    """Sends this process a signal when its parent dies, however it dies; only on Linux."""
    _prctl(PR_SET_PDEATHSIG, signal_number)


def adopt_orphans() -> None:
    """Makes this process the parent of processes whose own parent, a child of it, has died."""
    _prctl(PR_SET_CHILD_SUBREAPER, 1)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def wait_for_children(seconds: float) -> None:
    """Returns when this process has no child left; kills those that are left after the time."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            ended, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not ended:
            time.sleep(POLL_SECONDS)
        if time.monotonic() > deadline:
            for child in children():
                os.kill(child, signal.SIGKILL)
            deadline += seconds


def children() -> list[int]:
    """Processes that this one has started or adopted; empty where the system is not Linux."""
    listing = Path(f"/proc/self/task/{os.getpid()}/children")
    return [*map(int, listing.read_bytes().split())] if listing.exists() else []
