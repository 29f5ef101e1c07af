"""The view of a running experiment: what it draws, how wide, and what it calls failed."""

import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from under_way import Folder

from workflow.commands.job_status import JobStatus, Status, UnfinishedJob, status_of
from workflow.commands.live import SHOWN, drawn
from workflow.config.validate import validate
from workflow.grid.grid import Grid
from workflow.jobs.jobs import Jobs

WIDTH = 80


def text_of(jobs: int) -> str:
    """The view of so many running jobs, and of one that has failed."""
    message = "step 120/400  loss 2.1000 nats  950 response tok/s"
    running = tuple(
        UnfinishedJob("students", f"jsd.small-{n}", JobStatus.RUNNING, 5, "log", message)
        for n in range(jobs)
    )
    failed = UnfinishedJob("data", "broken", JobStatus.FAILED, 0, "log", "ValueError: no text")
    unfinished = (*running, failed)
    status = Status("demo", 1, (), None, {"teachers": 3}, 1, unfinished, jobs, 150)
    console = Console(width=WIDTH, no_color=True, highlight=False)
    with console.capture() as capture:
        console.print(drawn(status, "2 min", console.width))
    return capture.get()


def test_jobs_done_time_left_and_the_speed_of_each_running_job_are_drawn():
    heading, times, first, second = text_of(2).rstrip().splitlines()
    assert "3 of 6 jobs done, 2 running, 1 failed" in heading
    assert times.strip() == "2 min passed, about 2 min left"
    for line in (first, second):
        assert "students/jsd.small-" in line
        assert "step 120/400" in line


def test_the_view_of_a_large_grid_stays_small():
    lines = text_of(100).rstrip().splitlines()
    assert len(lines) == 2 + SHOWN + 1
    assert f"and {100 - SHOWN} more" in lines[-1]
    assert max(map(len, lines)) <= WIDTH


def test_what_failed_before_a_run_is_no_failure_of_the_run(
    tmp_path: Path, tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch
):
    jobs, folder = Jobs(Grid(validate(tiny))), Folder(tmp_path, tiny)
    student = jobs.grid.student("jsd", "small", "large", 1)
    monkeypatch.chdir(tmp_path)
    folder.log(student, "ValueError: no text\n", age=60)
    now = time.time()
    assert status_of(jobs, now).count(JobStatus.FAILED) == 1
    assert status_of(jobs, now, run_began=now).count(JobStatus.FAILED) == 0
    folder.log(student, "ValueError: no text\n")
    assert status_of(jobs, now, run_began=now).count(JobStatus.FAILED) == 1
