"""What Snakemake's own folder says of a run: whether one goes on, and which jobs it has started."""

from base64 import urlsafe_b64encode
from pathlib import Path

from workflow.launch import run_lock

SNAKEMAKE = Path(".snakemake")
LONGEST = 254  # characters of a path's record in one folder: Snakemake splits longer ones


def started() -> float | None:
    """When the Snakemake that holds this folder began; None if none does, or if it was killed."""
    return None if was_killed() else locked()


def locked() -> float | None:
    """Since when a Snakemake's lock is on this folder, whatever has become of that one."""
    locks = [path.stat().st_mtime for path in (SNAKEMAKE / "locks").glob("*.lock")]
    return min(locks, default=None)


def was_killed() -> bool:
    """Whether the folder is locked by a Snakemake that lives no more."""
    return locked() is not None and run_lock.at_work() == []


def begun(output: str) -> float | None:
    """When the job that makes a path was started or submitted; None where it isn't under way."""
    record = urlsafe_b64encode(output.encode()).decode()
    parts = [record[at : at + LONGEST] for at in range(0, len(record), LONGEST)]
    path = Path(SNAKEMAKE / "incomplete", *(f"@{one}" for one in parts[:-1]), parts[-1])
    return changed(path)


def changed(path: Path) -> float | None:
    """When a file was last written to; None where it isn't there."""
    try:
        return path.stat().st_mtime
    except OSError:
        return None
