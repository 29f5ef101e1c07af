"""Lists what no experiment needs, with sizes and ages; deletes it on request.

That is: artifacts with their job files, logs, measured seconds and saved states, damaged artifacts
that were moved aside, records of source code that made no artifact, and Snakemake's records of what
is gone. A named configuration says what its experiment needs; any other experiment in `results/`
keeps what its `grid.csv` needs. Reports and published results stay, and so does every file that no
job has made. No link is followed out of `results/`.
"""

import binascii
import re
import sys
import time
from base64 import urlsafe_b64decode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from pipeline.artifacts import checksums
from pipeline.artifacts.checksums import MANIFEST
from pipeline.artifacts.stages import STAGES
from workflow.commands import snakemake_state
from workflow.commands.console import file_size, show_table
from workflow.commands.snakemake_state import SNAKEMAKE, modified
from workflow.jobs import job_files
from workflow.jobs.condition import State, read_manifest
from workflow.jobs.jobs import Jobs
from workflow.jobs.needed import Recorded
from workflow.jobs.rerun_reasons import RESULTS
from workflow.jobs.source_hash import RECORDS as SOURCES
from workflow.launch import run_lock

ID = r"[A-Za-z0-9_.-]+-[0-9a-f]{8}"
ARTIFACT = re.compile(ID)
TEMPORARY = re.compile(rf"\.{ID}\.\d+(\.old)?\.tmp")  # of a job that was killed while it wrote
DAMAGED = re.compile(rf"{ID}\.\d+")
LOCK = re.compile(rf"\.{ID}\.lock")  # pipeline.artifacts.lock
PART = re.compile(r"-part-[0-9]+-of-[0-9]+$")  # behind the id, in what the job of a part leaves
SOURCE = re.compile(r"[0-9a-f]{8}\.json")
RECORDED_PATH = re.compile(rf"results/({'|'.join([*STAGES, 'state'])})/({ID})(/.*)?")
DAY = 86_400  # seconds
LOG_DAYS = 30  # for which Snakemake's own logs are kept


@dataclass(frozen=True)
class Unneeded:
    """A file or folder that none of the experiments needs."""

    path: Path
    bytes: int
    days: float  # since it was last written to


@dataclass(frozen=True)
class Needs:
    """The ids of the artifacts that stay, and what is known of their jobs."""

    named: Sequence[Jobs]  # experiments whose configuration is given
    recorded: dict[str, set[str]]  # those of the other experiments, by experiment
    in_the_making: set[str]  # by a job that may run without any Snakemake

    @property
    def ids(self) -> set[str]:
        """All artifacts that stay."""
        named = {artifact.id for jobs in self.named for artifact in jobs.artifacts}
        return named.union(self.in_the_making, *self.recorded.values())

    def resumes(self, id: str) -> bool:
        """Whether a job is unfinished, as far as is known: its saved state is then of use."""
        if id in self.in_the_making:
            return True
        for jobs in self.named:
            if id in jobs.grid.by_id and jobs.state(jobs.grid.by_id[id]) is not State.FINISHED:
                return True
        if not any(id in ids for ids in self.recorded.values()):
            return False
        finished = max(modified(RESULTS / stage / id / MANIFEST) or 0 for stage in STAGES)
        return finished < (modified(RESULTS / "state" / id) or 0)


def needs(named: Sequence[Jobs], dropped: Sequence[str]) -> Needs:
    """What the experiments need; exits with a line where that can't be known."""
    recorded = Recorded(RESULTS).experiments
    if unknown := set(dropped) - set(recorded):
        known = ", ".join(recorded) or "none"
        sys.exit(f"--drop {sorted(unknown)[0]}: no experiment of results/; there are: {known}")
    if not named and not recorded:
        sys.exit("results/ holds no experiment: name the configurations (CONFIG) of those to keep")
    others = set(recorded) - {jobs.experiment for jobs in named} - set(dropped)
    if unreadable := sorted(name for name in others if not recorded[name]):
        sys.exit(
            f"results/{unreadable[0]}/grid.csv can't be read, so what {unreadable[0]} needs is not "
            f"known: name its configuration, or give the experiment up by --drop {unreadable[0]}"
        )
    kept = {name: ids for name, ids in recorded.items() if name in others}
    return Needs(named, kept, {*_in_the_making()})


def _in_the_making() -> Iterator[str]:
    """The ids of the artifacts that jobs are making now, or parts of which they are making."""
    yield from (path.name[1:-5] for path in _of_stages(LOCK) if _is_held(path))
    for state in _children(RESULTS / "state", ARTIFACT):
        if any(map(_is_held, state.glob(".*.lock"))):
            yield state.name


def _is_held(lock: Path) -> bool:
    try:
        with FileLock(lock, blocking=False):
            return False
    except Timeout:
        return True


