"""Snakemake without any help, in a folder of its own: the default experiment, and after a kill."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from snaking import JOB, Copy, fresh_copy
from stage_commands import LONG

from workflow.config.validate import validate
from workflow.grid.grid import Grid

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def default(tmp_path_factory: pytest.TempPathFactory, tiny: dict[str, Any]) -> Copy:
    """A copy of the project whose default experiment is the tiny one."""
    copy = fresh_copy(tmp_path_factory.mktemp("default"))
    (copy.folder / "config.yaml").write_text(yaml.safe_dump(tiny))
    return copy


def snakemake(*options: str) -> list[str]:
    return [sys.executable, "-m", "snakemake", "--cores", "1", *options]


@pytest.mark.xdist_group("plain")
def test_a_value_on_the_command_line_changes_the_default_experiment_and_no_more(default: Copy):
    command = snakemake("--dry-run", "--config", "experiment=other")
    done = subprocess.run(command, cwd=default.folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "results/other/report" in JOB.findall(done.stdout)


@pytest.fixture
def killed(default: Copy, tiny: dict[str, Any]) -> Path:
    """The folder of a Snakemake that was killed while its first job ran."""
    process = subprocess.Popen(
        snakemake(),
        cwd=default.folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    log = default.folder / "results/logs/data" / f"{Grid(validate(tiny)).data().id}.log"
    until = time.monotonic() + LONG
    while not log.exists():
        assert process.poll() is None
        assert time.monotonic() < until
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    return default.folder


@pytest.mark.xdist_group("plain")
def test_after_a_kill_the_same_command_goes_on(killed: Path):
    assert list((killed / ".snakemake/locks").glob("*.lock"))
    command = [sys.executable, "-m", "workflow.commands.main", "status"]
    told = subprocess.run(command, cwd=killed, capture_output=True, text=True, check=False)
    assert "was killed: run it again" in told.stdout, told.stderr

    command = snakemake("--until", "data")
    done = subprocess.run(command, cwd=killed, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the last run of this folder was killed" in done.stdout + done.stderr
    assert not list((killed / ".snakemake/runs").glob("*.snakemake"))
