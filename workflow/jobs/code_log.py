"""A note of every source that made artifacts: by it a plan names the files that have changed."""

import json
from collections.abc import Mapping
from pathlib import Path

from pipeline.artifacts.artifact import atomic_write

FOLDER = Path("results/sources")

Sources = dict[str, str]  # a digest of each file that counts for a stage


def note(code: str, sources: Mapping[str, str]) -> None:
    """Keeps the files behind a digest, where they aren't kept yet."""
    path = FOLDER / f"{code}.json"
    if not path.exists():
        with atomic_write(path) as temporary:
            temporary.write_text(json.dumps(sources, indent=1))


def noted(code: str) -> Sources | None:
    """The files behind a digest; None if nobody has noted them."""
    try:
        found = json.loads((FOLDER / f"{code}.json").read_bytes())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def changed(old: Mapping[str, str], new: Mapping[str, str]) -> tuple[str, ...]:
    """The files that differ, are new, or are no longer used."""
    return tuple(one for one in sorted({*old, *new}) if old.get(one) != new.get(one))
