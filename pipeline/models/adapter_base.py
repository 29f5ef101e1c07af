"""The model that saved adapters belong to: an artifact of its own, referred to by digest."""

import os
from pathlib import Path

from pipeline.artifacts import artifact
from pipeline.settings.training import Lora

BASE = "base.json"


def is_adapter(folder: Path) -> bool:
    """Whether an artifact holds adapters alone, to be added to another's weights."""
    return (folder / "model" / BASE).exists()


def lora_of(folder: Path) -> Lora:
    """The settings that an artifact's adapters were trained with."""
    return Lora.model_validate(artifact.read_json(folder / "model" / BASE)["lora"])


def write_base(model: Path, owner: Path, base: Path, lora: Lora) -> None:
    """Writes a reference to the frozen weights beside the adapters of the artifact `owner`."""
    content = artifact.content_digests({"base": base}).get("base")
    reference = {"path": os.path.relpath(base, owner), "content": content}
    artifact.write_json(model / BASE, reference | {"lora": lora.model_dump(mode="json")})


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
