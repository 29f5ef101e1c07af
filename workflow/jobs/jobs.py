"""The inputs, job file and state of each artifact, as the rules and the commands ask for them.

Snakemake is shown unfinished artifacts alone: a finished one is to it a file without a rule. So
the age of a file, lost metadata of Snakemake, or an input that was lost and made again, redoes no
finished work.
"""

import hashlib
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from pipeline.artifacts.part import Part
from pipeline.artifacts.stages import STAGES
from workflow.config import load
from workflow.grid.artifact import Artifact, canonical
from workflow.grid.grid import Grid
from workflow.jobs import grid_csv, source_hash
from workflow.jobs.condition import Condition, State, condition, read_manifest
from workflow.jobs.flags import flags_of
from workflow.jobs.job_files import Wildcards
from workflow.jobs.parts import PartWildcards, marker, state_of, uncut
from workflow.jobs.stage_modules import REPORT, modules_of, stage_of

# stages whose artifacts a report shows something of, however far behind an evaluation they are
REPORTED = set(STAGES) - {"models", "tokenizers"}
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
        markers = [
            self._shown(marker(artifact, part), self.part_state(artifact, part))
            for part in self.parts_of(artifact)
        ]
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
            raise ValueError(
                f"{id} isn't an artifact of experiment {self.experiment}: where it was one, the "
                "configuration or a file that it names was edited since; start the run again"
            )
        return self.grid.by_id[id]

    def _read(self, artifact: Artifact) -> dict[str, list[str]]:
        paths: dict[str, list[str]] = {}
        for role, input in artifact.reads:
            paths.setdefault(role, []).append(self._input(input))
        return paths

    def part_state(self, artifact: Artifact, part: Part) -> State:
        """The state of a part of an artifact; it is outdated where an input is made again."""
        state = state_of(artifact, part, self.code(artifact))
        are_read = all(self.state(input) is State.FINISHED for _, input in artifact.reads)
        return State.OUTDATED if state is State.FINISHED and not are_read else state

    def _input(self, artifact: Artifact) -> str:
        return self._shown(artifact.path, self.state(artifact))

    def _shown(self, path: str, state: State) -> str:
        """A path as Snakemake is to see it: a finished one is a file without a rule."""
        return self.finished_input(path) if state is State.FINISHED else path

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

    def job(self, artifact: Artifact) -> dict[str, object]:
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

    @property
    def artifacts(self) -> Iterable[Artifact]:
        """All artifacts of the experiment."""
        return self.grid.artifacts.values()

    @property
    def report(self) -> str:
        """The folder of the experiment's report."""
        return f"results/{self.experiment}/report"

    @property
    def grid_csv(self) -> str:
        """The list of the experiment's cells."""
        return f"results/{self.experiment}/grid.csv"

    def targets(self, _: object) -> list[str]:
        """The report, and what it reads."""
        last = [self.report_condition.state, self.grid_condition.state]
        return [
            self.finished_input(self.report) if self.is_reported else self.report,
            *map(self._input, self.evaluated),
            *_outdated([*last, *map(self.state, self.unfinished)]).get("outdated", []),
        ]

    @property
    def is_reported(self) -> bool:
        """Whether the report is up to date."""
        conditions = (self.report_condition, self.grid_condition)
        return all(condition.state is State.FINISHED for condition in conditions)

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
        others = () if self.is_reported else self.artifacts
        behind = [artifact for artifact in others if artifact.stage in REPORTED]
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
        path = Path(self.grid_csv)
        if not os.path.lexists(path):
            return Condition(State.ABSENT)
        if not path.is_file():
            return Condition(State.DAMAGED, f"{path} is damaged: it is not a file")
        is_same = path.read_bytes() == grid_csv.text(grid_csv.rows(self.grid)).encode()
        return Condition(State.FINISHED if is_same else State.OUTDATED)

    @cached_property
    def report_condition(self) -> Condition:
        """The state of the report on disk; its settings are compared, as its id is only a name."""
        folder, job = Path(self.report), self.report_job
        on_disk = condition(folder, job["id"], job["code"])
        if on_disk.state is State.FINISHED:
            settings = (read_manifest(folder) or {}).get("settings")
            if canonical(settings) != canonical(job["settings"]):
                return Condition(State.OUTDATED)
        return on_disk

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
