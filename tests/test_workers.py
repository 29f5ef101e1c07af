"""Processes that a job hires for a part of its work."""

import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.runtime.process_pool import process_pool

ROOT = Path(__file__).parent.parent
HIRING = """
import os, time
from pipeline.runtime.process_pool import process_pool

helpers = process_pool(2)
print(helpers.submit(os.getpid).result() != os.getpid(), flush=True)
time.sleep(60)
"""


def test_a_hired_process_ends_when_the_job_is_killed() -> None:
    job = subprocess.Popen([sys.executable, "-c", HIRING], cwd=ROOT, stdout=subprocess.PIPE)
    assert job.stdout.readline() == b"True\n"
    job.kill()
    # its end of the pipe is open as long as one of them lives
    assert job.communicate(timeout=30)[0] == b""


@pytest.mark.parametrize("processes", [1, 2])
def test_results_are_in_order_and_an_error_comes_as_it_was_raised(processes: int) -> None:
    with process_pool(processes) as helpers:
        assert list(helpers.map(int, ["3", "1", "2"])) == [3, 1, 2]
        with pytest.raises(ValueError, match="'x'"):
            list(helpers.map(int, ["3", "x"]))
