"""The inputs, job file and state of each artifact, as the rules and the commands ask for them.

Snakemake is shown unfinished artifacts alone: a finished one is to it a file without a rule. So
the age of a file, lost metadata of Snakemake, or an input that was lost and made again, redoes no
finished work.
"""

import hashlib
import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from pipeline.artifacts import checksums
from pipeline.artifacts.part import Part, of_marker
from workflow.config import load
from workflow.grid.artifact import Artifact, canonical
from workflow.grid.grid import Grid
from workflow.jobs import grid_csv, job_files, source_hash
from workflow.jobs.condition import Condition, State, condition, read_manifest
from workflow.jobs.flags import flags_of
from workflow.jobs.job_files import Wildcards
from workflow.jobs.parts import PartWildcards, drop_other_cuts, marker, state_of, uncut
from workflow.jobs.stage_modules import REPORT, modules_of, stage_of

# stages whose artifacts a report shows something of, however far behind an evaluation they are
REPORTED = (
    "evals",
    "students",
    "choices",
    "starts",
    "teachers",
    "texts",
    "caches",
    "tokens",
    "alignments",
    "tasks",
    "data",
)
OUTDATED = "results/.outdated"  # an input of what is replaced: it is made again each time


@dataclass(frozen=True, eq=False)
class Jobs:
    """The jobs of one experiment, looked up by id."""

    grid: Grid
    finished_input: Callable[[str], str] = str  # flags a path, so that Snakemake looks for no rule
    ignores_code_changes: Callable[[], bool] = bool  # whether results of other code stay as is
    parts: Callable[[Artifact], int] = uncut  # how many jobs share the work of an artifact

    @classmethod
    def of_file(cls, path: Path, ignore_code_changes: bool = False) -> "Jobs":
        """The jobs of a configuration file; a faulty one ends the process with its faults."""
        return cls(Grid(load.of_file(path)), ignores_code_changes=lambda: ignore_code_changes)

    def reread(self) -> "Jobs":
        """The same jobs, with the states that they have on disk by now."""
        Jobs.condition.cache_clear()
        Jobs.code.cache_clear()
        return replace(self)

    @property
    def experiment(self) -> str:
        """The experiment's name."""
        return self.grid.experiment.experiment

    def inputs(self, wildcards: Wildcards) -> dict[str, list[str]]:
        """What a job reads, by role, as Snakemake is to see it: artifacts, and its own parts."""
        artifact = self._artifact(wildcards.id)
        markers = [self._marker_input(artifact, part) for part in self.parts_of(artifact)]
        paths = self._read(artifact) | ({"part": markers} if markers else {})
        return paths | _outdated([self.state(artifact)])

    def part_inputs(self, wildcards: PartWildcards) -> dict[str, list[str]]:
        """The artifacts that the job of a part reads, by role, as Snakemake is to see them."""
        artifact = self._artifact(wildcards.id)
        part = Part(int(wildcards.part), int(wildcards.parts))
        if part not in self.parts_of(artifact) or artifact.stage != wildcards.stage:
            raise ValueError(f"{artifact.path} isn't made in {part.count} parts on this machine")
        return self._read(artifact) | _outdated([self.part_state(artifact, part)])

    def parts_of(self, artifact: Artifact) -> list[Part]:
        """The parts of an artifact that jobs of their own make."""
        count = self.parts(artifact)
        return [Part(number, count) for number in range(1, count + 1)] if count > 1 else []

    def unfinished_parts(self, artifact: Artifact) -> list[Part]:
        """Those of its parts whose jobs would run."""
        parts = self.parts_of(artifact)
        return [part for part in parts if self.part_state(artifact, part) is not State.FINISHED]

    def _artifact(self, id: str) -> Artifact:
        if id not in self.grid.by_id:
            raise ValueError(f"{id} isn't an artifact of experiment {self.experiment}")
        return self.grid.by_id[id]

    def _read(self, artifact: Artifact) -> dict[str, list[str]]:
        paths: dict[str, list[str]] = {}
        for role, input in artifact.reads:
            paths.setdefault(role, []).append(self._input(input))
        return paths

    def _marker_input(self, artifact: Artifact, part: Part) -> str:
        path, is_finished = (
            marker(artifact, part),
            self.part_state(artifact, part) is State.FINISHED,
        )
        return self.finished_input(path) if is_finished else path

    def part_state(self, artifact: Artifact, part: Part) -> State:
        """The state of a part of an artifact; it is outdated where an input is made again."""
        state = state_of(artifact, part, self.code(artifact))
        are_read = all(self.state(input) is State.FINISHED for _, input in artifact.reads)
        return State.OUTDATED if state is State.FINISHED and not are_read else state

    def _input(self, artifact: Artifact) -> str:
        is_finished = self.state(artifact) is State.FINISHED
        return self.finished_input(artifact.path) if is_finished else artifact.path

    def state(self, artifact: Artifact) -> State:
        """The state of an artifact on disk."""
        return self.condition(artifact).state

    @cache
    def condition(self, artifact: Artifact) -> Condition:
        """The state of an artifact on disk, and the damage to it."""
        return condition(Path(artifact.path), artifact.id, self.code(artifact))

    @cache
    def code(self, artifact: Artifact) -> str:
        """A digest of the source behind an artifact: its stage's, and that of all its inputs."""
        if self.ignores_code_changes() and (manifest := read_manifest(Path(artifact.path))):
            return str(manifest.get("code"))
        module, plugins = modules_of(artifact)
        digest = source_hash.digest(module, plugins)
        return source_hash.joined([digest, *(self.code(input) for _, input in artifact.inputs)])

    def job(self, artifact: Artifact) -> dict[str, Any]:
        """The content of an artifact's job file."""
        return {
            "stage": stage_of(artifact),
            "inputs": [[role, input.path] for role, input in artifact.inputs],
            "id": artifact.id,
            "code": self.code(artifact),
            "settings": artifact.settings,
            **({"flags": flags} if (flags := flags_of(self.grid, artifact)) else {}),
        }

    def digest(self, wildcards: Wildcards) -> str:
        """A digest of a job's inputs, code and settings: a change in any reruns it."""
        return _digest(self.job(self.grid.by_id[wildcards.id]))

    def report_digest(self, _: object) -> str:
        """A digest of the report's code and settings: a change in either reruns it."""
        return _digest(self.report_job)

    def rows_digest(self, _: object) -> str:
        """A digest of the rows of `grid.csv`."""
        return _digest(grid_csv.rows(self.grid))

    def move_damaged_aside(self, log: Callable[[str], None]) -> None:
        """Makes room for what a run makes again, in the place of what is damaged."""
        conditions = {each.path: self.condition(each) for each in self.unfinished}
        conditions |= {self._report: self.report_condition, self._grid_csv: self.grid_condition}
        for path, found in conditions.items():
            if found.state is State.DAMAGED:
                log(f"{found.damage}; {path} is now {checksums.move_aside(Path(path))}")

    def prepare_run(self, is_forced: bool) -> None:
        """Writes the job files of a run, and records the sources that its jobs run.

        These are the jobs of unfinished artifacts, or of all if rules are forced.
        """
        unfinished = [each for each in self.artifacts if self.state(each) is not State.FINISHED]
        for artifact in self.artifacts if is_forced else unfinished:
            job_files.write(Path(artifact.path), self.job(artifact))
        for artifact in unfinished:
            drop_other_cuts(artifact, self.parts(artifact))
        self._write_report_job()
        rows = grid_csv.text(grid_csv.rows(self.grid))
        Path(f"results/{job_files.FOLDER}/{self.experiment}/grid.csv").write_bytes(rows.encode())
        for code, artifact in {self.code(artifact): artifact for artifact in unfinished}.items():
            source_hash.record(code, source_hash.sources(*modules_of(artifact)))
        source_hash.record(self.report_job["code"], source_hash.sources(REPORT))

    def write_job_file(self, output: Path) -> None:
        """Writes the job file of one artifact; exits with a line for each unfinished input."""
        if output == Path(self._report):
            self._write_report_job()
            return
        output, _ = of_marker(output) or (output, None)
        artifact = self.grid.artifacts.get(str(output))
        if artifact is None:
            sys.exit(f"{output} isn't an artifact of experiment {self.experiment}")
        if unfinished := [
            f"{output} reads {input.path} ({role}), which is {self.state(input).value}"
            for role, input in artifact.reads
            if self.state(input) is not State.FINISHED
        ]:
            sys.exit("\n".join(f"{line}: make it first" for line in unfinished))
        job_files.write(output, self.job(artifact))

    def _write_report_job(self) -> None:
        inputs = [["grid", self._grid_csv], ["results", "results"]]
        job = {"stage": "report", "inputs": inputs, **self.report_job}
        job_files.write(Path(self._report), job)

    @property
    def artifacts(self) -> Iterable[Artifact]:
        """All artifacts of the experiment."""
        return self.grid.artifacts.values()

    @property
    def _report(self) -> str:
        return f"results/{self.experiment}/report"

    @property
    def _grid_csv(self) -> str:
        return f"results/{self.experiment}/grid.csv"

    def targets(self, _: object) -> list[str]:
        """The report, and what it reads."""
        states = [
            self.report_condition.state,
            self.grid_condition.state,
            *map(self.state, self.unfinished),
        ]
        return [
            self.finished_input(self._report) if self.is_reported else self._report,
            *map(self._input, self.evaluated),
            *_outdated(states).get("outdated", []),
        ]

    @property
    def is_reported(self) -> bool:
        """Whether the report is up to date."""
        return (
            self.report_condition.state is State.FINISHED
            and self.grid_condition.state is State.FINISHED
        )

    @cached_property
    def unfinished(self) -> list[Artifact]:
        """The unfinished artifacts that the report needs, each after its inputs."""
        ordered: dict[Artifact, None] = {}

        def visit(artifact: Artifact) -> None:
            if artifact not in ordered and self.state(artifact) is not State.FINISHED:
                for _, input in artifact.reads:
                    visit(input)
                ordered[artifact] = None

        for artifact in self.evaluated:
            visit(artifact)
        return list(ordered)

    @cached_property
    def evaluated(self) -> list[Artifact]:
        """The artifacts that the report reads.

        Beside the checkpoints of its cells these are all that it tells the costs or the limits of.
        Of them, texts and caches are large: once there is a report, they may be deleted.
        """
        models = [cell.model for cell in self.grid.cells]
        evals = self.grid.evaluations.values()
        behind = [] if self.is_reported else self.artifacts
        behind = [artifact for artifact in behind if artifact.stage in REPORTED]
        return list(dict.fromkeys([self.grid.data(), *models, *behind, *evals]))

    def grid_inputs(self, _: object) -> dict[str, list[str]]:
        """The inputs of `grid.csv`: every artifact of its rows."""
        return self._evaluated_for(self.grid_condition)

    def report_inputs(self, _: object) -> dict[str, list[str]]:
        """The inputs of the report beside `grid.csv`."""
        return self._evaluated_for(self.report_condition)

    def _evaluated_for(self, condition: Condition) -> dict[str, list[str]]:
        return {"artifacts": [*map(self._input, self.evaluated)]} | _outdated([condition.state])

    @cached_property
    def grid_condition(self) -> Condition:
        """The state of `grid.csv` on disk, and the damage to it."""
        path = Path(self._grid_csv)
        if not os.path.lexists(path):
            return Condition(State.ABSENT)
        if not path.is_file():
            return Condition(State.DAMAGED, f"{path} is damaged: it is not a file")
        same = path.read_bytes() == grid_csv.text(grid_csv.rows(self.grid)).encode()
        return Condition(State.FINISHED if same else State.OUTDATED)

    @cached_property
    def report_condition(self) -> Condition:
        """The state of the report on disk; its settings are compared, as its id is only a name."""
        folder, job = Path(self._report), self.report_job
        found = condition(folder, job["id"], job["code"])
        if found.state is State.FINISHED:
            settings = (read_manifest(folder) or {}).get("settings")
            if canonical(settings) != canonical(job["settings"]):
                return Condition(State.OUTDATED)
        return found

    @cached_property
    def report_job(self) -> dict[str, Any]:
        """Id, code and settings of the report."""
        evals = self.grid.evaluations.values()
        read = sorted(f"{evaluation.id} {self.code(evaluation)}" for evaluation in evals)
        code = source_hash.joined([source_hash.digest(REPORT), *read])
        return {"id": self.experiment, "code": code, "settings": self.grid.describe()}


def _outdated(states: Iterable[State]) -> dict[str, list[str]]:
    """The input of a job that replaces what other code has made, or what is damaged."""
    is_replaced = any(state in (State.OUTDATED, State.DAMAGED) for state in states)
    return {"outdated": [OUTDATED]} if is_replaced else {}


def _digest(value: object) -> str:
    return hashlib.sha256(canonical(value).encode()).hexdigest()[:16]
