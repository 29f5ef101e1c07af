"""The made-up grid by which large experiments are timed is a finished one for the commands."""

import contextlib
from pathlib import Path

import pytest

from benchmarks.scale import CONFIG, finish, project
from workflow.jobs.jobs import Jobs


@pytest.mark.slow
def test_a_made_up_grid_is_finished_and_a_changed_method_is_not():
    with project(cells=1) as folder, contextlib.chdir(folder):
        finish(folder)
        jobs, changed = (Jobs.of_file(Path(name)) for name in (CONFIG, f"changed.{CONFIG}"))
        assert jobs.unfinished == []
        assert jobs.is_reported
        assert {artifact.stage for artifact in changed.unfinished} == {"students", "evals"}
