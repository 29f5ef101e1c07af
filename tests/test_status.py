"""The status: what is done, runs, waits, has failed and is left, while a run goes on and after."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from snaking import ROOT, Copy, edited
from under_way import Folder, note

from workflow.commands.job_status import JobStatus, last_line, status_of
from workflow.config.validate import validate
from workflow.grid.grid import Grid
from workflow.jobs.jobs import Jobs

pytestmark = pytest.mark.slow


@pytest.fixture
def folder(tmp_path: Path, tiny: dict[str, Any]) -> Folder:
    """A run of a minute: a teacher in training, another queued, a failed tokenizer of old."""
    folder = Folder(tmp_path, tiny)
    grid = Grid(validate(tiny))
    jobs = Jobs(grid)
    folder.make(jobs, grid.data(), age=3600)
    folder.make(jobs, grid.tokenizer(), age=30)
    folder.make(jobs, grid.tokens(), age=20)
    folder.make(jobs, grid.model("wide", 0), age=20)
    folder.write(".snakemake/locks/0.output.lock", "", age=60)
    folder.begin(grid.teacher("large"), age=10)
    folder.log(grid.teacher("large"), "Loading\nstep 40/120  loss 2.1 nats  7 s left\n", age=1)
    folder.begin(grid.start("small", 1), age=5)
    return folder


def lines(folder: Folder) -> dict[str, dict[str, Any]]:
    told = json.loads(folder.ask("--json").stdout)
    return {f"{job['stage']}/{job['id']}": job for job in told["jobs"]}


def test_a_running_job_is_told_with_its_progress_and_a_queued_one_without(folder: Folder):
    grid = Grid(validate(folder.config))
    jobs = lines(folder)
    teacher = jobs[grid.teacher("large").path.removeprefix("results/")]
    assert teacher["status"] == "running"
    assert teacher["message"] == "step 40/120  loss 2.1 nats  7 s left"
    assert 9 < teacher["seconds"] < 100
    assert jobs[grid.start("small", 1).path.removeprefix("results/")]["status"] == "queued"
    others = [job["status"] for job in jobs.values()]
    # two students, four evaluations' checkpoints (teacher, untrained, start, two students),
    # the cache, the untrained student, the report
    assert others.count("left") == 2 + 5 + 1 + 1 + 1


def test_what_is_done_is_counted_in_all_and_since_the_run_began(folder: Folder):
    done = folder.ask("--json")
    told = json.loads(done.stdout)
    assert told["done"] == {"data": 1, "tokenizers": 1, "tokens": 1, "models": 1}
    assert told["done_now"] == 3
    assert done.returncode == 3


def test_a_failed_job_is_told_with_its_last_words_and_its_log(folder: Folder):
    grid = Grid(validate(folder.config))
    student = grid.student("sft", "small", "large", 1)
    folder.log(student, "Traceback\nValueError: the loss is not finite\n\n", age=3)
    done = folder.ask()
    assert done.returncode == 1
    assert "ValueError: the loss is not finite" in done.stdout
    assert f"results/logs/students/{student.id}.log" in done.stdout
    assert lines(folder)[f"students/{student.id}"]["status"] == "failed"


def test_jobs_that_failed_of_one_cause_are_told_together_and_others_apart(folder: Folder):
    folder = Folder(folder.path, edited(folder.config, {"grid": [{"seeds": [1, 2, 3, 4]}]}))
    grid = Grid(validate(folder.config))
    students = [grid.student("jsd", "small", "large", seed) for seed in (1, 2, 3, 4)]
    for step, student in enumerate(students, 8):
        folder.log(student, f"error: the gradient norm is nan at step {step}, on a text\n", age=3)
    other = grid.student("sft", "small", "large", 1)
    folder.log(other, "error: no space is left\n", age=3)
    printed = folder.ask().stdout
    assert printed.count("the gradient norm is nan") == 1
    assert "4 jobs: the gradient norm is nan at step … on a text" in printed
    first = ", ".join(f"students/{student.id}" for student in students[:3])
    assert f"{first} and 1 more\n      results/logs/students/{students[0].id}.log" in printed
    assert f"students/{other.id}: no space is left\n" in printed


def test_a_job_that_ends_well_while_the_folder_is_looked_through_has_not_failed(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
):
    jobs = Jobs(Grid(validate(folder.config)))
    monkeypatch.chdir(folder.path)
    student = jobs.grid.student("sft", "small", "large", 1)
    assert student in jobs.unfinished  # as its folder was a moment ago
    folder.make(jobs, student, age=0)
    folder.log(student, "finished\n")
    assert status_of(jobs, time.time()).count(JobStatus.FAILED) == 0


def test_a_log_of_an_earlier_run_is_no_failure_of_this_one(folder: Folder):
    student = Grid(validate(folder.config)).student("sft", "small", "large", 1)
    folder.log(student, "ValueError: no more memory\n", age=3600)
    assert lines(folder)[f"students/{student.id}"]["status"] == "left"

    shutil.rmtree(folder.path / ".snakemake")  # the run is over: now the last words count
    assert lines(folder)[f"students/{student.id}"]["status"] == "failed"
    folder.write(f"results/benchmarks/students/{student.id}.tsv", "s\n3.0\n", age=3600)
    assert lines(folder)[f"students/{student.id}"]["status"] == "left"


def test_a_log_is_on_a_line_of_its_own(folder: Folder):
    printed = folder.ask().stdout
    (log,) = (line for line in printed.splitlines() if "results/logs/teachers/" in line)
    assert log.strip().endswith(".log")
    assert "\\n" not in printed


def test_a_killed_run_is_not_said_to_be_at_work(folder: Folder):
    with note(folder, folder.config["experiment"]) as snakemake:
        assert "Snakemake has been running since" in folder.ask().stdout
        snakemake.kill()
    done = folder.ask()
    assert "was killed" in done.stdout
    assert "0 running, 0 queued" in done.stdout


def test_what_failed_before_stays_failed_while_another_experiment_is_made(folder: Folder):
    grid = Grid(validate(folder.config))
    student = grid.student("sft", "small", "large", 1)
    folder.log(student, "ValueError: the loss is not finite\n", age=3600)
    with note(folder, "another") as snakemake:
        done = folder.ask()
        jobs = lines(folder)
        snakemake.communicate("\n")
    assert "Snakemake is running here, on another" in done.stdout
    assert jobs[f"students/{student.id}"]["status"] == "failed"
    # what both experiments need may be under way in that one
    assert jobs[grid.teacher("large").path.removeprefix("results/")]["status"] == "running"


def test_no_time_is_told_where_all_that_is_left_waits_for_what_failed(folder: Folder):
    grid = Grid(validate(folder.config))
    shutil.rmtree(folder.path / ".snakemake")
    for artifact in (grid.teacher("large"), grid.start("small", 1)):
        folder.log(artifact, "ValueError: no more memory\n")
    folder.make(Jobs(grid), grid.start_model("small", 1), age=5)
    told = json.loads(folder.ask("--json").stdout)
    assert told["waiting"] == 0
    assert "time left: unknown" in folder.ask().stdout


def test_the_time_left_falls_with_what_is_done(folder: Folder):
    grid = Grid(validate(folder.config))
    before = json.loads(folder.ask("--json").stdout)["seconds_left"]
    folder.make(Jobs(grid), grid.start("small", 1), age=0)
    assert 0 < json.loads(folder.ask("--json").stdout)["seconds_left"] < before


def test_the_time_left_is_that_of_as_many_ranks_as_jobs_had_before(
    tmp_path: Path, tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    folder, grid = Folder(tmp_path, tiny), Grid(validate(tiny))
    start = grid.start("small", 1)
    folder.write(f"results/benchmarks/starts/{start.id}.tsv", "s\n100.0\n")
    left = []
    for ranks in (1, 2):  # of code that has changed since: it and other trainings are to run
        manifest = {"id": start.id, "code": "older", "settings": {}, "inputs": {}, "ranks": ranks}
        folder.write(f"{start.path}/manifest.json", json.dumps(manifest))
        left.append(status_of(Jobs(grid), time.time()).seconds_left)
    assert left[1] == pytest.approx(left[0])
    assert left[0] > 100


def test_a_job_that_was_stopped_is_interrupted_and_one_that_raised_has_failed(
    tmp_path: Path, tiny: dict[str, Any]
):
    folder = Folder(tmp_path, tiny)
    grid = Grid(validate(tiny))
    folder.log(grid.data(), "step 3\nstopped by signal 15; rerun to resume\nSystemExit: 75\n")
    folder.log(grid.tokenizer(), "ValueError: no text\n")
    jobs = {job["id"]: job["status"] for job in json.loads(folder.ask("--json").stdout)["jobs"]}
    assert jobs[grid.data().id] == "interrupted"
    assert jobs[grid.tokenizer().id] == "failed"
    steps = "".join(f'{{"step": {step}, "seconds": 1}}\n' for step in (1, 2, 3))
    folder.write(
        f"results/state/{grid.data().id}/steps.jsonl", f'{{"job": "", "steps": 9}}\n{steps}'
    )
    printed = folder.ask().stdout
    assert "interrupted; the next `distilbench run` resumes them" in printed
    assert f"data/{grid.data().id}  stopped after step 3 of 9\n" in printed
    assert "signal" not in printed


def test_the_note_of_a_killed_run_is_no_running_job(folder: Folder):
    grid = Grid(validate(folder.config))
    student = grid.student("sft", "small", "large", 1)
    folder.begin(student, age=100)
    folder.log(student, "step 3\n", age=90)
    assert lines(folder)[f"students/{student.id}"]["status"] == "left"


def test_watching_ends_with_the_run(folder: Folder):
    folder.write("tiny.json", json.dumps(folder.config))
    command = [sys.executable, "-m", "workflow.commands.main", "status", "--watch", "tiny.json"]
    variables = os.environ | {"PYTHONPATH": str(ROOT)}
    watching = subprocess.Popen(
        command, cwd=folder.path, env=variables, stdout=subprocess.PIPE, text=True
    )
    assert watching.stdout is not None
    assert "4 of 16 jobs done, 1 running, 1 queued" in watching.stdout.readline()
    (folder.path / ".snakemake/locks/0.output.lock").unlink()
    shown, _ = watching.communicate()
    assert "no Snakemake is running here" in shown


def test_a_lock_that_is_gone_when_it_is_looked_at_is_no_error(folder: Folder):
    (folder.path / ".snakemake/locks/1.output.lock").symlink_to("gone")
    answer = folder.ask()
    assert not answer.stderr
    assert "1 running" in answer.stdout


def test_a_job_made_after_its_last_measurement_has_not_failed(tmp_path: Path, tiny: dict[str, Any]):
    folder = Folder(tmp_path, tiny)
    grid = Grid(validate(tiny))
    folder.make(Jobs(grid), grid.data(), age=0)
    folder.log(grid.data(), "wrote 6 rows\n")
    (tmp_path / grid.data().path / "manifest.json").write_text('{"code": "of before"}')
    jobs = {job["id"]: job["status"] for job in json.loads(folder.ask("--json").stdout)["jobs"]}
    assert jobs[grid.data().id] == "left"


def test_a_progress_bar_is_told_by_its_last_state(tmp_path: Path):
    log = tmp_path / "log"
    log.write_text("begin\n" + "".join(f"\r{share}%|" for share in range(0, 101, 10)) + "\n\n")
    assert last_line(log) == "100%|"
    log.write_text("x" * 100_000 + "\nlast\n")
    assert last_line(log) == "last"
    log.write_text("")
    assert last_line(log) == ""


@pytest.mark.xdist_group("chain_again")
def test_a_finished_experiment_is_done(chain: Copy, tiny: dict[str, Any]):
    done = Folder(chain.folder, tiny).ask()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 running, 0 queued, 0 failed, 0 interrupted, 0 left" in done.stdout


@pytest.mark.xdist_group("chain_again")
def test_a_report_that_was_deleted_is_left_and_has_not_failed(chain: Copy, tiny: dict[str, Any]):
    report = chain.folder / "results/tiny/report"
    aside = report.rename(chain.folder / "report set aside")
    answer = Folder(chain.folder, tiny).ask()
    aside.rename(report)
    assert "0 failed, 0 interrupted, 1 left" in answer.stdout


@pytest.fixture
def broken(chain: Copy, tiny: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A configuration one of whose jobs fails, after a run."""
    with chain.edit("pipeline/losses/reverse_kl.py", "return ", "return 1 / 0 * "):
        config = edited(tiny, {"experiment": "broken", "methods": {"reverse_kl": None}})
        done = chain.snakemake(config, "--cores", "1", "--quiet", preloaded=True)
        assert done.returncode != 0
        yield config


@pytest.mark.xdist_group("chain_again")
def test_a_job_that_really_failed_is_found(chain: Copy, broken: dict[str, Any]):
    done = Folder(chain.folder, broken).ask()
    assert done.returncode == 1
    assert "1 failed" in done.stdout
    assert "division by zero" in done.stdout
