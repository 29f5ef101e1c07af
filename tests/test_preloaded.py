"""Jobs forked from preloaded libraries: the same bits, endings and signals as on their own."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import forked
import pytest
from safetensors.torch import load_file
from snaking import ROOT, Copy
from stage_commands import LONG, module_command

from pipeline.artifacts import artifact
from workflow.config.validate import validate
from workflow.grid.grid import Grid
from workflow.jobs import job_files
from workflow.jobs.jobs import Jobs

pytestmark = pytest.mark.slow

HERE = [sys.executable, "-m", "workflow.launch.run_stage"]
SERVED = [sys.executable, "-m", "workflow.launch.preloaded"]


def ran(folder: Path, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """A command of Python in a folder that no other run is told of, its libraries loaded before."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | variables
    return forked.jobs().run(command[1:], folder, environment)


@pytest.mark.slow
@pytest.mark.xdist_group("chain")
def test_a_student_of_its_own_process_has_the_same_bits(
    chain: Copy, tiny: dict[str, Any], tmp_path: Path
) -> None:
    jobs = Jobs(Grid(validate(tiny)))
    student = jobs.grid.student("jsd", "small", "large", 1)
    out = tmp_path / student.path
    job_files.write(out, jobs.job(student))
    machine = ["--micro-batch-tokens", "2048", "--threads", "1"]
    subprocess.run([*HERE, str(out), *machine], cwd=chain.folder, check=True)
    forked, own = (
        load_file(folder / "model/model.safetensors")
        for folder in (chain.folder / student.path, out)
    )
    assert all((forked[name] == own[name]).all() for name in own)
    manifests = [
        artifact.read_json(folder / "manifest.json")["settings"]
        for folder in (chain.folder / student.path, out)
    ]
    assert manifests[0] == manifests[1]


def faulty(folder: Path) -> list[str]:
    """The command of a job whose settings name a source that there isn't."""
    out = folder / "results/data/x"
    settings = {"examples": {"source": "nowhere"}}
    job = {"stage": "prepare_data", "inputs": [], "id": "x", "code": "", "settings": settings}
    job_files.write(out, job)
    return [*HERE, str(out)]


def test_output_and_exit_status_are_the_jobs(tmp_path: Path) -> None:
    command = faulty(tmp_path)
    ends = [ran(tmp_path, *SERVED, *command), ran(tmp_path, *command)]
    assert ends[0].returncode == ends[1].returncode == 2
    assert ends[0].stderr == ends[1].stderr
    assert "nowhere" in ends[0].stderr


def test_a_job_without_a_job_file_says_how_to_get_one(tmp_path: Path) -> None:
    done = ran(tmp_path, *HERE, "results/data/unknown")
    assert done.returncode == 1
    assert "--configfile" in done.stderr


def test_the_commands_own_status_is_passed_on(tmp_path: Path) -> None:
    assert ran(tmp_path, *SERVED, sys.executable, "-c", "raise SystemExit(7)").returncode == 7


def test_help_is_shown_and_a_command_that_is_none_is_named(tmp_path: Path) -> None:
    shown = ran(tmp_path, *SERVED, "--help")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "preloaded snakemake" in shown.stdout
    missing = ran(tmp_path, *SERVED, "snakemaek", "--cores", "1")
    assert missing.returncode == 127
    assert "'snakemaek'" in missing.stderr
    assert "Traceback" not in missing.stderr
    assert not any(tmp_path.iterdir())


def test_termination_reaches_the_job(tmp_path: Path) -> None:
    with subprocess.Popen(
        [*SERVED, *module_command("http.server", "0")],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
    ) as started:
        assert started.stdout is not None
        assert "Serving" in started.stdout.readline()
        asker = ["pgrep", "-P", str(started.pid), "-f", "^[^ ]+ -c from workflow.launch.run_stage"]
        job = subprocess.run(asker, capture_output=True, text=True, check=True).stdout
        os.kill(int(job), signal.SIGTERM)
        assert started.wait(LONG) == 128 + signal.SIGTERM


def test_jobs_are_preloaded_where_temporary_files_have_long_paths(tmp_path: Path) -> None:
    # with a socket's name, more than the 107 bytes that its address may have
    long = tmp_path / ("x" * 105)
    long.mkdir()
    done = ran(tmp_path, *SERVED, *faulty(tmp_path), TMPDIR=str(long))
    assert done.returncode == 2
    assert "nowhere" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_job_computes_on_the_threads_that_it_was_given(tmp_path: Path) -> None:
    (tmp_path / "computing.py").write_text("import torch; print(torch.get_num_threads())")
    done = ran(tmp_path, *SERVED, *module_command("computing", threads=3))
    assert done.stdout == "3\n", done.stderr


LEAVES = "import os, sys, tempfile; print(tempfile.mkdtemp(), flush=True); "


@pytest.fixture
def temporary(tmp_path: Path) -> Path:
    """A folder for temporary files."""
    (tmp_path / "tmp").mkdir()
    return tmp_path / "tmp"


@pytest.mark.parametrize("end", ["raise SystemExit(0)", "os.kill(os.getpid(), 9)"])
def test_a_run_leaves_no_temporary_file(temporary: Path, end: str) -> None:
    command = [*SERVED, sys.executable, "-c", LEAVES + end]
    done = ran(temporary.parent, *command, TMPDIR=str(temporary))
    assert Path(done.stdout.strip()).is_relative_to(temporary)
    assert not list(temporary.iterdir())


def running(temporary: Path) -> "tuple[subprocess.Popen[str], Path]":
    """A run that waits for its standard input to end, and the temporary folder that it has made."""
    run = subprocess.Popen(
        [*SERVED, sys.executable, "-c", f"{LEAVES}sys.stdin.read()"],
        cwd=temporary.parent,
        env=os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": str(temporary)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert run.stdout is not None
    return run, Path(run.stdout.readline().strip())


def test_what_a_killed_run_leaves_is_deleted_by_the_next_one_and_nothing_else(
    temporary: Path,
) -> None:
    notes = temporary / "distilbench-notes.txt"
    notes.write_text("of a user")
    (killed, lost), (living, used) = running(temporary), running(temporary)
    killed.kill()
    killed.communicate()  # until the last of its processes has ended
    assert lost.is_dir()
    ran(temporary.parent, *SERVED, sys.executable, "-c", "", TMPDIR=str(temporary))
    assert not lost.exists()
    assert used.is_dir()
    living.communicate()
    assert list(temporary.iterdir()) == [notes]


def test_a_run_that_is_stopped_while_its_libraries_load_does_not_wait_for_its_jobs(
    tmp_path: Path,
) -> None:
    with subprocess.Popen(
        [*SERVED, *module_command("http.server", "0")],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    ) as started:
        assert started.stderr is not None
        line = started.stderr.readline()  # it asks the server next
        started.terminate()
        assert started.wait(timeout=60) == os.EX_TEMPFAIL, line
