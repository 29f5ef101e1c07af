"""Whose hours a plan counts (a GPU's only where one works), and what of damage it passes over."""

import re
from pathlib import Path

import pytest
import yaml
from test_parts_of_a_run import put

from workflow.commands.plan import GRID, Plan, plan_of, show
from workflow.config.validate import validate
from workflow.grid.artifact import Artifact
from workflow.grid.grid import Grid
from workflow.jobs.jobs import Jobs
from workflow.jobs.previous_runs import ArtifactStore
from workflow.jobs.rerun_reasons import Reasons
from workflow.launch import gpu_lease
from workflow.resources.machine import Machine
from workflow.resources.measured_time import Cost

ROOT = Path(__file__).parent.parent
CONFIG = ROOT / "configs/gpt2_dolly.yaml"
HOUR = 3600.0


@pytest.fixture
def jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Jobs:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(gpu_lease.VISIBLE, "")
    return Jobs(Grid(validate(yaml.safe_load(CONFIG.read_text()))))


def cost_of(plan: Plan, id: str) -> Cost:
    (cost,) = (step.cost for step in plan.steps if step.id == id)
    assert cost
    return cost


def start_of_two_hours(jobs: Jobs, gpus: list[str]) -> Artifact:
    """A start that a machine with these GPUs has made, with code of another day."""
    start = next(artifact for artifact in jobs.artifacts if artifact.stage == "starts")
    machine = {"host": "node", "cpu": "x", "cores": 8, "memory_bytes": 1, "gpus": gpus}
    put(Path(start.path), start.id, "code of another day", machine=machine)
    benchmark = Path(f"results/benchmarks/starts/{start.id}.tsv")
    benchmark.parent.mkdir(parents=True)
    benchmark.write_text(f"s\th:m:s\n{2 * HOUR}\t2:00:00\n")
    return start


@pytest.mark.parametrize(("gpus", "on_gpu"), [([], False), (["H100"], True)])
def test_hours_that_a_machine_without_a_gpu_took_are_no_gpu_hours(
    jobs: Jobs, gpus: list[str], on_gpu: bool
) -> None:
    start = start_of_two_hours(jobs, gpus)
    plan = plan_of(jobs, 1)
    cost = cost_of(plan, start.id)
    assert (cost.seconds, cost.on_gpu) == (2 * HOUR, on_gpu)
    students = [step.id for step in plan.steps if step.stage == "students"]
    assert cost_of(plan, students[0]).on_gpu is on_gpu  # scaled by it, as both are trainings
    assert plan.gpu_mb > 0


@pytest.mark.parametrize(
    ("gpus", "bases"), [([], ("formula", "formula")), (["H100"], ("measured", "scaled"))]
)
def test_hours_without_a_gpu_say_nothing_of_a_profile_that_has_one(
    jobs: Jobs, gpus: list[str], bases: tuple[str, str]
) -> None:
    start = start_of_two_hours(jobs, gpus)
    plan = plan_of(jobs, 1, Machine(device_memory_mb=80_000))
    student = next(step.id for step in plan.steps if step.stage == "students")
    costs = [cost_of(plan, id) for id in (start.id, student)]
    assert tuple(cost.basis for cost in costs) == bases
    assert all(cost.on_gpu for cost in costs)


def test_without_a_gpu_here_the_plan_says_that_its_hours_are_of_one(
    jobs: Jobs, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_of(jobs, 1)
    show(plan)
    assert "this machine has no GPU" in capsys.readouterr().out
    monkeypatch.setenv(gpu_lease.VISIBLE, "0")
    show(plan)
    assert "this machine has no GPU" not in capsys.readouterr().out


def test_the_list_of_cells_is_no_job(jobs: Jobs, capsys: pytest.CaptureFixture[str]) -> None:
    plan = plan_of(jobs, 1)
    show(plan)
    text = capsys.readouterr().out
    assert not re.search(r"^ *grid\b", text, re.MULTILINE)
    assert sum(step.stage == GRID for step in plan.steps) == 1  # as of Snakemake's dry run
    assert f": {len(plan.steps) - 1} jobs to run" in text
    assert plan.totals["jobs"] == len(plan.steps) - 1


@pytest.mark.parametrize("cells", [b"\xff\xfe\x00", b"student_id\nsft-00000001,and,more\n"])
def test_a_damaged_list_of_the_last_cells_is_as_none(jobs: Jobs, cells: bytes) -> None:
    Path(jobs.grid_csv).parent.mkdir(parents=True)
    Path(jobs.grid_csv).write_bytes(cells)
    reasons = Reasons(jobs, ArtifactStore(Path("results")))
    assert reasons.of(jobs.grid.data()).kind == "new"
