"""How jobs fit their machine: on which device, in which micro-batches, and what is refused."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import forked
import pytest
import yaml
from snaking import ROOT, Copy, edited

from pipeline.settings.memory import CONTEXT_MB
from workflow.config.validate import validate
from workflow.grid.artifact import Artifact
from workflow.grid.grid import Grid
from workflow.resources.estimates import workload_of
from workflow.resources.fit import (
    CPU_MICRO_BATCH,
    GRAIN,
    MB,
    USABLE,
    Fit,
    Workload,
    fit_job,
    fit_to,
    least_mb,
)
from workflow.resources.machine import CPU, GPU, GPU_SPEED, Machine
from workflow.resources.requests import ResourceRequests, refusals

pytestmark = pytest.mark.slow


@pytest.fixture
def grid(tiny: dict[str, Any]) -> Grid:
    return Grid(validate(edited(tiny, {"methods.gkd": None})))


def wildcards(artifact: Artifact) -> SimpleNamespace:
    return SimpleNamespace(id=artifact.id)


def shipped(name: str) -> Grid:
    """The grid of a configuration in `configs/`."""
    return Grid(validate(yaml.safe_load((ROOT / f"configs/{name}.yaml").read_text())))


def openllama_in_full() -> Grid:
    """OpenLLaMA with all of its weights trained, which a GPU of 80 GB has no room for."""
    config = yaml.safe_load((ROOT / "configs/openllama_dolly.yaml").read_text())
    return Grid(validate(edited(config, {"training.lora": None})))


def test_a_micro_batch_fits_beside_the_weights():
    grid = Grid(validate(yaml.safe_load((ROOT / "configs/smollm2.yaml").read_text())))
    for artifact in grid.artifacts.values():
        workload = workload_of(grid, artifact)
        if not workload.loaded:
            continue
        for device in (24_000, 80_000):
            fitted = fit_to(workload, Machine(device_memory_mb=device))
            assert fitted.computing / MB + CONTEXT_MB <= USABLE * device
            assert fitted.micro_batch >= GRAIN
            assert not fitted.is_checkpointed


def test_no_job_is_on_a_gpu_that_the_profile_does_not_name(grid: Grid):
    hub = shipped("smollm2")
    for its_grid, artifact in ((grid, grid.teacher("large")), (hub, hub.teacher("smollm2"))):
        needs = ResourceRequests(its_grid, CPU)
        assert needs.device(wildcards(artifact)) == "cpu"
        assert needs.micro_batch_tokens(wildcards(artifact), 1) == CPU_MICRO_BATCH


def test_where_the_profile_names_a_gpu_a_tiny_job_stays_off_it(grid: Grid):
    needs, hub = ResourceRequests(grid, replace(GPU, share_devices=1)), shipped("smollm2")
    for artifact in grid.artifacts.values():
        if artifact.stage in ("teachers", "students", "evals", "caches"):
            assert needs.device(wildcards(artifact)) == "cpu"
            assert needs.gpu_memory_mb(wildcards(artifact), 1) == 0
    assert ResourceRequests(hub, GPU).device(wildcards(hub.teacher("smollm2"))) == "gpu"


def test_a_small_model_with_much_to_do_is_faster_on_a_gpu():
    little = Workload(operations=1e12, loaded=4 * 5 * MB)
    much = replace(little, operations=1e15)  # hours on a core, seconds on a GPU
    assert [fit_job(workload, GPU).machine for workload in (little, much)] == [CPU, GPU]


def test_layers_are_computed_twice_only_where_not_even_one_micro_batch_fits():
    # 40 GB of weights and what belongs to them, and 20 or 1 MB for each position
    workload = Workload(
        resident=40_000 * MB, per_position=60 * MB, checkpointed=MB, step_positions=4_096
    )
    roomy, tight = (
        fit_to(workload, Machine(device_memory_mb=memory_mb)) for memory_mb in (150_000, 80_000)
    )
    # 0.85 of 150 GB less the weights and 1.5 GB leaves room for 1,433 positions
    assert roomy == Fit(Machine(device_memory_mb=150_000), 1_024, False, 40e9 + 1_024 * 60e6)
    # 0.85 of 80 GB for 441: less than 512. With 1 MB each, for all of the step
    assert tight == Fit(Machine(device_memory_mb=80_000), 4_096, True, 40e9 + 4_096 * 1e6)


def test_the_least_that_a_job_needs_is_its_weights_and_one_micro_batch():
    workload = Workload(resident=40_000 * MB, per_position=60 * MB, checkpointed=MB)
    workload = replace(workload, logits=100 * MB, logit_bytes=10)
    assert least_mb(workload, GPU) == CONTEXT_MB + 40_000 + 1_000 + 512
    read = replace(workload, checkpointed=0)
    assert least_mb(read, GPU) == CONTEXT_MB + 40_000 + 1_000 + 512 * 60


def test_a_job_that_can_fit_no_gpu_is_refused_with_both_numbers_and_a_way_out():
    grid = openllama_in_full()
    lines = refusals(grid, GPU, grid.artifacts.values())
    teacher = next(line for line in lines if "results/teachers/" in line)
    # 18 bytes for each of 7 billion parameters, and up to 4 GB for a smallest micro-batch
    needed = int(teacher.split(" GB of a GPU")[0].split()[-1])
    assert 126 < needed < 132
    assert f"that one has {GPU.device_memory_mb // 1000} GB" in teacher
    assert any("a method that reads its teacher's cache" in line for line in lines)
    assert not refusals(grid, Machine(device_memory_mb=150_700), grid.artifacts.values())
    assert not refusals(grid, CPU, grid.artifacts.values())


def test_one_place_says_what_a_gpu_is_expected_to_do():
    text = (ROOT / "docs/protocols.md").read_text()
    assert f"{GPU_SPEED.operations_per_second / 1e12:.0f} TFLOP/s" in text
    assert f"{GPU_SPEED.position_seconds * 1000:.0f} ms a step" in text.replace("\n  ", " ")


def test_memory_and_time_grow_with_each_attempt_and_micro_batches_shrink():
    grid = shipped("smollm2")
    job = wildcards(grid.student("jsd", "layers12", "smollm2", 1))
    needs = ResourceRequests(grid, GPU)
    memory, minutes = (
        [need(job, attempt=attempt) for attempt in (1, 2, 3)]
        for need in (needs.mem_mb, needs.runtime)
    )
    assert memory == [attempt * memory[0] for attempt in (1, 2, 3)]
    assert minutes == [attempt * minutes[0] for attempt in (1, 2, 3)]
    tokens = needs.micro_batch_tokens
    assert tokens(job, attempt=2) == max(GRAIN, tokens(job, attempt=1) // 2)
    checkpointing = needs.gradient_checkpointing
    assert checkpointing(job, attempt=1) == 0
    assert tokens(job, attempt=7) == GRAIN
    assert checkpointing(job, attempt=7) == 1  # no micro-batch is smaller
    assert needs.report_mem_mb(job, attempt=2) == 2 * needs.report_mem_mb(job, attempt=1)


def test_a_large_model_is_warned_as_long_before_its_limit_as_its_state_takes_to_write():
    extra = "--signal=TERM@120 --qos=long"
    machine = Machine.of({"slurm_extra": f"'{extra}'", "device_memory_mb": 80_000})
    small, large = shipped("smollm2"), openllama_in_full()
    told = ResourceRequests(small, machine).slurm_extra(wildcards(small.teacher("smollm2")))
    assert told == extra
    told = ResourceRequests(large, machine).slurm_extra(wildcards(large.teacher("openllama_7b")))
    # twice the time that weights and two moments of 7 billion parameters take at 200 MB a second
    assert told == f"--signal=TERM@{2 * 7 * 12 * 1000 // 200} --qos=long"
    limit = ResourceRequests(large, machine).runtime
    teacher = wildcards(large.teacher("openllama_7b"))
    saving = 2 * 7 * 12 * 1000 // 200 // 60  # minutes, however many attempts there were
    assert limit(teacher, attempt=2) == 2 * (limit(teacher, attempt=1) - saving) + saving
    assert ResourceRequests(small, GPU).slurm_extra(wildcards(small.teacher("smollm2"))) == ""


def test_a_job_claims_a_part_of_a_gpu_only_where_nobody_else_assigns_one():
    grid = shipped("smollm2")
    job = wildcards(grid.student("jsd", "layers12", "smollm2", 1))
    shared = replace(GPU, share_devices=1)
    assert ResourceRequests(grid, CPU).gpu_memory_mb(job, attempt=1) == 0
    assert ResourceRequests(grid, GPU).gpu_memory_mb(job, attempt=1) == 0
    claim = ResourceRequests(grid, shared).gpu_memory_mb
    assert 0 < claim(job, attempt=1) < GPU.device_memory_mb / 2
    assert claim(job, attempt=100) == GPU.device_memory_mb


def test_a_machine_is_what_the_profile_says_or_a_cpu():
    resources = {"device_memory_mb": 24_000, "tmpdir": "system_tmpdir"}
    assert Machine.of(resources) == Machine(device_memory_mb=24_000)
    assert Machine.of({}) == CPU
    with pytest.raises(ValueError, match="device_memory_mb = '24 GB': allowed: a whole number"):
        Machine.of({"device_memory_mb": "24 GB"})
    for raw in ("'--qos=long'", "--qos=long"):
        assert Machine.of({"slurm_extra": raw}).slurm_extra == "--qos=long"
    with pytest.raises(ValueError, match="allowed: a text in quotes"):
        Machine.of({"slurm_extra": "'--qos=' + wildcards.id"})


def test_a_profiles_machine_is_read_as_snakemake_reads_it(tmp_path: Path):
    for text in (
        "default-resources: {device_memory_mb: 24000, slurm_partition: gpu}",
        "default-resources: [device_memory_mb=24000, slurm_partition=gpu]",
    ):
        (tmp_path / "config.yaml").write_text(text)
        assert Machine.of_profile(tmp_path) == Machine(device_memory_mb=24_000)
    (tmp_path / "config.yaml").write_text("cores: all")
    assert Machine.of_profile(tmp_path) == CPU
    with pytest.raises(ValueError, match=r"nowhere.config\.yaml: there is no such file"):
        Machine.of_profile(tmp_path / "nowhere")


def test_a_whole_teacher_beside_it_more_than_doubles_what_a_logit_takes(tiny: dict[str, Any]):
    def per_position(change: dict[str, Any]) -> int:
        grid = Grid(validate(edited(tiny, change)))
        return workload_of(
            grid, grid.evaluations[grid.student("sft", "small", "large", 1)]
        ).per_position

    plain = per_position({})
    # 28 instead of 12 bytes for each of 320 tokens
    assert per_position({"teacher_cache": {"tier": "hidden"}}) == plain + 16 * 320
    assert per_position({"evaluation.tasks": ["heldout", "exposure"]}) == plain + 16 * 320


def qwen_in_full() -> dict[str, Any]:
    """Qwen2.5 with all weights of its largest teacher trained."""
    config = yaml.safe_load((ROOT / "configs/qwen2.5.yaml").read_text())
    return edited(config, {"teachers.qwen_7b.training.lora": None})


def test_the_plan_refuses_what_cannot_fit_the_profiles_gpu(tmp_path: Path):
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(qwen_in_full(), sort_keys=False))
    asked = [str(tmp_path / "mine.yaml"), "--profile", "workflow/profiles/slurm"]
    done = forked.snakemake().run(["-m", "workflow.commands.main", "plan", *asked], ROOT)
    assert done.returncode == 1
    assert done.stderr.startswith("machine: results/teachers/qwen_7b-")
    assert "GB of a GPU, and the profile's `device_memory_mb` says" in done.stderr


def test_snakemake_refuses_it_too_before_any_job(project: Copy, tmp_path: Path):
    (tmp_path / "config.yaml").write_text("default-resources: {device_memory_mb: 80000}")
    done = project.snakemake(qwen_in_full(), "--cores", "1", "--workflow-profile", str(tmp_path))
    assert done.returncode != 0
    assert "machine: results/teachers/qwen_7b-" in done.stderr
    assert "Finished job" not in done.stderr


def test_without_a_named_gpu_every_command_of_a_model_says_cpu(project: Copy, tiny: dict[str, Any]):
    config = edited(tiny, {"experiment": "devices", "seed": 78})
    profile = ("--workflow-profile", str(ROOT / "workflow/profiles/local"), "--cores", "1")
    printed = project.snakemake(config, "--dry-run", "--printshellcmds", *profile).stdout
    commands = [line for line in printed.splitlines() if "workflow.launch.run_stage" in line]
    folders = ("/teachers/", "/students/", "/evals/", "/caches/")
    with_models = [line for line in commands if any(folder in line for folder in folders)]
    # at least a teacher, a student and a cache of it, and their evaluations: the rest may be there
    assert len(with_models) >= 1 + 1 + 1 + 2
    assert all("--device cpu" in line for line in with_models)
    assert not any("--device gpu" in line for line in commands)
