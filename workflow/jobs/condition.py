"""The condition of an artifact on disk, as its manifest and the sizes of its files tell it.

No file's content is read: that is left to the jobs, each of which checks what it reads.
"""

import os
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from pipeline.artifacts import checksums


class State(Enum):
    """The state of an artifact on disk."""

    ABSENT = "absent"
    OUTDATED = "outdated"  # made by other code
    DAMAGED = "damaged"  # as far as its manifest and the sizes of its files show
    FINISHED = "finished"


@dataclass(frozen=True)
class Condition:
    """The state of an artifact, and the damage to it in words."""

    state: State
    damage: str = ""


def condition(folder: Path, id: str, code: str) -> Condition:
    """The condition of the artifact `id` in `folder`, which `code` would make.

    Raises: ValueError if it may not be read.
    """
    if not os.path.lexists(folder):
        return Condition(State.ABSENT)
    try:
        manifest = checksums.undamaged_manifest(folder)
        damage = checksums.fault_of_sizes(folder, manifest)
    except PermissionError as error:
        raise _forbidden(error) from None
    except FileNotFoundError as error:
        return Condition(State.DAMAGED, f"{error.filename} is missing")
    except OSError as error:
        return Condition(State.DAMAGED, f"{folder} is damaged: {error.strerror}")
    except ValueError as error:
        return Condition(State.DAMAGED, str(error))
    if manifest.get("id") != id:
        damage = f"{folder} holds {manifest.get('id')}"
    if damage:
        return Condition(State.DAMAGED, damage)
    return Condition(State.FINISHED if manifest.get("code") == code else State.OUTDATED)


def is_whole(folder: Path) -> bool:
    """Whether what is in a folder has its manifest, and files of the sizes that it names."""
    manifest = read_manifest(folder)
    return manifest is not None and checksums.fault_of_sizes(folder, manifest) is None


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """An artifact's manifest; None if it is missing or damaged."""
    try:
        return checksums.undamaged_manifest(folder)
    except PermissionError as error:
        raise _forbidden(error) from None
    except (OSError, ValueError):
        return None


def _forbidden(error: PermissionError) -> ValueError:
    return ValueError(f"{error.filename} may not be read: give this user the right")
