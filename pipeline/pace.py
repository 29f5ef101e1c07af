"""How fast a job goes on, for whoever watches its log."""

import time

from pipeline.cli import progress

SECONDS = 10.0  # between two lines


class Pace:
    """Items done of a task, told every few seconds and at the end."""

    def __init__(self, task: str, total: int, unit: str = "items"):
        self.task, self.total, self.unit, self.done = task, total, unit, 0
        self.began = self.told = time.monotonic()

    def step(self, items: int) -> None:
        """So many more items are done."""
        self.done += items
        now = time.monotonic()
        if now - self.told < SECONDS and self.done < self.total:
            return
        self.told = now
        speed = self.done / max(now - self.began, 1e-9)
        left = (self.total - self.done) / speed
        remaining = f", {left:.0f} s left" if self.done < self.total else ""
        said = f"{self.done}/{self.total} {self.unit}, {speed:.1f} {self.unit}/s{remaining}"
        progress(f"{self.task}: {said}")
