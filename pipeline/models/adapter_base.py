"""The model that saved adapters belong to: an artifact of its own, referred to by digest."""

import os
from pathlib import Path

from pipeline.artifacts import artifact

BASE = "base.json"


def is_adapter(folder: Path) -> bool:
    """Whether an artifact holds adapters alone, to be added to another's weights."""
    return (folder / "model" / BASE).exists()


def write_base(model: Path, owner: Path, base: Path) -> None:
    """Writes a reference to the frozen weights beside the adapters of the artifact `owner`."""
    content = artifact.content_digests({"base": base}).get("base")
    artifact.write_json(model / BASE, {"path": os.path.relpath(base, owner), "content": content})


def base_of(folder: Path) -> Path:
    """The artifact whose weights an artifact's adapters are added to.

    Raises: ValueError if it is missing, or no longer what the adapters were trained on.
    """
    reference = artifact.read_json(folder / "model" / BASE)
    # by name alone: a stage's folder may be a link to another disk
    base = Path(os.path.normpath(folder / reference["path"]))
    if not (base / "model").is_dir():
        raise ValueError(f"{folder} holds adapters of {base}, which is missing: run again")
    content = artifact.content_digests({"base": base}).get("base")
    if content != reference["content"]:
        raise ValueError(
            f"{folder} holds adapters of {base} as it was ({reference['content']}), and its "
            f"content is another now ({content}): delete {folder} and run again"
        )
    return base
