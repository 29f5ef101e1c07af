"""Processes that do not outlive those who started them, and the wait until all of them are gone."""

import ctypes
import os
import signal
import sys
import time
from pathlib import Path

PR_SET_PDEATHSIG = 1  # linux/prctl.h
PR_SET_CHILD_SUBREAPER = 36
LOOK_SECONDS = 0.02


def end_with_parent(number: int) -> None:
    """Gets this process a signal when its parent dies, however it dies; on Linux alone."""
    _prctl(PR_SET_PDEATHSIG, number)


def adopt_orphans() -> None:
    """What this process's children leave running when they die becomes its own child."""
    _prctl(PR_SET_CHILD_SUBREAPER, 1)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def wait_for_all(seconds: float) -> None:
    """Returns when this process has no child left; kills those that are there after so long."""
    until = time.monotonic() + seconds
    while True:
        try:
            ended, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not ended:
            time.sleep(LOOK_SECONDS)
        if time.monotonic() > until:
            for child in children():
                os.kill(child, signal.SIGKILL)
            until += seconds


def children() -> list[int]:
    """Processes that this one has begun or adopted. Linux alone knows them."""
    listed = Path(f"/proc/self/task/{os.getpid()}/children")
    return [int(one) for one in listed.read_text().split()] if listed.exists() else []
