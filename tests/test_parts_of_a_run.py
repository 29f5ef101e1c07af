"""The parts of a cache in a run: what is planned, asked for, told and pruned."""

import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from part_jobs import held

from pipeline.artifacts.artifact import Job, atomic_write, write_manifest
from pipeline.artifacts.part import Part
from workflow.commands import prune
from workflow.commands.job_status import JobStatus, status_of
from workflow.commands.plan import plan_of
from workflow.config.validate import validate
from workflow.grid.artifact import Artifact
from workflow.grid.grid import Grid
from workflow.jobs import grid_csv, job_files, parts
from workflow.jobs.job_files import Wildcards
from workflow.jobs.jobs import OUTDATED, Jobs
from workflow.jobs.parts import PartWildcards
from workflow.launch.run_stage import MachineLimits, stage_arguments
from workflow.resources.fit import Workload, share_of
from workflow.resources.machine import Machine
from workflow.resources.measured_time import wall_seconds
from workflow.resources.requests import ResourceRequests, share_of_job


@dataclass(frozen=True)
class Cut:
    """An experiment whose cache is made in two parts, and whose inputs are there."""

    jobs: Jobs
    cache: Artifact

    @property
    def again(self) -> Jobs:
        """The same jobs, asked once more."""
        return self.jobs.reread()

    def mark(self, number: int) -> Path:
        """A finished part, with a piece of its own."""
        marker = Path(parts.marker(self.cache, Part(number, 2)))
        put(marker.parent / f"piece-{number}", self.cache.id, self.jobs.code(self.cache))
        names = {"pieces": [f"piece-{number}"]}
        return put(marker, self.cache.id, self.jobs.code(self.cache), **names)


def put(folder: Path, id: str, code: str, **facts: object) -> Path:
    """What an artifact, a piece or a marker is on disk."""
    with atomic_write(folder) as temporary:
        temporary.mkdir()
        (temporary / "file").write_text("content")
        write_manifest(temporary, Job(id, code, {}), {}, **facts)
    return folder


