"""Parts of artifacts: the names of their jobs, what these leave, and whether that still counts."""

from dataclasses import dataclass
from pathlib import Path

from pipeline.artifacts.part import Part
from workflow.grid.artifact import Artifact
from workflow.jobs.condition import State, condition, is_whole, read_manifest
from workflow.jobs.job_files import Wildcards

RESULTS = Path("results")


@dataclass(frozen=True)
class PartWildcards(Wildcards):
    """What the rule of parts matches: an artifact by its stage and id, and which part of it."""

    stage: str
    part: str
    parts: str


def uncut(_: Artifact) -> int:
    """The number of parts of what one job makes."""
    return 1


def marker(artifact: Artifact, part: Part) -> str:
    """The path of what is there once the job of a part has ended well."""
    return str(part.marker(RESULTS / "state" / artifact.id, Path(artifact.path)))


def state_of(artifact: Artifact, part: Part, code: str) -> State:
    """The state of a part whose inputs are finished: of its marker and of the pieces it names."""
    folder = Path(marker(artifact, part))
    state = condition(folder, artifact.id, code).state
    if state is not State.FINISHED:
        return state
    names = (read_manifest(folder) or {})["pieces"]
    is_finished = all(is_whole(folder.parent / name) for name in names)
    return State.FINISHED if is_finished else State.OUTDATED


def begun(artifact: Artifact) -> list[Part]:
    """The parts of the last cut of which a job has begun, by their logs."""
    logs = (RESULTS / "logs" / artifact.stage).glob(f"{artifact.id}-part-*-of-*.log")
    counts = [int(log.stem.rpartition("-")[2]) for log in logs]
    return [Part(number, max(counts)) for number in range(1, max(counts, default=0) + 1)]


def drop_other_cuts(artifact: Artifact, count: int) -> None:
    """Deletes logs and measured seconds of parts of another cut than the one that is to run."""
    for folder, suffix in (("logs", "log"), ("benchmarks", "tsv")):
        for path in (RESULTS / folder / artifact.stage).glob(f"{artifact.id}-part-*.{suffix}"):
            if count == 1 or not path.stem.endswith(f"-of-{count}"):
                path.unlink(missing_ok=True)
