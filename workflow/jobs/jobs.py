"""What a rule asks of the grid: the inputs, flags and JSON of the job that makes an id.

Snakemake is shown what is unfinished, and nothing else: a finished artifact is a file that nobody
makes. So an age, a lost memory of Snakemake's, or an input that was lost and made again, redoes no
finished work.
"""

import hashlib
import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from pipeline.methods import components
from workflow.config.validate import ConfigError, validate
from workflow.grid.artifact import Artifact, canonical
from workflow.grid.grid import Grid
from workflow.jobs import code_log, finished, grid_csv, source_hash
from workflow.jobs.code_log import Sources
from workflow.jobs.finished import State

MODULES = {
    "data": "pipeline.stages.prepare_data",
    "tokenizers": "pipeline.stages.train_tokenizer",
    "tokens": "pipeline.stages.tokenize",
    "models": "pipeline.stages.prepare_model",
    "teachers": "pipeline.stages.train",
    "starts": "pipeline.stages.train",
    "students": "pipeline.stages.train",
    "texts": "pipeline.stages.generate",
    "caches": "pipeline.stages.cache_teacher",
    "tasks": "pipeline.stages.prepare_task",
    "evals": "pipeline.stages.evaluate",
}
REPORT = "pipeline.stages.report"
JOB_FILES = Path("results/jobs")
OUTDATED = "results/.outdated"  # an input of what other code has made: it is made anew each time
Lookup = Callable[[Any], Any]  # from a rule's wildcards


