"""Progress lines in a job's log: items done, rate, time left."""

import sys
import time
from collections.abc import Sequence

from pipeline.runtime.inert import inert

STOPPED = "stopped"  # how the last line of an interrupted job begins
SECONDS = 10.0  # between two lines
NAMED = 5  # ids in a warning


def log(text: str) -> None:
    """Prints a line to standard error, which is the job's log."""
    print(inert(text), file=sys.stderr, flush=True)


def some_of(ids: Sequence[str]) -> str:
    """The first of the ids that a warning is about."""
    return ", ".join(ids[:NAMED]) + (", ..." if len(ids) > NAMED else "")


class ProgressLog:
    """Logs the progress of a task every few seconds and at the end."""

    def __init__(self, task: str, total: int, unit: str = "items"):
        self.task, self.total, self.unit, self.done = task, total, unit, 0
        self.tokens, self.skipped = 0, 0
        self.started = self.logged = time.monotonic()

    def step(self, items: int, tokens: int = 0) -> None:
        """Counts items as done, with the tokens generated for them."""
        self.done += items
        self.tokens += tokens
        now = time.monotonic()
        if now - self.logged < SECONDS and self.done < self.total:
            return
        self.logged = now
        seconds = max(now - self.started, 1e-9)
        speed = (self.done - self.skipped) / seconds
        line = f"{self.done}/{self.total} {self.unit}, {speed:.1f} {self.unit}/s"
        line += f", {self.tokens / seconds:.0f} tok/s" if self.tokens else ""
        line += f", {(self.total - self.done) / speed:.0f} s left" if self.done < self.total else ""
        log(f"{self.task}: {line}")

    def skip(self, items: int) -> None:
        """Counts items that an earlier run has done: they are left out of the rate."""
        self.done += items
        self.skipped += items