def unneeded(needs: Needs, now: float) -> list[Unneeded]:
    """Everything that no experiment needs, the largest first."""
    ids = needs.ids
    paths = [
        *(path for stage in STAGES for path in _of_stage(stage, ids)),
        # a cluster's job may outlive the Snakemake that started it
        *(path for path in _of_stages(TEMPORARY) if _measured(path, now).days > 1),
        # a job that ends removes its lock, one that is killed can't
        *(path for path in _of_stages(LOCK) if path.name[1:-5] not in needs.in_the_making),
        *(path for path in _children(RESULTS / "state", ARTIFACT) if not needs.resumes(path.name)),
        *(path for stage in STAGES for path in _children(RESULTS / "damaged" / stage, DAMAGED)),
        *_sources(ids),
        *_records(ids),
        *(path for path in _children(SNAKEMAKE / "log") if _measured(path, now).days > LOG_DAYS),
    ]
    return sorted((_measured(path, now) for path in paths), key=lambda item: -item.bytes)


def _of_stage(stage: str, needed: set[str]) -> Iterator[Path]:
    """Artifacts of a stage, and the files that their jobs have left elsewhere."""
    for path in _children(RESULTS / stage, ARTIFACT):
        if path.name not in needed and _is_artifact(path):
            yield path
    for folder, suffix in (("jobs", ".json"), ("logs", ".log"), ("benchmarks", ".tsv")):
        for path in _children(RESULTS / folder / stage):
            id = PART.sub("", path.name.removesuffix(suffix))
            if ARTIFACT.fullmatch(id) and id not in needed:
                yield path


def _is_artifact(path: Path) -> bool:
    """Whether a job made it: its manifest or its job file says so."""
    manifest = None if path.is_symlink() else read_manifest(path)
    return (manifest or {}).get("id") == path.name or job_files.path_of(path).is_file()


def _of_stages(name: re.Pattern[str]) -> list[Path]:
    """What is under such a name in the folder of any stage."""
    return [path for stage in STAGES for path in _children(RESULTS / stage, name)]


def _sources(needed: set[str]) -> Iterator[Path]:
    """Records of source code that made none of the artifacts that stay."""
    folders = [RESULTS / stage / id for stage in STAGES for id in needed]
    folders += [path.parent / "report" for path in RESULTS.glob("*/grid.csv")]
    manifests = filter(None, map(read_manifest, folders))
    codes = {str(manifest.get("code")) for manifest in manifests}
    return (path for path in _children(SOURCES, SOURCE) if path.stem not in codes)


def _records(needed: set[str]) -> Iterator[Path]:
    """Snakemake's records of artifacts that don't stay: of how they were made, or begun."""
    for folder in (SNAKEMAKE / "metadata", SNAKEMAKE / "incomplete"):
        for path in filter(Path.is_file, folder.rglob("*")):
            match = RECORDED_PATH.fullmatch(_recorded_path(path, folder))
            if match and match[2] not in needed:
                yield path


def _recorded_path(record: Path, folder: Path) -> str:
    """The path of the output that a record is about; empty where its name is none of Snakemake."""
    encoded = "".join(part.removeprefix("@") for part in record.relative_to(folder).parts)
    try:
        return urlsafe_b64decode(encoded).decode()
    except (binascii.Error, ValueError):
        return ""


def _children(folder: Path, name: re.Pattern[str] = re.compile(r".*")) -> list[Path]:
    """What is in a folder under such a name; nothing where a link leads out of its root."""
    root = Path(folder.parts[0]).resolve()  # `results` and `.snakemake` may be links themselves
    if not folder.is_dir() or not folder.resolve().is_relative_to(root):
        return []
    return sorted(path for path in folder.iterdir() if name.fullmatch(path.name))


def _measured(path: Path, now: float) -> Unneeded:
    is_folder = path.is_dir() and not path.is_symlink()
    stats = [file.lstat() for file in ([path, *path.rglob("*")] if is_folder else [path])]
    last = max(stat.st_mtime for stat in stats)
    return Unneeded(path, sum(stat.st_size for stat in stats), (now - last) / DAY)


def _refuse_beside_a_run() -> None:
    if snakemake_state.started() is not None or run_lock.active_experiments():
        sys.exit(
            f"a Snakemake run holds {SNAKEMAKE}/locks: wait until it has ended; if it was killed, "
            "run it again or type `snakemake --unlock`"
        )


def main(*, configs: Sequence[Path], drop: Sequence[str], delete: bool) -> int:
    """Prints what is unneeded, and deletes it if asked to."""
    if delete:
        _refuse_beside_a_run()
    needed = needs([Jobs.of_file(path) for path in configs], drop)
    files = unneeded(needed, time.time())
    rows = [(file_size(item.bytes), f"{item.days:.1f} days", str(item.path)) for item in files]
    show_table(("size", "age", "path"), rows, right=("size", "age"))
    for item in files if delete else ():
        _refuse_beside_a_run()  # one that has begun meanwhile may need what is left
        checksums.remove(item.path)
    total = file_size(sum(item.bytes for item in files))
    print(f"{total} in {len(files)} files and folders {'deleted' if delete else 'unneeded'}")
    if needed.recorded:
        kept = ", ".join(f"{name} ({len(ids)} artifacts)" for name, ids in needed.recorded.items())
        print(
            f"kept for experiments whose configuration isn't named: {kept}; --drop NAME gives up "
            "what only NAME needs, but for its report"
        )
    if files and not delete:
        print("to delete them, run the same command with --delete (of make: with DELETE=yes)")
    return 0
