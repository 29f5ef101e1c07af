"""The tiny experiment on a real SLURM, through sbatch to its report, with faults on the way."""

import json
import shlex
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from slurm_cluster import GPUS, Cluster
from slurm_faults import Seen, cancel, drain, hang, kill, overrun
from slurm_snakemake import TOO_LITTLE_MB, profile, started
from snaking import Copy, edited, fresh_copy, write_answerless
from test_launched_ranks import environment as meeting_environment
from test_launched_ranks import meeting

from workflow.config.validate import validate
from workflow.grid.artifact import Artifact
from workflow.grid.grid import Grid

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("slurm")]
LOOK_SECONDS = 0.3
LONGEST_SECONDS = 3600  # a run that nobody answers would wait for ever
WITH_GPU = {"teacher", "student", "teacher_cache", "evaluation"}

# Training runs that last long enough to be met; no more jobs than the faults need
FEWER = {
    "initial_sft": None,
    "teachers.large.training": {"steps": 600},
    "methods": {"jsd": {"training": {"steps": 600}}},
    "evaluation.tasks": ["heldout"],
}


@dataclass(frozen=True)
class Ran:
    """The experiment after its run."""

    project: Copy
    config: dict[str, Any]
    cluster: Cluster
    status: int
    output: str
    seen: Seen
    seconds: float

    @property
    def grid(self) -> Grid:
        return Grid(validate(self.config))

    def submissions(self, rule: str, id: str = "") -> list[dict[str, str]]:
        """All jobs of a rule, or of one artifact, in the order in which they were submitted."""
        named = f"rule_{rule}_wildcards_{id}"
        jobs = [job for job in self.cluster.jobs() if job["Comment"].startswith(named)]
        return sorted(jobs, key=lambda job: int(job["JobId"]))

    def states(self, rule: str, id: str = "") -> list[str]:
        return [job["JobState"] for job in self.submissions(rule, id)]

    def log(self, stage: str, id: str) -> str:
        return (self.project.folder / "results/logs" / stage / f"{id}.log").read_text()


def untrained(grid: Grid) -> Artifact:
    """The evaluation of the student before training."""
    return grid.evaluations[grid.start_model("small", 1)]


def run(project: Copy, config: dict[str, Any], cluster: Cluster, folder: Path) -> Ran:
    """The experiment from nothing to its report, faults included."""
    (project.folder / "tiny.json").write_text(json.dumps(config))
    grid, seen, began = Grid(validate(config)), Seen(), time.monotonic()
    faults = [
        hang(project, cluster, seen, grid.student("jsd", "small", "large", 1).id),
        overrun(project, cluster, untrained(grid).id),
        cancel(project, cluster, grid.teacher("large").id),
        drain(project, cluster, seen, grid.teacher("large").path),
    ]
    output = folder / "snakemake.out"
    with started(project, "tiny.json", profile(folder / "slurm"), output) as process:
        while process.poll() is None:
            for fault in faults:
                next(fault, None)
            time.sleep(LOOK_SECONDS)
            assert time.monotonic() < began + LONGEST_SECONDS, output.read_text() + cluster.logs()
    seconds = time.monotonic() - began
    return Ran(project, config, cluster, process.returncode, output.read_text(), seen, seconds)


@pytest.fixture(scope="module")
def own_copy(tmp_path_factory: pytest.TempPathFactory) -> Copy:
    """A copy of the project's source in which nothing was made yet."""
    return fresh_copy(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="module")
def ran(
    own_copy: Copy,
    tiny: dict[str, Any],
    cluster: Cluster,
    tmp_path_factory: pytest.TempPathFactory,
) -> Ran:
    """The tiny experiment after it went through the cluster."""
    return run(own_copy, edited(tiny, FEWER), cluster, tmp_path_factory.mktemp("slurm"))


def test_the_report_is_there_and_nothing_is_left_to_do(ran: Ran):
    assert ran.status == 0, ran.output + ran.project.logs() + ran.cluster.logs()
    assert (ran.project.folder / "results/tiny/report/index.html").exists()
    assert ran.project.planned(ran.config) == set()


