"""What no given experiment needs, with sizes and ages; deleted only when told to.

python -m workflow.commands.prune config.yaml configs/mine.yaml [--delete]

Listed are artifacts, their logs, measured seconds and saved states, damaged artifacts that were
moved aside, and notes of code that no artifact was made by. Reports and what was published stay
whatever the configurations are, and so does everything that this program has no name for.
"""

import argparse
import re
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from workflow.commands import running
from workflow.commands.plan import RESULTS
from workflow.jobs import finished, read_config
from workflow.jobs.code_log import FOLDER as SOURCES
from workflow.jobs.finished import State
from workflow.jobs.jobs import MODULES, Jobs

ID = re.compile(r"[A-Za-z0-9_.-]+-[0-9a-f]{8}")
LEFT = re.compile(r"\..+\.\d+(\.old)?\.tmp")  # by a job that was killed while it wrote
DAY = 86_400
UNITS = ("B", "kB", "MB", "GB", "TB")


@dataclass(frozen=True)
class Unneeded:
    """A file or folder that none of the experiments needs."""

    path: Path
    bytes: int
    days: float  # since it was last written to


def unneeded(experiments: Sequence[Jobs], now: float) -> list[Unneeded]:
    """Everything in `results/` that the experiments don't need, the largest first."""
    needed = {one.path for jobs in experiments for one in jobs.grid.artifacts.values()}
    paths = [
        *(path for stage in MODULES for path in _of_stage(stage, needed)),
        *(path for stage in MODULES for path in _leftovers(stage, now)),
        *_states(experiments),
        *_children(RESULTS / "damaged"),
        *_sources(needed),
    ]
    return sorted((_measured(path, now) for path in paths), key=lambda one: -one.bytes)


def _of_stage(stage: str, needed: set[str]) -> Iterator[Path]:
    for path in _children(RESULTS / stage):
        if ID.fullmatch(path.name) and f"results/{stage}/{path.name}" not in needed:
            yield path
    for kind, suffix in (("logs", ".log"), ("benchmarks", ".tsv")):
        for path in _children(RESULTS / kind / stage):
            id = path.name.removesuffix(suffix)
            if ID.fullmatch(id) and f"results/{stage}/{id}" not in needed:
                yield path


def _leftovers(stage: str, now: float) -> Iterator[Path]:
    """Those older than a day: a job on a cluster may outlive the Snakemake that started it."""
    for path in _children(RESULTS / stage):
        if LEFT.fullmatch(path.name) and _measured(path, now).days > 1:
            yield path


def _states(experiments: Sequence[Jobs]) -> Iterator[Path]:
    """Those of jobs that are done, or that nobody needs."""
    found = [path for path in _children(RESULTS / "state") if ID.fullmatch(path.name)]
    saved = {path.name for path in found}
    going_on = {
        one.id
        for jobs in experiments
        for one in jobs.grid.artifacts.values()
        if one.id in saved and jobs.state(one) is not State.FINISHED
    }
    return (path for path in found if path.name not in going_on)


def _sources(needed: set[str]) -> Iterator[Path]:
    """Notes of code by which nothing was made that stays."""
    folders = [Path(one) for one in needed]
    folders += [path.parent / "report" for path in RESULTS.glob("*/grid.csv")]
    codes = {str(made.get("code")) for one in folders if (made := finished.manifest(one))}
    return (path for path in _children(SOURCES) if path.stem not in codes)


def _children(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _measured(path: Path, now: float) -> Unneeded:
    files = [path, *path.rglob("*")] if path.is_dir() else [path]
    facts = [one.lstat() for one in files]
    size = sum(one.st_size for one in facts)
    return Unneeded(path, size, (now - max(one.st_mtime for one in facts)) / DAY)


def size(count: float) -> str:
    """So many bytes in the unit that suits them."""
    unit = 0
    while count >= 1000 and unit < len(UNITS) - 1:
        count, unit = count / 1000, unit + 1
    return f"{count:.0f} {UNITS[unit]}" if unit == 0 else f"{count:.1f} {UNITS[unit]}"


def delete(path: Path) -> None:
    """Removes a file or a folder; of a link, the link alone."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def main() -> None:
    """Prints what is unneeded, and deletes it if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("configs", type=Path, nargs="+", help="all experiments that are to stay")
    parser.add_argument("--delete", action="store_true")
    options = parser.parse_args()
    if options.delete and running.started() is not None:
        sys.exit(
            f"a Snakemake holds {running.SNAKEMAKE}/locks: wait until it has ended; if it was "
            "killed, start it again, or run `snakemake --unlock`"
        )
    found = unneeded([read_config.jobs(path) for path in options.configs], time.time())
    for one in found:
        print(f"{size(one.bytes):>9}  {one.days:6.1f} days  {one.path}")
        if options.delete:
            delete(one.path)
    total, done = size(sum(one.bytes for one in found)), "deleted" if options.delete else "unneeded"
    print(f"{total} in {len(found)} files and folders {done}")
    if found and not options.delete:
        print("to delete them, run the same command with --delete")


if __name__ == "__main__":
    main()
