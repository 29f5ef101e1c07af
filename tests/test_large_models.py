"""A 32B teacher and students of 8B and 1.7B on two nodes of eight GPUs: planned, never run."""

import re
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from snaking import ROOT, Copy

from benchmarks import several_gpus
from workflow.config.validate import validate
from workflow.grid.grid import Grid
from workflow.resources.estimates import estimate
from workflow.resources.machine import Machine
from workflow.resources.refusals import refusals
from workflow.resources.requests import ResourceRequests

pytestmark = pytest.mark.slow
TEXT = (ROOT / "configs/qwen3_large.yaml").read_text()
TWO_NODES = Machine(device_memory_mb=80_000, gpus_per_node=8, nodes_per_job=2)


@pytest.fixture(scope="module")
def config() -> dict[str, Any]:
    return yaml.safe_load(TEXT)


@pytest.fixture(scope="module")
def grid(config: dict[str, Any]) -> Grid:
    return Grid(validate(config))


def asked(grid: Grid, id: str) -> tuple[int, int, int]:
    """Ranks, nodes and whether weights are sharded."""
    needs, job = ResourceRequests(grid, TWO_NODES), SimpleNamespace(id=id)
    return needs.ranks(job), needs.nodes(job), needs.shard(job)


def test_jobs_get_the_gpus_that_their_models_need(grid: Grid):
    large, small = (
        grid.student("forward_kl", name, "qwen_32b", 1) for name in ("qwen_8b", "qwen_1700m")
    )
    live = grid.student("abkd", "qwen_1700m", "qwen_32b", 1)
    assert asked(grid, grid.signals("qwen_32b").id) == (2, 1, 1)
    assert asked(grid, large.id) == (4, 1, 1)
    assert asked(grid, small.id) == (1, 1, 0)
    assert asked(grid, live.id) == (4, 1, 1)


def test_every_job_fits_and_on_one_smaller_gpu_the_teacher_does_not(grid: Grid):
    assert not refusals(grid, TWO_NODES, grid.artifacts.values())
    assert asked(grid, grid.evaluations[grid.teacher("qwen_32b")].id) == (2, 1, 1)
    # its weights take 2 bytes each, those of embeddings and head 4
    lines = refusals(grid, Machine(device_memory_mb=64_000), grid.artifacts.values())
    assert any(line.startswith("results/caches/qwen_32b-") for line in lines)


def test_the_header_says_the_expected_gpu_hours(grid: Grid):
    hours = sum(
        asked(grid, id)[0] * estimate(grid, artifact, TWO_NODES).seconds / 3600
        for id, artifact in grid.by_id.items()
        if artifact.stage in ("students", "caches", "evals")
    )
    (stated,) = re.findall(r"about (\d+) GPU-hours", TEXT)
    assert int(stated) == 5 * round(hours / 5)


def test_it_is_planned_without_a_network(project: Copy, config: dict[str, Any]):
    stages = [output.split("/")[0] for output in project.planned(config)]
    assert stages.count("students") == 4 * 2 + 1
    assert stages.count("caches") == 1


def test_the_page_on_scale_has_the_tables_of_its_command():
    page = (ROOT / "docs/scale.md").read_text()
    assert all(table in page for table in several_gpus.tables())