def test_every_artifact_was_made_by_one_job_that_went_through_sbatch(ran: Ran):
    ended = Counter(job["JobId"] for job in ran.cluster.finished())
    assert set(ended.values()) == {1}  # nothing was requeued behind Snakemake's back
    completed = Counter(
        job["Comment"] for job in ran.cluster.jobs() if job["JobState"] == "COMPLETED"
    )
    artifacts = {artifact.id for artifact in ran.grid.artifacts.values()} | {"tiny"}
    assert Counter(comment.rsplit("_wildcards_")[-1] for comment in completed) == Counter(artifacts)
    assert set(completed.values()) == {1}


def test_models_were_run_on_gpus_and_the_rest_was_not(ran: Ran):
    for job in ran.cluster.jobs():
        rule = job["Comment"].removeprefix("rule_").partition("_wildcards_")[0]
        asked = (job["Partition"], job.get("TresPerJob"))
        assert asked == (("gpu", "gres:gpu:1") if rule in WITH_GPU else ("cpu", None)), rule
    assert ran.seen.environ["CUDA_VISIBLE_DEVICES"] in {str(index) for index in range(GPUS)}


def test_a_cancelled_job_is_started_again_and_goes_on_where_it_was(ran: Ran):
    teacher = ran.grid.teacher("large").id
    assert ran.states("teacher", teacher) == ["CANCELLED", "COMPLETED"]
    assert "resuming after step" in ran.log("teachers", teacher)


def test_a_job_out_of_time_is_warned_saves_and_gets_more(ran: Ran):
    student = ran.grid.student("jsd", "small", "large", 1).id
    first, second = ran.submissions("student", student)
    assert (first["JobState"], second["JobState"]) == ("FAILED", "COMPLETED")  # of itself
    # 15 minutes are the least that a first attempt gets
    assert (first["TimeLimit"] < "00:15:00", second["TimeLimit"]) == (True, "00:30:00")
    assert "resuming after step" in ran.log("students", student)


def test_a_job_over_its_time_is_ended_by_slurm_and_gets_more(ran: Ran):
    first, second = ran.submissions("evaluation", untrained(ran.grid).id)
    assert (first["JobState"], first["TimeLimit"]) == ("TIMEOUT", "00:01:00")
    assert (second["JobState"], second["TimeLimit"]) == ("COMPLETED", "00:30:00")


def test_a_job_out_of_memory_is_killed_and_gets_more(ran: Ran):
    model = ran.grid.start_model("small", 1).id
    first, second = ran.submissions("model", model)
    assert (first["JobState"], first["MinMemoryNode"]) == ("FAILED", f"{TOO_LITTLE_MB}M")
    assert (second["JobState"], second["MinMemoryNode"]) == ("COMPLETED", "2500M")
    kept = ran.project.folder / f"results/logs/slurm/rule_model/{model}/{first['JobId']}.log"
    assert "exceeded memory limit" in kept.read_text()


def test_a_drained_node_is_waited_for(ran: Ran):
    assert ran.seen.drained_state in {"draining", "drained"}
    assert "DRAINED" in ran.seen.waited_for
    cache = ran.grid.signals("large").id
    assert ran.states("teacher_cache", cache) == ["COMPLETED"]


def test_each_loss_of_a_job_is_told(ran: Ran):
    lost = [job for job in ran.cluster.jobs() if job["JobState"] != "COMPLETED"]
    assert len(lost) == 4
    assert ran.output.count("Trying to restart job") == 4
    for job in lost:
        told = f"SLURM-job '{job['JobId']}' failed, SLURM status is: '{job['JobState']}'"
        assert told in ran.output
        assert f"/{job['JobId']}.log:" in ran.output  # and what SLURM wrote of it follows
    assert ran.output.count("stopped by signal 15 after step") == 2
    assert "exceeded memory limit" in ran.output


def test_what_was_survived(ran: Ran, record_property: Callable[[str, object], None]):
    jobs = ran.cluster.jobs()
    completed = sum(job["JobState"] == "COMPLETED" for job in jobs)
    assert completed >= len(ran.grid.artifacts) + 1
    record_property(
        "summary",
        f"SLURM: {len(jobs)} jobs through sbatch in {ran.seconds:.0f} s, {completed} completed; "
        "survived without a person: scancel, warned of its time limit, ended by it, memory limit, "
        "drained node; no artifact made twice",
    )