@dataclass(frozen=True, eq=False)
class Jobs:
    """The jobs of one experiment, looked up by stage and id."""

    grid: Grid
    settled: Callable[[str], str] = str  # flags a path, so that Snakemake looks for no maker of it
    keeps_code: Callable[[], bool] = bool  # whether what other code has made is taken as it is

    @classmethod
    def of(
        cls,
        config: Mapping[str, Any],
        settled: Callable[[str], str] = str,
        keeps_code: Callable[[], bool] = bool,
    ) -> "Jobs":
        """The jobs of a configuration; a faulty one ends the process with a line for each fault."""
        try:
            return cls(Grid(validate(config)), settled, keeps_code)
        except ConfigError as error:
            sys.exit("\n".join(f"config: {line}" for line in str(error).splitlines()))

    @property
    def experiment(self) -> str:
        """The experiment's name."""
        return self.grid.experiment.experiment

    def inputs(self, stage: str) -> Lookup:
        """The folders that a job reads, as Snakemake is to see them."""
        return lambda wildcards: self._reads(self._artifact(stage, wildcards))

    def _reads(self, artifact: Artifact) -> list[str]:
        given = [self._shown(one) for _, one in artifact.inputs]
        return given + [OUTDATED] * (self.state(artifact) is State.OUTDATED)

    def _shown(self, artifact: Artifact) -> str:
        is_finished = self.state(artifact) is State.FINISHED
        return self.settled(artifact.path) if is_finished else artifact.path

    @cache
    def state(self, artifact: Artifact) -> State:
        """How an artifact stands on the disk."""
        return finished.state(Path(artifact.path), artifact.id, self.code(artifact))

    @cache
    def code(self, artifact: Artifact) -> str:
        """A digest of the source behind an artifact: its stage's, and that of all its inputs."""
        if self.keeps_code() and (made := finished.manifest(Path(artifact.path))):
            return str(made.get("code"))
        own = source_hash.digest(MODULES[artifact.stage], _plugins(artifact.settings))
        return source_hash.joined([own, *(self.code(one) for _, one in artifact.inputs)])

    def sources(self, artifact: Artifact) -> Sources:
        """The files behind an artifact's own stage."""
        return source_hash.sources(MODULES[artifact.stage], _plugins(artifact.settings))

    def note_sources(self) -> None:
        """Keeps the files behind what is about to be made."""
        sources = {self.code(one): one for one in self.unfinished}
        for code, one in sources.items():
            code_log.note(code, self.sources(one))
        code_log.note(self.report_job["code"], source_hash.sources(REPORT))

    def write_job_files(self, everything: bool) -> None:
        """Writes what a stage is told, as a file for each unfinished artifact, or for every one."""
        for one in self.grid.artifacts.values():
            if everything or self.state(one) is not State.FINISHED:
                _write_job_file(f"{one.stage}/{one.id}", self.job_json(one))
        _write_job_file(f"report/{self.experiment}", canonical(self.report_job))

    def flags(self, stage: str) -> Lookup:
        """The same folders as flags of the stage's command line."""
        return lambda wildcards: [
            part
            for role, one in self._artifact(stage, wildcards).inputs
            for part in (f"--{role}", one.path)
        ]

    def job(self, stage: str) -> Lookup:
        """Id, settings and source digest in one JSON value: a change in any reruns the job."""
        return lambda wildcards: self.job_json(self._artifact(stage, wildcards))

    def job_json(self, artifact: Artifact) -> str:
        """The JSON value that a stage's command line takes."""
        code = self.code(artifact)
        return canonical({"id": artifact.id, "code": code, "settings": artifact.settings})

    def _artifact(self, stage: str, wildcards: Any) -> Artifact:
        path = f"results/{stage}/{wildcards.id}"
        if path not in self.grid.artifacts:
            raise ValueError(f"{path} is no part of experiment {self.experiment}")
        return self.grid.artifacts[path]

    def targets(self, _: object) -> list[str]:
        """The report, and what it reads."""
        report = f"results/{self.experiment}/report"
        states = [self.report_state, self.grid_state, *map(self.state, self.unfinished)]
        return [
            self.settled(report) if self.is_reported else report,
            *map(self._shown, self.evaluated),
            *[OUTDATED] * (State.OUTDATED in states),
        ]

    @property
    def is_reported(self) -> bool:
        """Whether the report is as it should be."""
        return self.report_state is State.FINISHED and self.grid_state is State.FINISHED

    @cached_property
    def unfinished(self) -> list[Artifact]:
        """What is to be made for the report: each after all that it is made from."""
        found: dict[Artifact, None] = {}

        def visit(one: Artifact) -> None:
            if one not in found and self.state(one) is not State.FINISHED:
                for _, other in one.inputs:
                    visit(other)
                found[one] = None

        for one in self.evaluated:
            visit(one)
        return list(found)

    @cached_property
    def evaluated(self) -> list[Artifact]:
        """All that the report reads: checkpoints, their evaluations, their teachers' caches.

        A cache is large: once there is a report, nobody is made to keep it.
        """
        models = [cell.model for cell in self.grid.cells]
        teachers = [] if self.is_reported else [cell.teacher for cell in self.grid.cells]
        caches = map(self.grid.signals, teachers)
        evals = self.grid.evaluations.values()
        return list(dict.fromkeys([self.grid.data(), *models, *caches, *evals]))

    def grid_inputs(self, _: object) -> list[str]:
        """All that stands behind the rows of `grid.csv`."""
        outdated = [OUTDATED] * (self.grid_state is State.OUTDATED)
        return [*map(self._shown, self.evaluated), *outdated]

    def report_inputs(self, _: object) -> list[str]:
        """All that the report reads of the checkpoints."""
        outdated = [OUTDATED] * (self.report_state is State.OUTDATED)
        return [*map(self._shown, self.evaluated), *outdated]

    @cached_property
    def grid_state(self) -> State:
        """How `grid.csv` stands on the disk."""
        path = Path(f"results/{self.experiment}/grid.csv")
        if not path.exists():
            return State.ABSENT
        same = path.read_bytes() == grid_csv.text(grid_csv.rows(self.grid)).encode()
        return State.FINISHED if same else State.OUTDATED

    @cached_property
    def report_state(self) -> State:
        """How the report stands on the disk: its id says nothing of its settings."""
        folder = Path(f"results/{self.experiment}/report")
        job = self.report_job
        made = finished.manifest(folder)
        if made and canonical(made.get("settings")) != canonical(job["settings"]):
            return State.OUTDATED
        return finished.state(folder, job["id"], job["code"])

    @cached_property
    def report_job(self) -> dict[str, Any]:
        """What the report's stage is told."""
        evals = self.grid.evaluations.values()
        read = sorted(f"{one.id} {self.code(one)}" for one in evals)
        code = source_hash.joined([source_hash.digest(REPORT), *read])
        return {"id": self.experiment, "code": code, "settings": self.grid.describe()}

    def report(self, _: object) -> str:
        """The report's job."""
        return canonical(self.report_job)

    def config(self, _: object) -> str:
        """The configuration as JSON, in its own order: tables and plots keep to it."""
        return json.dumps(self.grid.experiment.model_dump(mode="json", exclude_unset=True))

    def rows(self, _: object) -> str:
        """A digest of the rows of `grid.csv`."""
        return hashlib.sha256(canonical(grid_csv.rows(self.grid)).encode()).hexdigest()[:16]


def _write_job_file(name: str, text: str) -> None:
    path = JOB_FILES / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)  # a job of another run may be reading it


def _plugins(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """The modules that a training job loads by name: those of its own method."""
    method = settings.get("method")
    if method is None:
        return ()
    folders = {"losses": "loss", "data_policies": "policy", "teacher_updates": "update"}
    loaded = [f"pipeline.{folder}.{method[key]}" for folder, key in folders.items() if method[key]]
    inner = components.inner_losses(method["loss"], method["loss_settings"])
    return (*loaded, *(f"pipeline.losses.{name}" for name in inner))
