"""Damage to any file of any artifact: seen before a run or by the job that reads it, never used.

Every stage runs in this process on what the stages before it made. The kernel tells which files
each opens: those are the ones whose damage it has to meet.
"""

import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from damage import OF_FOLDERS, VISIBLE, Harm, cut, files, flip, lose, opened, without
from jobs_here import ordered, roles, run, started
from snaking import edited

from pipeline.artifacts.checksums import MANIFEST
from pipeline.artifacts.stages import STAGES
from pipeline.reporting.analysis import load
from pipeline.reporting.analysis.limits import limits_of_costs
from workflow.config.validate import validate
from workflow.grid.artifact import Artifact
from workflow.grid.grid import Grid
from workflow.jobs import grid_csv, job_files
from workflow.jobs.condition import State
from workflow.jobs.jobs import Jobs
from workflow.jobs.preparation import move_damaged_aside, write_job_file

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("damage")]
Told = Callable[[str, object], None]  # what is injected, and how often
REPORT, GRID = Path("results/tiny/report"), Path("results/tiny/grid.csv")
ITEM = '{"instruction": "Where is the cat?", "input": "", "output": "In the barn."}\n'


@dataclass(frozen=True)
class Made:
    """A folder with every artifact of an experiment, and the files that each job has opened."""

    folder: Path
    grid: Grid
    reads: dict[str, set[tuple[str, str]]]  # by the path of what the job makes: role and file

    @property
    def jobs(self) -> Jobs:
        """The jobs as another process would see them."""
        return Jobs(self.grid)

    def restore(self, path: str) -> None:
        """Puts an artifact back as it was made."""
        shutil.copytree(self.folder / "whole" / path, self.folder / path)


