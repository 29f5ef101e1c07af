"""What a rule asks of the grid: the inputs, flags and JSON of the job that makes an id."""

import hashlib
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline import catalog
from workflow import source_hash
from workflow.artifact import Artifact, canonical
from workflow.config import ConfigError, validate
from workflow.grid import Grid

MODULES = {
    "data": "pipeline.data",
    "tokenizers": "pipeline.tokenizer",
    "tokens": "pipeline.tokenize",
    "models": "pipeline.models",
    "teachers": "pipeline.distill",
    "starts": "pipeline.distill",
    "students": "pipeline.distill",
    "texts": "pipeline.teacher_text",
    "caches": "pipeline.teacher_cache",
    "evals": "pipeline.evaluate",
}
Lookup = Callable[[Any], Any]  # from a rule's wildcards


@dataclass(frozen=True)
class Jobs:
    """The jobs of one experiment, looked up by stage and id."""

    grid: Grid

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> "Jobs":
        """The jobs of a configuration; a faulty one ends the process with a line for each fault."""
        try:
            return cls(Grid(validate(config)))
        except ConfigError as error:
            sys.exit("\n".join(f"config: {line}" for line in str(error).splitlines()))

    @property
    def experiment(self) -> str:
        """The experiment's name."""
        return self.grid.experiment.experiment

    def inputs(self, stage: str) -> Lookup:
        """The folders that a job reads."""
        return lambda wildcards: [one.path for _, one in self._artifact(stage, wildcards).inputs]

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
        code = source_hash.digest(MODULES[artifact.stage], _plugins(artifact.settings))
        return canonical({"id": artifact.id, "code": code, "settings": artifact.settings})

    def _artifact(self, stage: str, wildcards: Any) -> Artifact:
        path = f"results/{stage}/{wildcards.id}"
        if path not in self.grid.artifacts:
            raise ValueError(f"{path} is no part of experiment {self.experiment}")
        return self.grid.artifacts[path]

    def targets(self, _: object) -> list[str]:
        """The report, and what it reads.

        Where Snakemake has lost its memory, an old report would else do for new evaluations.
        """
        return [f"results/{self.experiment}/report", *self.evaluations(_)]

    def evaluations(self, _: object) -> list[str]:
        """All that the report reads of the checkpoints."""
        models = [cell.model.path for cell in self.grid.cells]
        evals = [one.path for one in self.grid.evaluations.values()]
        return list(dict.fromkeys([self.grid.data().path, *models, *evals]))

    def report(self, _: object) -> str:
        """The report's job."""
        code = source_hash.digest("pipeline.report")
        settings = self.grid.describe()
        return canonical({"id": self.experiment, "code": code, "settings": settings})

    def config(self, _: object) -> str:
        """The configuration as JSON, in its own order: tables and plots keep to it."""
        return json.dumps(self.grid.experiment.model_dump(mode="json", exclude_unset=True))

    def rows(self, _: object) -> str:
        """A digest of the rows of `grid.csv`."""
        return hashlib.sha256(canonical(self.grid.rows()).encode()).hexdigest()[:16]


def _plugins(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """The modules that a training job loads by name: those of its own method."""
    method = settings.get("method")
    if method is None:
        return ()
    folders = {"losses": "loss", "data_policies": "policy", "teacher_updates": "update"}
    loaded = [f"pipeline.{folder}.{method[key]}" for folder, key in folders.items() if method[key]]
    fields = catalog.hyperparameters("losses", method["loss"])
    # a loss around another one loads that by its name
    inner = [name for name, one in fields.items() if one.annotation == "PlainDivergence"]
    return (*loaded, *(f"pipeline.losses.{method['loss_settings'][name]}" for name in inner))
