"""Which artifacts are finished: there, whole, and made by the code of today."""

import json
from enum import Enum
from pathlib import Path
from typing import Any

from pipeline.artifacts.artifact import MANIFEST


class State(Enum):
    """How an artifact stands on the disk."""

    ABSENT = "absent"
    OUTDATED = "outdated"  # by other code, or without a readable manifest
    FINISHED = "finished"


def state(folder: Path, id: str, code: str) -> State:
    """The state of the artifact `id` in `folder`, which `code` would make."""
    made = manifest(folder)
    if made is None:
        return State.OUTDATED if folder.exists() else State.ABSENT
    same = made.get("id") == id and made.get("code") == code
    return State.FINISHED if same else State.OUTDATED


def manifest(folder: Path) -> dict[str, Any] | None:
    """What an artifact says of itself; None if it is not there or not whole.

    Raises: ValueError where it may not be read.
    """
    try:
        found = json.loads((folder / MANIFEST).read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    except PermissionError:
        place = folder / MANIFEST
        raise ValueError(f"{place} may not be read: give this user the permission") from None
    return found if isinstance(found, dict) else None
