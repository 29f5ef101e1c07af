"""Jobs forked from preloaded libraries: the same bits, endings and signals as on their own."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from snaking import ROOT, Copy
from stage_commands import job_file

from pipeline.artifacts import artifact
from workflow.config.validate import validate
from workflow.grid.grid import Grid
from workflow.jobs.jobs import Jobs

HERE = [sys.executable, "-m", "workflow.launch.run_stage"]
SERVED = [sys.executable, "-m", "workflow.launch.preloaded"]


def ran(folder: Path, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """A command in a folder that no other run is told of."""
    return subprocess.run(
        command,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | variables,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.xdist_group("chain")
def test_a_student_of_its_own_process_has_the_same_bits(
    chain: Copy, tiny: dict[str, Any], tmp_path: Path
) -> None:
    grid = Grid(validate(tiny))
    student = grid.student("jsd", "small", "large", 1)
    flags = [part for role, one in student.inputs for part in (f"--{role}", one.path)]
    file = tmp_path / "job.json"
    file.write_text(Jobs(grid).job_json(student))
    here = [
        "--job",
        str(file),
        "--out",
        str(tmp_path / student.id),
        "--state",
        str(tmp_path / "state"),
    ]
    machine = ["--micro-batch-tokens", "2048", "--threads", "1"]
    subprocess.run(
        [*HERE, "pipeline", "train", *flags, *here, *machine],
        cwd=chain.folder,
        check=True,
    )
    forked, own = (
        load_file(folder / "model/model.safetensors")
        for folder in (chain.folder / student.path, tmp_path / student.id)
    )
    assert all((forked[name] == own[name]).all() for name in own)
    manifests = [
        artifact.read_json(folder / "manifest.json")["settings"]
        for folder in (chain.folder / student.path, tmp_path / student.id)
    ]
    assert manifests[0] == manifests[1]


def test_output_and_exit_status_are_the_jobs(tmp_path: Path) -> None:
    job = job_file(tmp_path / "job.json", "x", {"examples": {"source": "nowhere"}})
    asked = [*HERE, "pipeline", "prepare_data", "--job", str(job), "--out", str(tmp_path / "x")]
    ends = [ran(tmp_path, *SERVED, *asked), ran(tmp_path, *asked)]
    assert ends[0].returncode == ends[1].returncode == 2
    assert ends[0].stderr == ends[1].stderr
    assert "nowhere" in ends[0].stderr


def test_the_commands_own_status_is_passed_on(tmp_path: Path) -> None:
    assert ran(tmp_path, *SERVED, sys.executable, "-c", "raise SystemExit(7)").returncode == 7


def test_termination_reaches_the_job(tmp_path: Path) -> None:
    with subprocess.Popen(
        [*SERVED, *HERE, "http.server", "0"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
    ) as started:
        assert started.stdout is not None
        assert "Serving" in started.stdout.readline()
        asker = ["pgrep", "-P", str(started.pid), "-f", f"^{' '.join(HERE)}"]
        found = subprocess.run(asker, capture_output=True, text=True, check=True)
        os.kill(int(found.stdout), signal.SIGTERM)
        assert started.wait(timeout=60) == 128 + signal.SIGTERM


def test_jobs_are_preloaded_where_temporary_files_have_long_paths(tmp_path: Path) -> None:
    long = tmp_path / (
        "x" * 105
    )  # with a socket's name, more than the 107 that its address may have
    long.mkdir()
    job = job_file(tmp_path / "job.json", "x", {"examples": {"source": "nowhere"}})
    asked = [*HERE, "pipeline", "prepare_data", "--job", str(job), "--out", str(tmp_path / "x")]
    done = ran(tmp_path, *SERVED, *asked, TMPDIR=str(long))
    assert done.returncode == 2
    assert "nowhere" in done.stderr
    assert "Traceback" not in done.stderr