@pytest.fixture
def cut(tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cut:
    monkeypatch.chdir(tmp_path)
    grid = Grid(validate(tiny))
    machine = Machine.of({"cache_parts": 2})
    jobs = Jobs(grid, parts=ResourceRequests(grid, machine).parts)
    cache = grid.signals("large")
    for _, input in cache.inputs:
        put(Path(input.path), input.id, jobs.code(input))
    return Cut(jobs, cache)


def test_the_rule_of_a_cache_reads_its_parts_and_theirs_reads_what_it_would(cut: Cut):
    whole = cut.jobs.inputs(Wildcards(cut.cache.id))
    assert whole.pop("part") == [f"results/state/{cut.cache.id}/caches-part-{n}-of-2" for n in "12"]
    part = PartWildcards(cut.cache.id, "caches", "2", "2")
    assert (
        cut.jobs.part_inputs(part)
        == whole
        == {role: [input.path] for role, input in cut.cache.inputs}
    )


def test_parts_change_neither_id_nor_digest_nor_job_file(cut: Cut, tiny: dict[str, Any]):
    alone = Jobs(Grid(validate(tiny)))
    asked = Wildcards(cut.cache.id)
    assert alone.digest(asked) == cut.jobs.digest(asked)
    assert alone.job(cut.cache) == cut.jobs.job(cut.cache)
    assert "part" not in alone.inputs(asked)


def test_a_part_of_another_cut_or_stage_is_refused(cut: Cut):
    for stage, part, count in (("caches", "1", "3"), ("texts", "1", "2"), ("caches", "3", "2")):
        asked = PartWildcards(cut.cache.id, stage, part, count)
        with pytest.raises(ValueError, match=r"isn't made in . parts on this machine"):
            cut.jobs.part_inputs(asked)


def test_a_finished_part_is_not_planned_again_unless_what_it_names_is_gone(cut: Cut):
    assert len(cut.jobs.unfinished_parts(cut.cache)) == 2
    marker = cut.mark(1)
    assert cut.again.unfinished_parts(cut.cache) == [Part(2, 2)]
    (marker.parent / "piece-1/file").write_text("cont")
    assert len(cut.again.unfinished_parts(cut.cache)) == 2
    part = PartWildcards(cut.cache.id, "caches", "1", "2")
    assert cut.again.part_inputs(part)["outdated"] == [OUTDATED]


def test_a_marker_of_other_code_or_over_unfinished_inputs_does_not_count(cut: Cut):
    marker = cut.mark(1)
    facts = {"pieces": ["piece-1"]}
    put(marker, cut.cache.id, "ffffffff", **facts)
    assert len(cut.again.unfinished_parts(cut.cache)) == 2
    cut.mark(1)
    assert len(cut.again.unfinished_parts(cut.cache)) == 1
    shutil.rmtree(dict(cut.cache.inputs)["teacher"].path)
    assert len(cut.again.unfinished_parts(cut.cache)) == 2


def test_a_part_asks_for_its_share_of_the_time_and_all_of_the_memory(cut: Cut):
    large = Workload(operations=4e18, step_positions=4000, written_positions=400, loaded=8, disk=9)
    quarter = share_of(large, 1 / 4)
    assert quarter == replace(large, operations=1e18, step_positions=1000, written_positions=100)
    four = ResourceRequests(cut.jobs.grid, Machine.of({"cache_parts": 4}))
    whole, part = Wildcards(cut.cache.id), PartWildcards(cut.cache.id, "caches", "1", "4")
    for same in (four.mem_mb, four.micro_batch_tokens, four.gpu_memory_mb):
        assert same(part, 1) == same(whole, 1)
    assert four.device(part) == four.device(whole)
    assert (share_of_job(4, is_part=True), share_of_job(1, is_part=False)) == (1 / 4, 1)


def test_a_number_of_parts_that_is_none_is_refused():
    with pytest.raises(ValueError, match="cache_parts = 0: allowed: 1 or more"):
        Machine.of({"cache_parts": 0})
    assert Machine.of({}).parts == {}


def test_a_run_drops_what_jobs_of_another_cut_have_said(cut: Cut):
    logs = Path("results/logs/caches")
    logs.mkdir(parents=True)
    for name in ("part-1-of-2", "part-1-of-4", "part-3-of-12"):
        (logs / f"{cut.cache.id}-{name}.log").touch()
    parts.drop_other_cuts(cut.cache, 2)
    assert [log.name for log in logs.iterdir()] == [f"{cut.cache.id}-part-1-of-2.log"]
    assert parts.begun(cut.cache) == [Part(1, 2), Part(2, 2)]


def test_the_status_of_a_cache_is_that_of_its_parts(cut: Cut):
    cut.mark(1)
    logs = Path("results/logs/caches")
    logs.mkdir(parents=True)
    (logs / f"{cut.cache.id}-part-2-of-2.log").write_text("error: the disk is full\n")
    job = {job.id: job for job in status_of(cut.jobs, time.time()).jobs}[cut.cache.id]
    assert job.status is JobStatus.FAILED
    assert job.message == "1 of 2 parts done, 1 failed: error: the disk is full"
    assert job.log == str(logs / f"{cut.cache.id}-part-2-of-2.log")


def test_the_plan_has_a_step_for_each_part_and_their_time_side_by_side(cut: Cut):
    steps = [step for step in plan_of(cut.jobs, 2).steps if step.stage == "caches"]
    ends = ["part-1-of-2", "part-2-of-2", ""]
    assert [step.id.removeprefix(cut.cache.id).strip("-") for step in steps] == ends
    assert steps[0].output == f"results/state/{cut.cache.id}/caches-part-1-of-2"
    seconds = [step.cost.seconds for step in steps if step.cost]
    assert seconds[0] == seconds[1] > seconds[2]
    times = {cut.cache.id: 1.0}
    assert wall_seconds([cut.cache], times, 2, {cut.cache.id: [5.0, 4.0]}) == 5 + 1
    assert wall_seconds([cut.cache], times, 1, {cut.cache.id: [5.0, 4.0]}) == 5 + 4 + 1


def test_the_command_of_a_part_is_that_of_the_whole_with_its_number(cut: Cut):
    marker = Path(parts.marker(cut.cache, Part(2, 2)))
    file = job_files.path_of(marker)
    assert file == job_files.path_of(Path(cut.cache.path))
    job_files.write(Path(cut.cache.path), cut.jobs.job(cut.cache))
    whole, part = (
        stage_arguments(output, file, MachineLimits()) for output in (Path(cut.cache.path), marker)
    )
    index = part.index("--part")
    assert part[index + 1] == "2/2"
    assert part[:index] + part[index + 2 :] == whole


def test_what_parts_leave_is_pruned_with_their_artifact_and_not_while_they_run(
    cut: Cut, capsys: pytest.CaptureFixture[str]
):
    grid = Path("results/jobs/tiny/grid.csv")
    grid.parent.mkdir(parents=True)
    grid.write_bytes(grid_csv.text(grid_csv.rows(cut.jobs.grid)).encode())
    gone, log = Path("results/state/gone-0a1b2c3d"), Path("results/logs/caches")
    log.mkdir(parents=True)
    for id in ("gone-0a1b2c3d", cut.cache.id):
        (log / f"{id}-part-1-of-2.log").touch()
    with held(gone / "caches-part-1-of-2"):
        prune.main(configs=[], drop=[], delete=False)
        assert "gone" not in capsys.readouterr().out
    gone.mkdir(exist_ok=True)
    prune.main(configs=[], drop=[], delete=False)
    printed = capsys.readouterr().out
    assert str(gone) in printed
    assert "gone-0a1b2c3d-part-1-of-2.log" in printed
    assert f"{cut.cache.id}-part" not in printed
