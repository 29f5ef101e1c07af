"""The view of a running experiment: redrawn on a terminal, a line now and then elsewhere."""

import sys
import time
from collections.abc import Callable

from rich.bar import Bar
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from workflow.commands.alike import pattern
from workflow.commands.console import WIDEST, duration
from workflow.commands.job_status import JobStatus, Status, UnfinishedJob, status_of
from workflow.jobs.jobs import Jobs

POLL_SECONDS = 1.0
POLL_SHARE = 0.2  # of a processor, at most: a large grid takes seconds to look through
LINE_SECONDS = 30.0  # between two lines where there is no terminal
BAR = 24  # columns
SHOWN = 12  # running jobs


def follow(
    jobs: Jobs, has_ended: Callable[[Status, float], bool], run_began: float | None = None
) -> Status:
    """Shows an experiment until it has ended; returns its last status.

    `has_ended` is given the present status, and the seconds to wait before it answers. Where the
    caller has started the run, no failure from before `run_began` is told. A failure is told as it
    comes, unless another job has failed of the same cause.
    """
    view, slots, is_last = (TerminalView if sys.stdout.isatty() else LineView)(), 1, False
    causes: set[str] = set()
    try:
        while True:
            began = time.process_time()  # on a busy machine all takes long, and is no more work
            status = status_of(jobs.reread(), time.time(), slots, run_began)
            slots = max(slots, status.count(JobStatus.RUNNING))
            for job in status.jobs:
                if job.status is JobStatus.FAILED and pattern(job.message) not in causes:
                    causes.add(pattern(job.message))
                    view.tell(f"failed: {job.name}: {job.message}\n    {job.log}")
            view.show(status)
            if is_last:
                return status
            pause = max(POLL_SECONDS, (time.process_time() - began) / POLL_SHARE)
            is_last = has_ended(status, pause)
    finally:
        view.close()


class TerminalView:
    """A few lines at the bottom of the terminal, redrawn at each status."""

    def __init__(self) -> None:
        console = Console(highlight=False)
        self._console, self._started = console, time.monotonic()
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._live.start()

    def show(self, status: Status) -> None:
        """Redraws the view."""
        passed = duration(time.monotonic() - self._started)
        self._live.update(drawn(status, passed, self._console.width), refresh=True)

    def tell(self, line: str) -> None:
        """Prints a line above the view."""
        self._console.print(Text(line, style="red"), soft_wrap=True)

    def close(self) -> None:
        """Removes the view."""
        self._live.stop()


class LineView:
    """A line when something has changed, not too often."""

    def __init__(self) -> None:
        self._printed, self._line = 0.0, ""

    def show(self, status: Status) -> None:
        """Prints a line, unless one was printed a short time ago."""
        line = ", ".join([counts(status), *time_left(status)])
        now = time.monotonic()
        if line != self._line and (not self._line or now - self._printed >= LINE_SECONDS):
            self.tell(f"{time.strftime('%H:%M:%S')}  {line}")
            self._printed, self._line = now, line

    def tell(self, line: str) -> None:
        """Prints a line."""
        print(line, flush=True)

    def close(self) -> None:
        """Does nothing: all that was printed stays."""


def counts(status: Status) -> str:
    """Jobs done, running, queued and failed."""
    kinds = (JobStatus.RUNNING, JobStatus.QUEUED, JobStatus.FAILED)
    numbers = [f"{number} {kind}" for kind in kinds if (number := status.count(kind))]
    done = sum(status.done.values())
    return ", ".join([f"{done} of {done + len(status.jobs)} jobs done", *numbers])


def time_left(status: Status) -> list[str]:
    """The time that is left, as far as something runs by which to tell it."""
    is_known = status.waiting and status.count(JobStatus.RUNNING)
    return [f"about {duration(status.seconds_left)} left"] if is_known else []


def drawn(status: Status, passed: str, width: int) -> Group:
    """The view of a status: a bar, the counts, and a line for each running job."""
    done = sum(status.done.values())
    total = done + len(status.jobs)
    heading = Table.grid(padding=(0, 2))
    heading.add_row(
        Text(status.experiment, style="bold"),
        Bar(total, 0, done, width=BAR, color="green", bgcolor="grey37"),
        Text(counts(status)),
    )
    times = Text(", ".join([f"{passed} passed", *time_left(status)]), style="dim")
    running = [job for job in status.jobs if job.status is JobStatus.RUNNING]
    return Group(heading, times, _running(running, min(width, WIDEST)))


def _running(jobs: list[UnfinishedJob], width: int) -> Table:
    table = Table.grid(padding=(0, 2))
    table.width = width
    table.add_column(no_wrap=True, overflow="ellipsis", max_width=width // 2)
    table.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
    for job in jobs[:SHOWN]:
        table.add_row(Text(job.name, style="cyan"), Text(job.message))
    if len(jobs) > SHOWN:
        table.add_row(Text(f"and {len(jobs) - SHOWN} more"), Text())
    return table
