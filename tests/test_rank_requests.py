"""Ranks of jobs: how many a profile's machine gives them, what each holds, and what is refused."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from snaking import ROOT, edited

from workflow.config.validate import validate
from workflow.grid.grid import Grid
from workflow.resources.estimates import estimate
from workflow.resources.fit import LONGEST_MICRO_BATCH, MB, USABLE, Fit, Workload, least_mb
from workflow.resources.machine import CPU, GPU, Machine
from workflow.resources.model_sizes import Size, of_name
from workflow.resources.ranks import exchange_seconds, fit_ranks, work_of_rank
from workflow.resources.refusals import reasons, refusals
from workflow.resources.requests import ResourceRequests
from workflow.resources.training_memory import held_in_training

pytestmark = pytest.mark.slow
NODE = Machine(device_memory_mb=80_000, gpus_per_node=8)
TWO_NODES = replace(NODE, nodes_per_job=2)
# of 160 GB, of which 150 GB can be shared out
LARGE = Workload(
    operations=8e15,
    steps=10,
    step_texts=32,
    step_positions=16_384,
    loaded=32_000 * MB,
    resident=160_000 * MB,
    shared=150_000 * MB,
    unshared=14_000 * MB,  # 4 of them gathered
    per_position=MB,
    trained=8_000 * MB,
)


def openllama(changes: Mapping[str, Any] | None = None) -> Grid:
    """OpenLLaMA with all of its weights trained, which a GPU of 80 GB has no room for."""
    config = yaml.safe_load((ROOT / "configs/openllama_dolly.yaml").read_text())
    return Grid(validate(edited(config, {"training.lora": None} | dict(changes or {}))))


def job(grid: Grid) -> SimpleNamespace:
    return SimpleNamespace(id=grid.teacher("openllama_7b").id)


def test_a_job_has_one_rank_where_the_profile_says_nothing_of_several():
    for machine in (CPU, GPU):
        fit = fit_ranks(LARGE, machine)
        assert (fit.ranks, fit.nodes, fit.is_sharded) == (1, 1, False)


def test_a_job_that_does_not_fit_one_gpu_gets_twice_as_many_until_it_does():
    fit = fit_ranks(LARGE, NODE)
    # 10 + 4 GB and a share of 150 GB in 0.85 of 80 GB: not 75, but 37.5
    assert (fit.ranks, fit.is_sharded, fit.nodes) == (4, True, 1)
    own = work_of_rank(LARGE, fit)
    assert own.resident == (14_000 + 150_000 // 4) * MB
    assert own.operations == LARGE.operations / 4
    assert own.step_positions == 16_384 // 4
    assert fit.computing <= USABLE * NODE.device_memory_mb * MB


def test_a_job_grows_over_several_nodes_and_no_further_than_it_may():
    larger = replace(LARGE, resident=700_000 * MB, shared=690_000 * MB)
    fit = fit_ranks(larger, TWO_NODES)
    assert (fit.ranks, fit.nodes, fit.ranks_of_node) == (16, 2, 8)
    assert fit_ranks(larger, NODE).ranks == 8  # where it doesn't fit, and is refused
    few_texts = replace(larger, step_texts=8)
    assert fit_ranks(few_texts, TWO_NODES).ranks == 8  # each needs a text


def test_sharded_layers_are_recomputed_where_larger_micro_batches_save_more_gathering():
    large = replace(LARGE, per_position=8 * MB, checkpointed=MB // 10)
    # one micro-batch of 1,024 positions on each rank: weights are gathered as often either way
    assert not fit_ranks(replace(large, step_positions=4_096), NODE).is_checkpointed
    # 65,536 positions are 43 micro-batches, or four of recomputed layers
    longer = replace(large, step_positions=262_144)
    fit = fit_ranks(longer, NODE)
    assert (fit.ranks, fit.is_checkpointed, fit.micro_batch) == (4, True, LONGEST_MICRO_BATCH)
    # where computing takes longer than sending, it would take a third longer
    assert not fit_ranks(replace(longer, operations=1e18), NODE).is_checkpointed


def test_what_fits_is_not_sharded_unless_the_profile_says_so():
    small = replace(LARGE, resident=20_000 * MB, shared=15_000 * MB)
    for shard in (0, 1):
        fit = fit_ranks(small, replace(NODE, gpus_per_job=2, shard=shard))
        assert (fit.ranks, fit.is_sharded) == (2, bool(shard))
    assert fit_ranks(small, replace(NODE, shard=1)).ranks == 1


def test_a_stage_that_knows_no_ranks_has_one(tiny: dict[str, Any]):
    grid = Grid(validate(tiny))
    needs = ResourceRequests(grid, replace(CPU, ranks_per_job=2))
    asked = {each.stage: needs.ranks(SimpleNamespace(id=id)) for id, each in grid.by_id.items()}
    assert {stage for stage, ranks in asked.items() if ranks == 2} >= {"teachers", "students"}
    assert asked["evals"] == 2
    assert asked["data"] == asked["tokens"] == 1
    student = SimpleNamespace(id=grid.student("jsd", "small", "large", 1).id)
    assert needs.threads(student) == 2
    assert needs.gpu(student) is None
    assert needs.mpi(student) is None


def test_a_job_on_two_nodes_asks_slurm_for_a_task_and_its_gpus_on_each():
    grid, machine = openllama(), replace(TWO_NODES, gpus_per_job=16)
    needs, teacher = ResourceRequests(grid, machine), job(grid)
    assert needs.ranks(teacher) == needs.gpu(teacher) == 16
    assert needs.nodes(teacher) == needs.tasks(teacher) == 2
    assert (needs.mpi(teacher), needs.tasks_per_gpu(teacher)) == ("srun", 0)
    assert needs.slurm_extra(teacher).endswith("--gpus-per-node=8")
    assert needs.cpus_per_task(teacher, threads=2) == 16
    on_one = ResourceRequests(grid, replace(NODE, gpus_per_job=8))
    assert (on_one.mpi(teacher), on_one.nodes(teacher), on_one.gpu(teacher)) == (None, 1, 8)
    assert on_one.tasks(teacher) is None
    assert "--gpus-per-node" not in on_one.slurm_extra(teacher)


def test_a_job_leases_as_much_of_each_of_its_gpus():
    machine = replace(NODE, share_devices=1, gpus_per_job=2)
    grid = openllama({"training.lora": {"targets": "all-linear"}})
    each = estimate(grid, grid.teacher("openllama_7b"), machine).gpu_memory_mb
    needs = ResourceRequests(grid, machine)
    assert needs.gpu_memory_mb(job(grid), attempt=1) == 2 * each
    assert needs.gpu_memory_mb(job(grid), attempt=9) == 2 * 80_000
    assert needs.gpu(job(grid)) is None  # nobody else assigns any


def test_more_ranks_than_texts_in_a_step_are_refused_with_both_numbers(tiny: dict[str, Any]):
    grid = Grid(validate(tiny))
    lines = refusals(grid, replace(CPU, ranks_per_job=9), grid.artifacts.values())
    assert any(
        "can't share 8 texts of a step (`batch_size`) among 9 ranks: set `ranks_per_job` in the "
        "profile to 8 or fewer" in line
        for line in lines
    )
    assert not refusals(grid, replace(CPU, ranks_per_job=8), grid.artifacts.values())


@pytest.mark.parametrize(
    ("machine", "words"),
    [
        (replace(NODE, gpus_per_job=16), "gpus_per_job = 16, and a job has at most 8"),
        (replace(TWO_NODES, gpus_per_job=12), "gpus_per_job = 12 can't be spread equally"),
        (Machine(gpus_per_job=2), "gpus_per_job = 2, and the profile's machine has no GPU"),
    ],
)
def test_more_gpus_than_the_profiles_nodes_have_are_refused(
    tiny: dict[str, Any], machine: Machine, words: str
):
    grid = Grid(validate(tiny))
    (line,) = refusals(grid, machine, grid.artifacts.values())
    assert words in line


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (
            {"tokens": {"ranks": 2}},
            "set-resources: tokens: ranks = 2: jobs of this rule are one process (teacher,",
        ),
        (
            ["student:mem_mb=9", "data:shard=1"],
            "set-resources: data: shard = 1: jobs of this rule are one process",
        ),
        (
            {"student": {"ranks_per_job": 2}},
            "set-resources: student: ranks_per_job = 2: this is said of all rules; move it to "
            "`default-resources`",
        ),
    ],
)
def test_ranks_of_a_rule_that_has_none_are_refused(
    tiny: dict[str, Any], lines: object, words: str, tmp_path: Path
):
    profile = {"default-resources": {"ranks_per_job": 2}, "set-resources": lines}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(profile))
    grid = Grid(validate(tiny))
    (line,) = refusals(grid, Machine.of_profile(tmp_path), grid.artifacts.values())
    assert words in line


def test_ranks_of_a_rule_that_also_asks_judges_are_refused_for_these(tiny: dict[str, Any]):
    judge = {"evaluation.tasks": ["responses"], "evaluation.judges": {"strict": {"model": "wide"}}}
    grid = Grid(validate(edited(tiny, judge)))
    machine = Machine.of({}, {"evaluation": {"ranks": 2}})
    lines = refusals(grid, machine, grid.artifacts.values())
    assert lines
    assert all(
        "can't be made by several processes (set-resources: evaluation: ranks = 2): the stage "
        "judge is one" in line
        for line in lines
    )
    assert not refusals(grid, replace(CPU, ranks_per_job=2), grid.artifacts.values())


@pytest.mark.parametrize("name", ["gpus_per_job", "nodes_per_job", "ranks_per_job"])
def test_a_count_of_none_is_refused(name: str):
    with pytest.raises(ValueError, match=f"{name} = 0: allowed: 1 or more"):
        Machine.of({name: 0})


def test_an_optimizer_in_8_bits_is_not_sharded():
    small = replace(LARGE, kept_whole="moments in 8 bits")
    assert not fit_ranks(small, NODE).is_sharded
    teacher = openllama().teacher("openllama_7b")
    (asked,) = reasons(
        small, teacher, replace(NODE, device_memory_mb=200_000, gpus_per_job=2, shard=1)
    )
    assert "can't shard moments in 8 bits over 2 ranks" in asked
    (too_large,) = reasons(small, teacher, NODE)
    assert "take a smaller model, one without moments in 8 bits, to shard it over" in too_large


def test_a_model_too_large_for_all_gpus_is_refused_with_what_sharding_leaves_whole():
    teacher = openllama().teacher("openllama_7b")
    (line,) = reasons(replace(LARGE, shared=10_000 * MB, unshared=84_000 * MB), teacher, NODE)
    # 84 GB that can't be split and an eighth of 10 GB
    assert (
        "needs at least 87 GB of each of 8 GPUs (1 GB of sharded weights, 84 GB not split)" in line
    )
    assert "that one has 80 GB" in line
    assert "more GPUs for a job (gpus_per_node = 8, nodes_per_job = 1)" in line


def test_sharded_memory_is_a_share_of_the_weights_and_a_unit_of_them():
    model = Size(8_000 * MB, 36, 4_096, 152_000, "qwen3")
    settings = {
        "method": {"policy": "fixed", "loss": "cross_entropy", "teacher": None, "update": None},
        "training": {"precision": "bfloat16"},
    }
    held = held_in_training(model, None, settings)
    assert held.resident == 18 * model.parameters
    assert held.shared == 16 * model.parameters
    around = 2 * 152_000 * 4_096 + 4_096
    layer = (8_000 * MB - around) // 36
    # weights, gradients and what is sent of them: of embeddings and head, and of a layer
    gathered = 12 * (around + layer) + 4 * layer
    assert held.unshared == gathered
    # of what are no linear layers autograd keeps copies in bfloat16
    other = held_in_training(replace(model, family="gpt2"), None, settings)
    assert other.unshared == 2 * model.parameters + gathered
    own = work_of_rank(held, Fit(NODE, 512, False, 0, 8, True))
    assert own.resident == held.unshared + 16 * model.parameters // 8


def test_ranks_send_their_gradients_less_their_own_share():
    fit = Fit(replace(NODE, gpus_per_job=4), 4_096, False, 0, 4)
    # ten times, to and fro, three quarters of 4 bytes for each of 8 billion weights
    assert exchange_seconds(LARGE, fit) == pytest.approx(10 * 2 * 0.75 * 32e9 / 3e11)
    assert exchange_seconds(LARGE, replace(fit, ranks=1)) == 0
    # sharded, weights are gathered twice for each micro-batch of 2,048 positions
    sharded = replace(fit, micro_batch=2_048, is_sharded=True)
    assert exchange_seconds(LARGE, sharded) == pytest.approx(20 * 0.75 * 96e9 / 3e11)


def test_the_size_in_a_name_leaves_room_for_a_head_beside_the_embeddings():
    assert not of_name("Qwen/Qwen3-8B").is_tied
    assert of_name("gpt2").is_tied
    assert least_mb(LARGE, NODE) > 80_000