@pytest.fixture(scope="module")
def made(tiny: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("damage")
    (folder / "dolly.jsonl").write_text(ITEM)
    tasks = {
        "evaluation.tasks": ["heldout", "responses", "dolly"],
        "evaluation.data": {"dolly": ["dolly.jsonl"]},
    }
    search = {"tuning": {"learning_rate": [1e-3, 1e-2], "seeds": [2]}}
    unigram = {"kind": "unigram", "vocabulary_size": 302}
    changes = {
        "methods": {"sft": None, "seqkd": None, "alm": None},
        "training.steps": 4,
        "teachers.large.training.steps": 20,
        "teachers.foreign": {"model": "wide", "tokenizer": unigram, "training": {"steps": 20}},
        "grid": [
            {"teachers": ["large"], "methods": ["sft", "seqkd"]},
            {"teachers": ["foreign"], "methods": ["alm"]},
        ],
    }
    config = edited(tiny, changes | tasks | search)
    reads = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        jobs = Jobs(Grid(validate(config)))
        for artifact in ordered(jobs.grid.artifacts):
            with opened(roles(artifact)) as read:
                run(jobs, artifact, patch)
            reads[artifact.path] = read
        GRID.parent.mkdir()
        GRID.write_text(grid_csv.text(grid_csv.rows(jobs.grid)), newline="")
        write_job_file(jobs, REPORT)
        started(REPORT, job_files.path_of(REPORT), patch)
    shutil.copytree(folder / "results", folder / "whole/results")
    return Made(folder, jobs.grid, reads)


@pytest.fixture(autouse=True)
def inside(made: Made, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The folder is the current one, and everything in it is as it was made."""
    monkeypatch.chdir(made.folder)
    shutil.rmtree("results")
    made.restore("results")
    return monkeypatch


def of_stage(made: Made, stage: str) -> list[Artifact]:
    return [artifact for artifact in made.grid.artifacts.values() if artifact.stage == stage]


def aside(path: str, number: int = 1) -> Path:
    return Path("results/damaged") / f"{path.removeprefix('results/')}.{number}"


def check_seen_and_moved(made: Made, artifact: Artifact, file: str, harm: Harm) -> None:
    """Damage shows before a run, whose start moves it away."""
    case, path = f"{harm.__name__} {artifact.path} {file}", artifact.path
    harm(Path(path, file))
    jobs, lines = made.jobs, []
    expected = State.ABSENT if (harm.__name__, file) == ("lose", "") else State.DAMAGED
    assert jobs.state(artifact) is expected, case
    if artifact in jobs.unfinished:
        move_damaged_aside(jobs, lines.append)
    if expected is State.DAMAGED and artifact in jobs.unfinished:
        (line,) = lines
        assert str(Path(path, file)) in line, case
        assert line.endswith(f"; {path} is now {aside(path)}"), case
        shutil.rmtree("results/damaged")
    elif expected is State.DAMAGED:
        shutil.rmtree(path) if Path(path).is_dir() else Path(path).unlink()
    made.restore(path)


@pytest.mark.parametrize("stage", STAGES)
def test_damage_that_shows_in_names_and_sizes_is_planned_for(
    stage: str, made: Made, record_property: Told
):
    artifact = of_stage(made, stage)[0]
    cases = [(file, harm) for file in files(Path(artifact.path)) for harm in VISIBLE]
    cases += [("", harm) for harm in OF_FOLDERS]
    record_property("injected", ["damaged artifacts before a run", len(cases)])
    for file, harm in cases:
        check_seen_and_moved(made, artifact, file, harm)
    assert made.jobs.state(artifact) is State.FINISHED


def readers(made: Made, stage: str) -> list[Artifact]:
    """A job of a stage for each set of roles that such jobs have."""
    return list({tuple(roles(job)): job for job in of_stage(made, stage)}.values())


def harmed(read: set[tuple[str, str]]) -> list[tuple[str, str, Harm]]:
    """Each file that is read with another bit, and with one kind of visible damage after another.

    A folder whose manifest is lost is no artifact to what reads it: a run sees that before.
    """
    cases = []
    for number, (role, file) in enumerate(sorted(read)):
        visible = VISIBLE[number % len(VISIBLE)]
        is_lost = (visible, file) == (lose, MANIFEST)
        cases += [(role, file, harm) for harm in (flip, cut if is_lost else visible)]
    return cases


def check_met(made: Made, input: Path, file: str, harm: Harm, read: Callable[[], object]) -> None:
    """Whatever reads a damaged file says so in a line, and moves the artifact away."""
    harm(input / file)
    case = f"{harm.__name__} {input / file}"
    with pytest.raises(ValueError, match=re.escape(f"{input / file} is ")) as error:
        read()
    assert str(error.value).endswith(
        f"; {input} is now {aside(str(input))}: run again to remake it"
    ), case
    shutil.rmtree("results/damaged")
    shutil.rmtree("results/state", ignore_errors=True)  # a second start need not read it again
    made.restore(str(input))


@pytest.mark.parametrize("stage", [stage for stage in STAGES if stage != "data"])
def test_a_job_meets_damage_to_any_file_that_it_opens(
    stage: str, made: Made, inside: pytest.MonkeyPatch, record_property: Told
):
    injected = 0
    for job in readers(made, stage):
        inputs = roles(job)
        shutil.rmtree(job.path)
        for role, file, harm in harmed(made.reads[job.path]):
            check_met(made, inputs[role], file, harm, partial(run, made.jobs, job, inside))
            assert not Path(job.path).exists()
            injected += 1
        made.restore(job.path)
    assert injected
    record_property("injected", ["damaged inputs of a job", injected])


def report_inputs(made: Made) -> load.ReportInputs:
    """All that a report reads."""
    return load.read_inputs(Path("results"), load.read_grid(GRID), made.grid.data().id)


def test_a_report_meets_damage_to_any_file_that_it_opens(made: Made, record_property: Told):
    with opened({path: Path(path) for path in made.grid.artifacts}) as read:
        report_inputs(made)
    of_stages = {path.split("/")[1]: path for path, _ in sorted(read)}
    cases = harmed({(path, file) for path, file in read if path in of_stages.values()})
    for path, file, harm in cases:
        check_met(made, Path(path), file, harm, partial(report_inputs, made))
    record_property("injected", ["damaged inputs of a report", len(cases)])


def test_a_damaged_report_is_made_again(made: Made, record_property: Told):
    cases = [(file, harm) for file in files(REPORT) for harm in VISIBLE if file.endswith("json")]
    cases += [("index.html", harm) for harm in VISIBLE] + [("", harm) for harm in OF_FOLDERS]
    record_property("injected", ["damaged reports", len(cases)])
    for file, harm in cases:
        harm(REPORT / file)
        jobs, case = made.jobs, f"{harm.__name__} {file}"
        assert not jobs.is_reported, case
        assert jobs.unfinished == [], case
        move_damaged_aside(jobs, lambda _: None)
        assert not os.path.lexists(REPORT), case
        shutil.rmtree("results/damaged", ignore_errors=True)
        made.restore(str(REPORT))
    assert made.jobs.is_reported


def checkpoints(made: Made) -> set[Artifact]:
    return {cell.model for cell in made.grid.cells}


def test_whatever_is_deleted_beside_a_report_only_its_checkpoints_and_scores_are_made_again(
    made: Made, record_property: Told
):
    artifacts = made.grid.artifacts.values()
    kept = {*checkpoints(made), *of_stage(made, "evals"), made.grid.data()}
    for artifact in artifacts:
        with without(artifact.path):
            assert made.jobs.unfinished == [artifact] * (artifact in kept), artifact.path
            assert made.jobs.is_reported
    record_property("injected", ["deleted artifacts beside a report", len(artifacts)])


def test_whatever_is_deleted_a_report_that_reads_it_has_it_made_again(
    made: Made, record_property: Told
):
    whole, artifacts = report_inputs(made), made.grid.artifacts.values()
    shown = checkpoints(made)  # an experiment is for them, too
    for artifact in artifacts:
        with without(artifact.path, str(REPORT)):
            planned = made.jobs.unfinished
            assert planned == [artifact] * bool(planned), artifact.path
            try:
                inputs = report_inputs(made)
                has_lost_costs = inputs.costs != whole.costs
                told = " ".join(limits_of_costs(inputs.manifests))
                assert artifact.id in told or not has_lost_costs, artifact.path
                is_read = has_lost_costs or artifact.stage in ("tokens", "alignments", "tasks")
            except ValueError:
                is_read = True
            assert bool(planned) == (is_read or artifact in shown), artifact.path
    record_property("injected", ["deleted artifacts before a report", len(artifacts)])


@pytest.mark.parametrize("stages", [["caches"], ["tokenizers", "tokens"], ["texts", "teachers"]])
def test_of_deleted_folders_what_is_read_is_made_again_and_what_makes_it(
    stages: list[str], made: Made
):
    expected = {artifact for stage in stages for artifact in of_stage(made, stage)}
    with without(str(REPORT), *(f"results/{stage}" for stage in stages)):
        assert set(made.jobs.unfinished) == expected
        positions = {artifact: index for index, artifact in enumerate(made.jobs.unfinished)}
        for artifact, position in positions.items():
            assert all(positions.get(input, -1) < position for _, input in artifact.inputs)
