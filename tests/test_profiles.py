"""Profiles: the machine is theirs alone, and jobs share its GPUs by claims of real processes."""

import os
import select
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from snaking import ROOT, Copy, edited, fresh_copy, write_answerless
from stage_commands import LONG, module_command

from workflow.launch.gpu_lease import Gpu, parse_gpus

pytestmark = pytest.mark.slow

PROFILES = ROOT / "workflow/profiles"
PRELOADED = [sys.executable, "-m", "workflow.launch.preloaded"]
WAITING_SECONDS = 1.5  # several looks of a job that waits
TWO = ("gpu-a:80000", "gpu-b:80000")
TABLE = "0, GPU-aa, 81559\n1, GPU-bb, 81559\n2, GPU-cc, 24564\n"


@dataclass(frozen=True)
class Claimer:
    """A process that asks for memory of a GPU."""

    process: subprocess.Popen[bytes]

    def device(self, seconds: float = LONG) -> str | None:
        """The device that it has got, or None if it waits for so long."""
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], seconds)
        return self.process.stdout.readline().decode().strip() if ready else None

    def end(self) -> None:
        """Lets it finish its work."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        assert self.process.wait(LONG) == 0


@dataclass(frozen=True)
class Machine:
    """Two GPUs, and the processes that ask for them."""

    folder: Path
    started: ExitStack

    def ask(self, memory_mb: int, count: int = 1) -> Claimer:
        """A new process, once it stands in line."""
        script = str(ROOT / "tests/claimer.py")
        process = subprocess.Popen(
            [sys.executable, script, str(self.folder), str(memory_mb), str(count), *TWO],
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )
        self.started.enter_context(process)
        self.started.callback(process.kill)
        claimer = Claimer(process)
        assert claimer.device() == "waiting"
        return claimer


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """A machine whose processes end with the test."""
    with ExitStack() as started:
        yield Machine(tmp_path / "claims", started)


def test_each_large_job_has_a_device_of_its_own(machine: Machine):
    assert {machine.ask(60_000).device() for _ in range(2)} == {"gpu-a", "gpu-b"}


def test_small_jobs_share_devices_evenly(machine: Machine):
    claimers = [machine.ask(20_000) for _ in range(6)]
    assert Counter(claimer.device() for claimer in claimers) == {"gpu-a": 3, "gpu-b": 3}


def test_a_job_waits_for_room_and_then_goes_on(machine: Machine):
    first, second, third = (machine.ask(60_000) for _ in range(3))
    device = first.device()
    assert second.device() is not None
    assert third.device(WAITING_SECONDS) is None
    first.end()
    assert third.device() == device


def test_what_a_killed_job_held_is_free_at_once(machine: Machine):
    first, second = machine.ask(60_000), machine.ask(60_000)
    device = first.device()
    assert second.device() is not None
    first.process.kill()
    assert machine.ask(60_000).device() == device


def test_a_large_job_is_not_overtaken_by_small_ones(machine: Machine):
    small = [machine.ask(30_000) for _ in range(2)]
    assert {claimer.device() for claimer in small} == {"gpu-a", "gpu-b"}
    large = machine.ask(80_000)
    assert large.device(WAITING_SECONDS) is None
    later = machine.ask(30_000)  # there would be room for it
    assert later.device(WAITING_SECONDS) is None
    small[0].end()
    assert large.device() is not None
    assert later.device() is not None


def test_a_killed_waiter_holds_up_nobody(machine: Machine):
    assert machine.ask(30_000).device() is not None
    assert machine.ask(30_000).device() is not None
    large = machine.ask(80_000)
    assert large.device(WAITING_SECONDS) is None
    later = machine.ask(30_000)
    large.process.kill()
    assert later.device() is not None


def test_more_than_any_device_has_means_a_whole_one(machine: Machine):
    assert machine.ask(200_000).device() is not None
    assert machine.ask(200_000).device() is not None
    assert machine.ask(256).device(WAITING_SECONDS) is None


def test_a_job_of_two_ranks_holds_no_device_while_it_waits_for_the_second(machine: Machine):
    small, both = machine.ask(60_000), machine.ask(60_000, count=2)
    assert small.device() is not None
    assert both.device(WAITING_SECONDS) is None
    small.end()
    assert both.device() in {"gpu-a gpu-b", "gpu-b gpu-a"}


def test_two_jobs_of_two_ranks_share_both_devices(machine: Machine):
    jobs = [machine.ask(40_000, count=2) for _ in range(2)]
    assert all(set((job.device() or "").split()) == {"gpu-a", "gpu-b"} for job in jobs)


def test_the_drivers_table_is_read_and_hidden_devices_are_left_out():
    everything = [Gpu("GPU-aa", 81559), Gpu("GPU-bb", 81559), Gpu("GPU-cc", 24564)]
    assert parse_gpus(TABLE, None) == everything
    assert parse_gpus(TABLE, "0,2") == [everything[0], everything[2]]
    assert parse_gpus(TABLE, "GPU-bb") == [everything[1]]
    assert parse_gpus(TABLE, "") == []


def test_a_gpu_without_memory_of_its_own_is_no_device_to_claim():
    assert parse_gpus("0, GPU-aa, [N/A]\n1, GPU-bb, 81559\n", None) == [Gpu("GPU-bb", 81559)]


def settings(name: str) -> dict[str, Any]:
    return yaml.safe_load((PROFILES / name / "config.yaml").read_text())


@pytest.mark.parametrize("name", ["local", "gpu", "slurm"])
def test_a_profile_names_rules_that_there_are(name: str):
    rules = " ".join(path.read_text() for path in (ROOT / "workflow/rules").glob("*.smk"))
    for rule in settings(name).get("set-resources") or {}:
        assert f"rule {rule}:" in rules or f" as {rule} with:" in rules


def test_what_a_site_must_edit_is_one_short_block():
    text = (PROFILES / "slurm/config.yaml").read_text()
    block = text.partition("# Edit this part")[2].partition("# End of the part")[0]
    assert 5 < len(block.splitlines()) < 20
    rest = text.replace(block, "")
    for site in ("slurm_partition", "slurm_account", "gpu:", "device_memory_mb", "slurm_extra"):
        assert site in block
        assert site not in rest


# the second is where the workflow catalogue looks
@pytest.mark.parametrize(("name", "start"), [("gpu", "Snakefile"), ("local", "workflow/Snakefile")])
@pytest.mark.slow
def test_the_whole_experiment_can_be_planned_under_a_profile(
    project: Copy, tiny: dict[str, Any], name: str, start: str
):
    fresh = edited(tiny, {"experiment": "profiles", "seed": 77})
    profile = ("--workflow-profile", str(PROFILES / name), "--cores", "1")
    assert "profiles/report" in project.planned(fresh, *profile, "--snakefile", start)


@pytest.mark.slow
def test_a_job_that_fails_is_told_in_its_own_words(tiny: dict[str, Any], tmp_path: Path):
    data = write_answerless(tmp_path / "answerless.jsonl")
    config = edited(tiny, {"data.examples.train": str(data)})
    profile = ("--workflow-profile", str(PROFILES / "local"), "--cores", "1")
    done = fresh_copy(tmp_path / "project").snakemake(config, *profile)
    assert done.returncode == 1
    assert "Error in rule data" in done.stderr
    assert "output" in done.stderr.partition("error: ")[2]  # the column that is missing


def test_the_catalogue_finds_its_files():
    shown = yaml.safe_load((ROOT / ".snakemake-workflow-catalog.yml").read_text())
    assert set(shown["usage"]) >= {"mandatory-flags", "software-stack-deployment", "report"}
    readme = (ROOT / "README.md").read_text().lower()
    assert "snakemake" in readme
    assert "workflow" in readme
    assert (ROOT / "config/README.md").is_file()


@pytest.fixture
def driver(tmp_path: Path) -> dict[str, str]:
    """The environment of a machine whose driver lists three GPUs, and a module that shows one."""
    program = tmp_path / "bin/nvidia-smi"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\ncat <<END\n{TABLE}END\n")
    program.chmod(0o755)
    (tmp_path / "shown.py").write_text("import os\nprint(os.environ.get('CUDA_VISIBLE_DEVICES'))\n")
    # tests hide every GPU; this machine shows its own
    seen = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
    return seen | {
        "PATH": f"{program.parent}:{os.environ['PATH']}",
        "PYTHONPATH": f"{ROOT}:{tmp_path}",
        "TMPDIR": str(tmp_path),
    }


def shown(driver: dict[str, str], folder: Path, *command: str) -> str:
    """What a job prints."""
    done = subprocess.run(
        command, cwd=folder, env=driver, check=True, stdout=subprocess.PIPE, text=True
    )
    return done.stdout.strip()


def test_each_rank_sees_a_leased_gpu_of_its_own(driver: dict[str, str], tmp_path: Path):
    (tmp_path / "seen.py").write_text(
        "import os\n"
        "names = 'RANK', 'LOCAL_RANK', 'WORLD_SIZE', 'CUDA_VISIBLE_DEVICES'\n"
        "with open(os.environ['RANK'], 'w') as file:\n"
        "    print(*(os.environ[name] for name in names), file=file)\n"
    )
    job = module_command("seen", device="gpu", gpu_memory_mb=2 * 50_000, ranks=2)
    shown(driver, tmp_path, *job)
    lines = [(tmp_path / rank).read_text().rsplit(maxsplit=1) for rank in "01"]
    assert [places for places, _ in lines] == ["0 0 2", "1 1 2"]
    assert {name for _, name in lines} == {"GPU-aa", "GPU-bb"}


def test_more_ranks_than_gpus_are_refused_before_they_start(driver: dict[str, str], tmp_path: Path):
    (tmp_path / "seen.py").write_text("")
    for limits in ({"ranks": 4}, {"ranks": 4, "gpu_memory_mb": 4 * 50_000}):
        command = module_command("seen", device="gpu", **limits)
        done = subprocess.run(command, cwd=tmp_path, env=driver, capture_output=True, text=True)
        assert done.returncode == 1
        assert "error: 4 ranks need a GPU each" in done.stderr
        assert "3: " in done.stderr


def test_a_job_that_claims_nothing_sees_what_it_was_given(driver: dict[str, str], tmp_path: Path):
    variables = driver | {"CUDA_VISIBLE_DEVICES": "3"}
    assert shown(variables, tmp_path, *module_command("shown", device="gpu")) == "3"


def test_a_job_of_the_cpu_sees_no_gpu_however_it_is_started(driver: dict[str, str], tmp_path: Path):
    variables = driver | {"CUDA_VISIBLE_DEVICES": "3"}
    job = module_command("shown")
    assert shown(variables, tmp_path, *job) == ""
    assert shown(variables, tmp_path, *PRELOADED, *job) == ""


def test_a_job_sees_the_gpu_that_it_has_claimed_and_takes_no_more_of_it_and_of_the_cores(
    driver: dict[str, str], tmp_path: Path
):
    (tmp_path / "limits.py").write_text(
        "import os, torch\n"
        "from torch._inductor import config\n"
        "limits = os.environ['PYTORCH_CUDA_ALLOC_CONF'], config.compile_threads\n"
        "print(os.environ['CUDA_VISIBLE_DEVICES'], *limits)\n"
    )
    job = module_command("limits", device="gpu", gpu_memory_mb=30_000, threads=3)
    # without the 1500 MB that any process on it takes, of 81559
    share = f"per_process_memory_fraction:{28_500 / 81_559:.4f}"
    limits = f"expandable_segments:True,{share} 3"
    for command in (job, [*PRELOADED, *job]):
        device, _, rest = shown(driver, tmp_path, *command).partition(" ")
        assert device in {"GPU-aa", "GPU-bb"}
        assert rest == limits


@pytest.mark.slow
def test_data_models_and_tasks_can_be_made_before_all_else_where_there_is_a_network(
    project: Copy, tiny: dict[str, Any]
):
    changes = {"experiment": "login", "data.seed": 7, "evaluation.tasks": ["heldout", "dolly"]}
    planned = project.planned(edited(tiny, changes), "--omit-from", "tokens")
    stages = {path.split("/")[0] for path in planned}
    assert stages == {"data", "tokenizers", "models", "tasks"}