def test_a_job_that_cannot_succeed_is_reported_with_its_own_words(
    ran: Ran, tiny: dict[str, Any], tmp_path: Path
):
    data = write_answerless(tmp_path / "answerless.jsonl")
    config = edited(tiny, {"experiment": "broken", "data.examples.train": str(data)})
    (ran.project.folder / "broken.json").write_text(json.dumps(config))
    output, machine = tmp_path / "out", profile(tmp_path / "slurm", retries=0)
    with started(ran.project, "broken.json", machine, output) as process:
        assert process.wait() == 1
    printed, id = output.read_text(), Grid(validate(config)).data().id
    assert "Error in rule data" in printed
    assert f"results/logs/data/{id}.log" in printed
    assert "error: " in printed
    assert "output" in printed.partition("error: ")[2]  # the column that is missing


def test_a_cache_in_parts_is_that_of_one_job_though_a_part_is_killed_and_the_node_drained(
    own_copy: Copy, tiny: dict[str, Any], cluster: Cluster, tmp_path: Path
):
    changes = {
        "experiment": "cut",
        "teachers.large.training.steps": 1,
        "teacher_cache.shard_texts": 8,
    }
    config = edited(tiny, changes)
    cache = Grid(validate(config)).signals("large")
    ready = own_copy.snakemake(
        config, "--cores=2", *(input.path for _, input in cache.inputs), preloaded=True
    )
    assert ready.returncode == 0, ready.stdout + ready.stderr
    markers = [f"results/state/{cache.id}/caches-part-{part}-of-3" for part in range(1, 4)]
    seen = Seen()
    faults = [kill(markers[1]), drain(own_copy, cluster, seen, markers[0])]
    output, machine = tmp_path / "out", profile(tmp_path / "slurm", parts={"cache_parts": 3})
    with started(own_copy, "cut.json", machine, output, cache.path, preloaded=True) as run:
        while run.poll() is None:
            for fault in faults:
                next(fault, None)
            time.sleep(LOOK_SECONDS / 3)
    assert run.returncode == 0, output.read_text() + own_copy.logs() + cluster.logs()

    jobs = [job for job in cluster.jobs() if cache.id in job["Comment"]]
    lost = [job for job in jobs if job["JobState"] != "COMPLETED"]
    assert Counter(job["Comment"].split("_wildcards_")[0] for job in jobs) == {
        "rule_part": 4,  # one of them twice
        "rule_teacher_cache": 1,
    }
    assert len(lost) == 1
    assert "DRAINED" in seen.waited_for
    cut = {
        path.name: path.read_bytes() for path in Path(own_copy.folder, cache.path).glob("*.parquet")
    }
    assert len(cut) > 16
    shutil.move(own_copy.folder / cache.path, tmp_path / "cut")
    alone = own_copy.snakemake(config, "--cores=2", cache.path, preloaded=True)
    assert alone.returncode == 0, alone.stdout + alone.stderr
    assert cut == {
        path.name: path.read_bytes() for path in Path(own_copy.folder, cache.path).glob("*.parquet")
    }


def test_each_task_of_a_step_is_a_rank_of_its_own(cluster: Cluster, tmp_path: Path):
    log, command = tmp_path / "log", [*meeting(tmp_path, ranks=1)]
    run_step = ["srun", "--ntasks=2", f"--output={log}", "--mem=2000", *command]
    done = subprocess.run(run_step, cwd=tmp_path, env=meeting_environment(tmp_path), check=False)
    assert done.returncode == 0, log.read_text() + cluster.logs()
    assert {"sum 3 of rank 0", "rank 1: sum 3 of rank 1"} <= set(log.read_text().splitlines())


def test_a_job_of_several_tasks_starts_them_by_itself(cluster: Cluster, tmp_path: Path):
    log, fails = tmp_path / "log", f"assert place.rank == 0\n    time.sleep({LONGEST_SECONDS})"
    command = shlex.join(meeting(tmp_path, fails, ranks=2, tasks=2))
    submit = ["sbatch", "--wait", "--ntasks=2", "--mem=4000", f"--output={log}", "--wrap", command]
    done = subprocess.run(submit, cwd=tmp_path, env=meeting_environment(tmp_path), check=False)
    assert done.returncode != 0
    logged = log.read_text() + cluster.logs()
    assert {"sum 3 of rank 0", "rank 1: sum 3 of rank 1"} <= set(logged.splitlines()), logged
    assert "rank 1 ended first, with status 1: AssertionError" in logged
