"""Snakemake's own records in this folder: whether a run is active, and the jobs it has started."""

from base64 import urlsafe_b64encode
from pathlib import Path

from workflow.launch import run_lock

SNAKEMAKE = Path(".snakemake")
LONGEST_NAME = 254  # characters of a record's name in one folder: Snakemake splits longer ones


def started() -> float | None:
    """When the Snakemake that holds this folder was started; None if none runs, or was killed."""
    return None if was_killed() else locked()


def locked() -> float | None:
    """Since when a Snakemake's lock is on this folder, whether that process is alive or not."""
    moments = map(modified, (SNAKEMAKE / "locks").glob("*.lock"))  # it may let go meanwhile
    return min((moment for moment in moments if moment is not None), default=None)


def was_killed() -> bool:
    """Whether the folder is locked by a Snakemake that is no longer alive."""
    return locked() is not None and run_lock.active_experiments() == []


def begun(output: str) -> float | None:
    """When the job that makes a path was started or submitted; None where it isn't active."""
    record = urlsafe_b64encode(output.encode()).decode()
    parts = [record[start : start + LONGEST_NAME] for start in range(0, len(record), LONGEST_NAME)]
    path = Path(SNAKEMAKE / "incomplete", *(f"@{part}" for part in parts[:-1]), parts[-1])
    return modified(path)


def modified(path: Path) -> float | None:
    """When a file was last written to; None where there is none."""
    try:
        return path.stat().st_mtime
    except OSError:
        return None
