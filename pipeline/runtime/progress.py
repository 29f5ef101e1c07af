"""How fast a job goes on, for whoever watches its log."""

import sys
import time

SECONDS = 10.0  # between two lines


def log(text: str) -> None:
    """Prints a line to standard error, which is the job's log."""
    print(text, file=sys.stderr, flush=True)


class ProgressLog:
    """Items done of a task, told every few seconds and at the end."""

    def __init__(self, task: str, total: int, unit: str = "items"):
        self.task, self.total, self.unit, self.done = task, total, unit, 0
        self.tokens, self.earlier = 0, 0
        self.began = self.told = time.monotonic()

    def step(self, items: int, tokens: int = 0) -> None:
        """So many more items are done, with so many tokens written for them."""
        self.done += items
        self.tokens += tokens
        now = time.monotonic()
        if now - self.told < SECONDS and self.done < self.total:
            return
        self.told = now
        seconds = max(now - self.began, 1e-9)
        speed = (self.done - self.earlier) / seconds
        line = f"{self.done}/{self.total} {self.unit}, {speed:.1f} {self.unit}/s"
        line += f", {self.tokens / seconds:.0f} tok/s" if self.tokens else ""
        line += f", {(self.total - self.done) / speed:.0f} s left" if self.done < self.total else ""
        log(f"{self.task}: {line}")

    def skip(self, items: int) -> None:
        """So many items were done by an earlier run: they say nothing of the speed."""
        self.done += items
        self.earlier += items
