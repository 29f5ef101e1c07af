"""Kill it anywhere: jobs and runs that are killed, starved or given damaged files.

What is left is whole or not there, a second start goes on from it, and the numbers are in the end
those of an unbroken run, bit for bit.
"""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from damage import Harm, cut, flip
from fault_injection import (
    AtRandom,
    Job,
    Server,
    agree,
    draws,
    grow_disk,
    kill_before_the_rename,
    kills,
    served,
    small_disk,
    waited,
)
from snaking import Copy, edited
from stage_commands import LONG

from workflow.config.validate import validate
from workflow.grid.grid import Grid
from workflow.jobs.jobs import Jobs

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("faults")]
KILLS = {  # of each stage, at random moments
    "data": 2,
    "tokenizers": 2,
    "tokens": 2,
    "models": 2,
    "teachers": 5,
    "texts": 4,
    "caches": 4,
    "students": 5,
    "evals": 3,
}
HARM: dict[Harm, str] = {cut: "cut off", flip: "with another bit"}
LONG_STAGES = ("teachers", "texts", "caches", "students")
Told = Callable[[str, object], None]  # what is injected, and how often


@dataclass(frozen=True)
class Unbroken:
    """A job that nothing happened to, and how long it took."""

    job: Job
    seconds: float


@pytest.fixture(scope="module")
def server(chain: Copy, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with served(chain, tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture(scope="module")
def unbroken(
    server: Server, tiny: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Unbroken]:
    """A job of each stage; the long ones in several pieces."""
    pieces = {"teacher_cache.shard_texts": 20, "teacher_text.samples": 9}
    grid, results = Grid(validate(edited(tiny, pieces))), tmp_path_factory.mktemp("unbroken")
    student = Grid(validate(tiny)).student("jsd", "small", "large", 1)
    evaluation = Grid(validate(tiny)).evaluations[student]
    made = [
        grid.data(),
        grid.tokenizer(),
        grid.tokens(),
        grid.model("wide", 0),
        grid.teacher("large"),
    ]
    made += [grid.text("large"), grid.signals("large"), student, evaluation]
    jobs = {}
    for artifact in made:
        job, began = Job.of(server, Jobs(grid), artifact, results / "results"), time.monotonic()
        assert job.end() == 0, job.printed()
        jobs[artifact.stage] = Unbroken(job, time.monotonic() - began)
    return jobs


@pytest.mark.parametrize("stage", KILLS)
def test_a_stage_killed_at_random_moments_ends_as_an_unbroken_one(
    stage: str, unbroken: dict[str, Unbroken], tmp_path: Path, record_property: Told
):
    record_property("injected", [f"kills of {stage} at random moments", KILLS[stage]])
    whole = unbroken[stage]
    job = whole.job.elsewhere(tmp_path / "results")
    kills(job, KILLS[stage], AtRandom(draws(stage), whole.seconds))
    assert job.end() == 0, job.printed()
    assert agree(job.out, whole.job.out)
    assert not job.state.exists()


@pytest.mark.parametrize("stage", ["data", "models", "teachers", "texts", "caches", "evals"])
def test_a_stage_killed_between_writing_and_renaming_leaves_nothing_under_the_name(
    stage: str, unbroken: dict[str, Unbroken], tmp_path: Path, record_property: Told
):
    record_property("injected", ["kills between writing and renaming", 1])
    whole = unbroken[stage]
    job = whole.job.elsewhere(tmp_path / "results")
    kills(job, 1, kill_before_the_rename)
    assert job.end() == 0, job.printed()
    assert agree(job.out, whole.job.out)
    assert [path.name for path in job.out.parent.iterdir()] == [job.out.name]


def begun(job: Job, pieces: int) -> "subprocess.Popen[bytes]":
    """The job, when it has saved so many states or pieces."""
    process = job.begin()
    waited(lambda: len(list(job.state.glob("[a-z0-9]*/manifest.json"))) >= pieces, 0.001)
    return process


@pytest.mark.parametrize("stage", LONG_STAGES)
def test_a_stage_asked_to_stop_saves_and_asks_to_be_started_again(
    stage: str, unbroken: dict[str, Unbroken], tmp_path: Path, record_property: Told
):
    record_property("injected", ["SIGTERM to a job", 1])
    whole = unbroken[stage]
    job = whole.job.elsewhere(tmp_path / "results")
    with begun(job, 1) as process:
        process.send_signal(signal.SIGTERM)
        assert process.wait(LONG) == os.EX_TEMPFAIL, job.printed()
    assert "stopped by signal 15" in job.printed()
    assert not job.out.exists()
    kept = {path: path.stat().st_ino for path in job.state.glob("*/manifest.json")}
    assert kept
    assert len(kept) <= 2 or stage not in ("teachers", "students")

    assert job.end() == 0, job.printed()
    assert agree(job.out, whole.job.out)
    assert not job.state.exists()


def test_a_damaged_state_is_told_of_and_the_one_before_it_serves(
    unbroken: dict[str, Unbroken], tmp_path: Path, record_property: Told
):
    record_property("injected", ["damaged states", 1])
    whole = unbroken["teachers"]
    job = whole.job.elsewhere(tmp_path / "results")
    with begun(job, 2) as process:
        process.kill()
    waited(lambda: not job.server.jobs())
    *_, before, last = sorted(job.state.glob("step-*"))
    flip(last / "state.pt")
    assert job.end() == 0, job.printed()
    assert f"{last} is damaged: going back to the state before it" in job.printed()
    assert f"resuming after step {int(before.name.removeprefix('step-'))} of 120" in job.printed()
    assert agree(job.out, whole.job.out)


@pytest.mark.parametrize(
    ("harm", "stage", "role", "file"),
    [
        (cut, "tokenizers", "data", "train.parquet"),
        (flip, "tokens", "tokenizer", "model/tokenizer.json"),
        (flip, "students", "tokens", "train.parquet"),
        (cut, "students", "start", "model/model.safetensors"),
        (flip, "students", "cache", "train-00000.parquet"),
        (cut, "evals", "cache", "test-00000.parquet"),
        (cut, "evals", "model", "manifest.json"),
    ],
)
def test_a_damaged_input_is_named_moved_aside_and_never_read(
    harm: Harm,
    stage: str,
    role: str,
    file: str,
    unbroken: dict[str, Unbroken],
    tmp_path: Path,
    record_property: Told,
):
    record_property("injected", [f"inputs {HARM[harm]}", 1])
    whole = unbroken[stage]
    intact = dict(whole.job.inputs)[role]
    damaged = tmp_path / "results" / intact.parent.name / intact.name
    shutil.copytree(intact, damaged)
    harm(damaged / file)

    job = whole.job.elsewhere(tmp_path / "results").reading(role, damaged)
    assert job.end() == 2, job.printed()
    aside = tmp_path / "results/damaged" / intact.parent.name / f"{intact.name}.1"
    (line,) = [line for line in job.printed().splitlines() if line.startswith("error: ")]
    assert line.startswith(f"error: {damaged / file} is ")
    assert line.endswith(f"; {damaged} is now {aside}: run again to remake it")
    assert not damaged.exists()
    assert (aside / file).exists()
    assert not job.out.exists()

    shutil.copytree(intact, damaged)  # as a rerun remakes it
    assert job.end() == 0, job.printed()
    assert agree(job.out, whole.job.out)


@pytest.mark.parametrize("stage", ["caches", "students"])
def test_two_processes_never_make_the_same_at_once(
    stage: str, unbroken: dict[str, Unbroken], tmp_path: Path, record_property: Told
):
    record_property("injected", ["second jobs beside one", 1])
    whole = unbroken[stage]
    job = whole.job.elsewhere(tmp_path / "results")
    with begun(job, 1) as first:
        (maker,) = job.server.jobs()
        os.kill(maker, signal.SIGSTOP)  # it takes its time
        with job.begin() as second:
            waiting = f"another process is making {job.out}: waiting until it has ended"
            waited(lambda: waiting in job.printed())
            os.kill(maker, signal.SIGCONT)
            assert first.wait(LONG) == 0, job.printed()
            made = (job.out / "manifest.json").stat().st_ino
            assert second.wait(LONG) == 0, job.printed()
    assert f"{job.out} is up to date" in job.printed()
    assert (job.out / "manifest.json").stat().st_ino == made
    assert agree(job.out, whole.job.out)


@pytest.mark.parametrize("stage", ["data", "models", "teachers", "caches", "evals"])
def test_a_full_disk_is_told_of_and_more_room_is_all_it_takes(
    stage: str, unbroken: dict[str, Unbroken], tmp_path: Path, record_property: Told
):
    record_property("injected", ["full disks under a job", 1])
    whole = unbroken[stage]
    with small_disk(tmp_path / "disk", kilobytes=16):
        job = whole.job.elsewhere(tmp_path / "disk/results")
        assert job.end() != 0
        assert not job.out.exists()
        (line,) = [line for line in job.printed().splitlines() if line.startswith("error: ")]
        assert "No space left on device" in line
        assert line.endswith("make room and run again: what is finished is kept")
        grow_disk(tmp_path / "disk")
        assert job.end() == 0, job.printed()
        assert agree(job.out, whole.job.out)


def test_an_input_without_permission_is_named(
    unbroken: dict[str, Unbroken], tmp_path: Path, record_property: Told
):
    record_property("injected", ["inputs without permission", 1])
    whole = unbroken["caches"]
    tokens = dict(whole.job.inputs)["tokens"]
    locked = shutil.copytree(tokens, tmp_path / "results/tokens" / tokens.name) / "train.parquet"
    job = whole.job.elsewhere(tmp_path / "results").reading("tokens", locked.parent)
    locked.chmod(0)
    rights = "-dac_override,-dac_read_search"  # root reads what it has no permission for
    before = ["setpriv", f"--bounding-set={rights}", f"--inh-caps={rights}"]
    done = subprocess.run(
        [*(before if os.getuid() == 0 else []), *job.command()],
        cwd=job.server.copy.folder,
        env={name: v for name, v in job.server.environment.items() if name[:5] != "DISTI"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.stderr.startswith("setpriv: "):
        pytest.skip("root may not give up its rights here")
    assert done.returncode == 2, done.stderr
    assert f"Permission denied: '{locked}'" in done.stderr
    assert "give this user the right to it and run again" in done.stderr
    assert locked.exists()  # nothing is wrong with it: it is not moved aside
    locked.chmod(0o644)
    assert job.end() == 0, job.printed()
    assert agree(job.out, whole.job.out)
