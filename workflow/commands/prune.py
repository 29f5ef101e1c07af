"""Lists what none of the given experiments needs, with sizes and ages; deletes it on request.

That is: artifacts with their job files, logs, measured seconds and saved states, damaged artifacts
that were moved aside, and records of source code that made no artifact. Reports and published
results stay whatever the configurations are, and so does every file whose name is not known here.
"""

import re
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from workflow.commands import snakemake_state
from workflow.commands.console import file_size, show_table
from workflow.commands.plan import RESULTS
from workflow.jobs.jobs import STAGES, Jobs, State, read_manifest
from workflow.jobs.source_hash import RECORDS as SOURCES

ID = re.compile(r"[A-Za-z0-9_.-]+-[0-9a-f]{8}")
TEMPORARY = re.compile(r"\..+\.\d+(\.old)?\.tmp")  # of a job that was killed while it wrote
DAY = 86_400  # seconds


@dataclass(frozen=True)
class Unneeded:
    """A file or folder that none of the experiments needs."""

    path: Path
    bytes: int
    days: float  # since it was last written to


def unneeded(experiments: Sequence[Jobs], now: float) -> list[Unneeded]:
    """Everything in `results/` that the experiments don't need, the largest first."""
    needed = {path for jobs in experiments for path in jobs.grid.artifacts}
    paths = [
        *(path for stage in STAGES for path in _of_stage(stage, needed)),
        *(path for stage in STAGES for path in _leftovers(stage, now)),
        *_states(experiments),
        *_children(RESULTS / "damaged"),
        *_sources(needed),
    ]
    return sorted((_measured(path, now) for path in paths), key=lambda item: -item.bytes)


def _of_stage(stage: str, needed: set[str]) -> Iterator[Path]:
    for path in _children(RESULTS / stage):
        if ID.fullmatch(path.name) and f"results/{stage}/{path.name}" not in needed:
            yield path
    for folder, suffix in (("jobs", ".json"), ("logs", ".log"), ("benchmarks", ".tsv")):
        for path in _children(RESULTS / folder / stage):
            id = path.name.removesuffix(suffix)
            if ID.fullmatch(id) and f"results/{stage}/{id}" not in needed:
                yield path


def _leftovers(stage: str, now: float) -> Iterator[Path]:
    """Temporary files over a day old: a cluster's job may outlive the Snakemake that started it."""
    for path in _children(RESULTS / stage):
        if TEMPORARY.fullmatch(path.name) and _measured(path, now).days > 1:
            yield path


def _states(experiments: Sequence[Jobs]) -> Iterator[Path]:
    """Saved states of jobs that are done, or that no experiment needs."""
    states = [path for path in _children(RESULTS / "state") if ID.fullmatch(path.name)]
    saved = {path.name for path in states}
    resumable = {
        artifact.id
        for jobs in experiments
        for artifact in jobs.artifacts
        if artifact.id in saved and jobs.state(artifact) is not State.FINISHED
    }
    return (path for path in states if path.name not in resumable)


def _sources(needed: set[str]) -> Iterator[Path]:
    """Records of source code that made none of the artifacts that stay."""
    folders = [Path(path) for path in needed]
    folders += [path.parent / "report" for path in RESULTS.glob("*/grid.csv")]
    manifests = filter(None, map(read_manifest, folders))
    codes = {str(manifest.get("code")) for manifest in manifests}
    return (path for path in _children(SOURCES) if path.stem not in codes)


def _children(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _measured(path: Path, now: float) -> Unneeded:
    files = [path, *path.rglob("*")] if path.is_dir() else [path]
    stats = [file.lstat() for file in files]
    modified = max(stat.st_mtime for stat in stats)
    return Unneeded(path, sum(stat.st_size for stat in stats), (now - modified) / DAY)


def remove(path: Path) -> None:
    """Deletes a file or a folder; of a link, only the link."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def main(*, configs: Sequence[Path], delete: bool) -> int:
    """Prints what is unneeded, and deletes it if asked to."""
    if delete and snakemake_state.started() is not None:
        sys.exit(
            f"a Snakemake run holds {snakemake_state.SNAKEMAKE}/locks: wait until it has ended; if "
            "it was killed, run it again or type `snakemake --unlock`"
        )
    files = unneeded([Jobs.of_file(path) for path in configs], time.time())
    rows = [(file_size(item.bytes), f"{item.days:.1f} days", str(item.path)) for item in files]
    show_table(("size", "age", "path"), rows, right=("size", "age"))
    if delete:
        for item in files:
            remove(item.path)
    total = file_size(sum(item.bytes for item in files))
    print(f"{total} in {len(files)} files and folders {'deleted' if delete else 'unneeded'}")
    if files and not delete:
        print("to delete them, run the same command with --delete")
    return 0
