"""The steps of an unfinished training run, as they come: a line of JSON each in its state folder.

The finished artifact has them all in `steps.parquet`; until then this file is for those who watch:
`distilbench status`, the view of a run, and whatever reads JSON lines. It never decides a result.
"""

import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.training.trackers import Tracker

FILE = "steps.jsonl"
SECONDS = 1.0  # that a step may wait for its line: a write for each would cost the shortest ones
TAIL_BYTES = 16_384  # some 60 steps: the present speed is measured on them

Row = dict[str, float | None]  # what a step has measured


class StepLog:
    """Appends the steps of a run, which may be one that resumes, to its log and its tracker."""

    def __init__(
        self,
        folder: Path,
        job_key: str,
        steps: int,
        resumed: Sequence[Row],
        tracker: Tracker | None,
        tracked: int,  # the last step that the tracker has
    ):
        self._rows, self._flushed = 0, 0.0
        self._tracker, self._tracked = tracker, tracked
        folder.mkdir(parents=True, exist_ok=True)
        self._file = (folder / FILE).open("w", encoding="utf-8")
        self._write({"job": job_key, "steps": steps})
        self.append(resumed)

    def append(self, rows: Sequence[Row]) -> None:
        """Logs those of all the run's rows that are not in the log yet."""
        for row in rows[self._rows :]:
            self._write(row)
            if self._tracker is not None:
                self._file.flush()  # before it is told: a kill between the two doubles no step
                self._track(row, self._tracker)
        self._rows = len(rows)
        if time.monotonic() - self._flushed >= SECONDS:
            self._flush()

    def _track(self, row: Row, tracker: Tracker) -> None:
        metrics = {name: value for name, value in row.items() if value is not None}
        step = int(metrics.pop("step"))
        if step > self._tracked:
            tracker.log(step, metrics)
            self._tracked = step

    def _write(self, value: object) -> None:
        self._file.write(json.dumps(value) + "\n")

    def _flush(self) -> None:
        if self._tracker:
            self._tracker.flush()
        self._file.flush()
        self._flushed = time.monotonic()

    def close(self) -> None:
        """Writes what is left, and ends the tracker's run."""
        self._flush()
        self._file.close()
        if self._tracker:
            self._tracker.close()


@dataclass(frozen=True)
class LoggedSteps:
    """What the log of a folder holds: the job, its number of steps, and the last steps."""

    job_key: str
    steps: int
    rows: Sequence[Row]

    @property
    def last(self) -> int:
        """The last step; 0 where there is none yet."""
        return int(self.rows[-1]["step"] or 0) if self.rows else 0

    @property
    def seconds_per_step(self) -> float:
        """The present duration of a step."""
        first, last = self.rows[0], self.rows[-1]
        count = self.last - int(first["step"] or 0)
        return ((last["seconds"] or 0) - (first["seconds"] or 0)) / count if count else 0.0

    @property
    def tokens_per_second(self) -> float:
        """The present speed in response tokens."""
        tokens = sum(row["response_tokens"] or 0 for row in self.rows[1:])
        seconds = self.seconds_per_step * (len(self.rows) - 1)
        return tokens / seconds if seconds else 0.0

    def describe(self) -> str:
        """Step, loss and speed in a line."""
        line = f"step {self.last}/{self.steps}  loss {self.rows[-1]['loss_nats']:.4f} nats"
        rate = self.tokens_per_second
        return f"{line}  {rate:.0f} response tok/s" if rate else line


def read(folder: Path) -> LoggedSteps | None:
    """The end of the log in a folder; None where there is none."""
    try:
        with (folder / FILE).open("rb") as file:
            heading = json.loads(file.readline())
            begin, size = file.tell(), file.seek(0, os.SEEK_END)
            is_cut = size - begin > TAIL_BYTES
            file.seek(max(begin, size - TAIL_BYTES))
            lines = file.read().splitlines(keepends=True)[is_cut:]
    except (OSError, ValueError):
        return None
    # the last one may be half written
    rows = [json.loads(line) for line in lines if line.endswith(b"\n")]
    return LoggedSteps(heading["job"], heading["steps"], rows)


def steps_before(folder: Path, job_key: str) -> int:
    """The last step that the log of a folder has of this very job; 0 where it has none."""
    logged = read(folder)
    return logged.last if logged and logged.job_key == job_key else 0
