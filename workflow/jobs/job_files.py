"""Job files: what the job of one artifact is told, written before any job runs.

The job of `results/students/ID` is in `results/jobs/students/ID.json`: its stage, the artifacts
that it reads by role, and what the stage may know (id, code, settings). Jobs of an artifact's parts
are told the same.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.artifacts.artifact import replace_text
from pipeline.artifacts.part import of_marker

FOLDER = "jobs"


@dataclass(frozen=True)
class Wildcards:
    """What a rule matches: the id of the artifact that its job makes."""

    id: str


def path_of(output: Path) -> Path:
    """The job file of an artifact, or of one whose part's marker this is."""
    output, _ = of_marker(output) or (output, None)
    return output.parents[1] / FOLDER / output.parent.name / f"{output.name}.json"


def write(output: Path, job: Mapping[str, object]) -> Path:
    """Writes the job file of an artifact."""
    path = path_of(output)
    replace_text(path, json.dumps(job, ensure_ascii=False))
    return path
