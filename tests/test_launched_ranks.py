"""Several ranks of one job: real processes that meet over gloo, and end together."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from snaking import JOB_SERVERS, ROOT, Copy
from stage_commands import LONG, module_command

from pipeline.artifacts.artifact import read_json
from workflow.config.validate import validate
from workflow.grid.grid import Grid
from workflow.jobs import job_files
from workflow.jobs.jobs import Jobs
from workflow.launch.gpu_lease import VISIBLE
from workflow.launch.preload_client import SERVER_ADDRESS
from workflow.launch.ranks import RankGroup, gpus_of_ranks, rank_group, tasks_per_node

pytestmark = pytest.mark.slow
CLEANED = "the interpreter has cleaned up"
PRELOADED = [sys.executable, "-m", "workflow.launch.preloaded"]

# each rank adds its number, starting from 1; what then happens is for the test to say
MEET = """
import atexit, os, signal, sys, time
import torch
from pipeline.runtime import ranks
from pipeline.stages import command_line

def work():
    place = ranks.join()
    total = torch.tensor([place.rank + 1.0])
    place.sum_in_place([total])
    print(f"sum {total.item():.0f} of rank {place.rank}", file=sys.stderr, flush=True)
    HAPPENS
    ranks.leave()

command_line.run(work)
"""


def meeting(folder: Path, happens: str = "pass", ranks: int = 2, tasks: int = 1) -> list[str]:
    """The command of a job whose ranks meet."""
    (folder / "meet.py").write_text(MEET.replace("HAPPENS", happens))
    return module_command("meet", ranks=ranks, tasks=tasks)


def environment(folder: Path) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": f"{ROOT}:{folder}"}


def ran(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=folder, env=environment(folder), capture_output=True, text=True, check=False
    )


def test_ranks_meet_and_only_the_first_ones_words_are_as_they_are(tmp_path: Path):
    done = ran(tmp_path, *meeting(tmp_path))
    assert done.returncode == 0, done.stderr
    lines = done.stderr.splitlines()
    assert {"sum 3 of rank 0", "rank 1: sum 3 of rank 1"} <= set(lines)
    assert len([line for line in lines if line.startswith("meet on ")]) == 1


def test_a_rank_that_fails_ends_the_job_with_its_words(tmp_path: Path):
    fails = f"""
    if place.rank == 1:
        raise ValueError("rank 1 has no more paper")
    time.sleep({LONG})"""
    done = ran(tmp_path, *meeting(tmp_path, fails.strip()))
    assert done.returncode == 2
    last = done.stderr.splitlines()[-1]
    assert last == "rank 1 ended first, with status 2: error: rank 1 has no more paper"


def test_a_killed_rank_ends_the_job_of_preloaded_libraries_too(tmp_path: Path):
    killed = f"""
    if place.rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep({LONG})"""
    command = [*PRELOADED, *meeting(tmp_path, killed.strip())]
    with (tmp_path / "log").open("w") as file:  # as of a run: not a pipe, as its ranks' output is
        done = subprocess.run(command, cwd=tmp_path, env=environment(tmp_path), stderr=file)
    log = (tmp_path / "log").read_text()
    assert "rank 1: sum 3 of rank 1" in log
    assert done.returncode == 128 + signal.SIGKILL
    assert "rank 1 ended first" in log.splitlines()[-1]


@pytest.fixture
def waiting(tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    """A job whose two ranks have met and wait to be asked to stop."""
    command = meeting(
        tmp_path, f"atexit.register(print, {CLEANED!r}, file=sys.stderr); time.sleep({LONG})"
    )
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment(tmp_path), stderr=subprocess.PIPE, text=True
    ) as job:
        assert job.stderr is not None
        met = 0
        while met < 2:
            met += "sum 3" in job.stderr.readline()
        yield job
        job.kill()


def test_a_request_to_stop_reaches_all_ranks_and_the_job_is_to_be_run_again(
    waiting: "subprocess.Popen[str]",
):
    waiting.send_signal(signal.SIGTERM)
    assert waiting.wait(LONG) == os.EX_TEMPFAIL
    assert waiting.stderr is not None
    errors = waiting.stderr.read()
    assert errors.count(f"stopped by signal {signal.SIGTERM}") == 2
    assert "ended first" not in errors
    assert CLEANED not in errors  # threads of gloo would abort a rank in it, now and then


def test_no_rank_outlives_its_launcher(waiting: "subprocess.Popen[str]"):
    listing = Path(f"/proc/{waiting.pid}/task/{waiting.pid}/children")
    ranks = [int(process) for process in listing.read_text().split()]
    assert len(ranks) == 2
    waiting.kill()
    deadline = time.monotonic() + LONG
    while any(Path(f"/proc/{rank}/exe").exists() for rank in ranks):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_one_rank_is_the_process_itself_without_a_variable(tmp_path: Path):
    (tmp_path / "alone.py").write_text("import os; print(os.getpid(), 'RANK' in os.environ)")
    with subprocess.Popen(
        module_command("alone"),
        cwd=tmp_path,
        env=environment(tmp_path),
        stdout=subprocess.PIPE,
        text=True,
    ) as job:
        assert job.stdout is not None
        assert job.stdout.read().strip() == f"{job.pid} False"


STEP = {
    "SLURM_JOB_ID": "70001",
    "SLURM_STEP_NUM_TASKS": "4",
    "SLURM_STEP_TASKS_PER_NODE": "2(x2)",
    "SLURM_STEP_NODELIST": "",
    "SLURM_NODEID": "1",
    "SLURM_PROCID": "3",
    "SLURM_LOCALID": "1",
}


def test_the_tasks_of_a_step_share_the_ranks_of_a_job(tmp_path: Path, monkeypatch):
    # the one program of SLURM that is asked, as it answers for two nodes
    program = tmp_path / "scontrol"
    program.write_text("#!/bin/sh\necho node7\necho node8\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    last = rank_group(16, STEP)
    assert last == RankGroup(
        size=16, first=12, count=4, local_first=4, local_size=8, address="node7", port=20_001
    )
    assert last == rank_group(16, STEP)  # every task has to find the same place
    each = rank_group(1, STEP)  # a user's own `srun`: each task is a rank
    assert each is not None
    assert (each.size, each.first, each.count, each.local_first) == (4, 3, 1, 1)
    with pytest.raises(ValueError, match="6 ranks can't be shared equally by the 4 tasks"):
        rank_group(6, STEP)


def test_nodes_of_unequal_tasks_are_counted():
    assert tasks_per_node("2(x3),1") == [2, 2, 2, 1]
    assert tasks_per_node("4") == [4]


def test_each_rank_has_its_own_of_the_gpus_that_a_node_shows():
    second = RankGroup(size=4, first=2, count=2, local_first=2, local_size=4)
    assert gpus_of_ranks(second, ["0", "1", "2", "3"]) == ["2", "3"]
    assert gpus_of_ranks(second, ["a", "b"]) == ["a", "b"]  # bound to this task by the scheduler
    environments = list(second.environments(["a", "b"]))
    assert [each[VISIBLE] for each in environments] == ["a", "b"]
    with pytest.raises(ValueError, match="2 ranks need a GPU each, and this job sees 1"):
        gpus_of_ranks(second, ["0"])


@pytest.mark.xdist_group("chain")
def test_a_student_of_two_ranks_has_the_weights_of_one_within_rounding(
    chain: Copy, tiny: dict[str, Any], tmp_path: Path
):
    jobs = Jobs(Grid(validate(tiny)))
    student = jobs.grid.student("jsd", "small", "large", 1)
    out = tmp_path / student.path
    job_files.write(out, jobs.job(student))
    command = [sys.executable, "-m", "workflow.launch.run_stage", str(out)]
    machine = ["--ranks", "2", "--threads", "2", "--micro-batch-tokens", "2048"]
    served = os.environ | {SERVER_ADDRESS: JOB_SERVERS.address(chain.folder)}
    subprocess.run([*command, *machine], cwd=chain.folder, env=served, check=True)
    of_one, of_two = (
        load_file(folder / "model/model.safetensors")
        for folder in (chain.folder / student.path, out)
    )
    # twelve steps of sums in float32, in another order
    assert all(torch.allclose(of_one[name], of_two[name], atol=1e-5) for name in of_one)
    manifests = [
        read_json(folder / "manifest.json") for folder in (chain.folder / student.path, out)
    ]
    assert [manifest.get("ranks") for manifest in manifests] == [None, 2]
    assert manifests[0]["id"] == manifests[1]["id"]


def test_ranks_that_a_stage_cannot_use_are_refused_before_it_starts(tmp_path: Path):
    out = tmp_path / "results/data/x"
    job = {"stage": "prepare_data", "inputs": [], "id": "x", "code": "", "settings": {}}
    job_files.write(out, job)
    done = ran(
        tmp_path, sys.executable, "-m", "workflow.launch.run_stage", str(out), "--ranks", "2"
    )
    assert done.returncode == 1
    assert "2 ranks are asked for, and the stage prepare_data can't share its work" in done.stderr


def test_limits_of_the_command_line_hold_for_a_job_of_a_configuration_too(
    tiny: dict[str, Any], tmp_path: Path
):
    (tmp_path / "tiny.json").write_text(json.dumps(tiny))
    of_config = [Grid(validate(tiny)).data().path, "--configfile", "tiny.json"]
    command = [sys.executable, "-m", "workflow.launch.run_stage", *of_config]
    done = ran(tmp_path, *command, "--ranks", "2")
    assert done.returncode == 1
    assert "2 ranks are asked for, and the stage prepare_data can't share its work" in done.stderr
