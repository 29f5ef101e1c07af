"""What the manifest of a cache says of how to read it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from pipeline import artifacts
from pipeline.settings.teacher import Tier

OCTAVES = b"octaves"  # in the metadata of a shard: the order of its vocabulary
HEAD = "head.safetensors"


@dataclass(frozen=True)
class Facts:
    """How a cache was written."""

    tier: Tier
    vocabulary: int
    shards: list[str]
    k: int | None = None  # of top_k: tokens in a support
    temperatures: tuple[float, ...] = ()  # of top_k
    draws: int | None = None  # of sampled
    softcap: float | None = None  # of hidden: of the head's logits

    def manifest(self) -> dict[str, Any]:
        """As it stands in the manifest."""
        return asdict(self)


def facts(manifest: Mapping[str, Any], path: Path) -> Facts:
    """What a manifest says. Raises ValueError, naming it, for that of another kind of cache."""
    names = [field.name for field in fields(Facts)]
    if missing := [name for name in names if name not in manifest]:
        raise ValueError(f"{path} lacks {missing}: delete {path.parent} and run again")
    found = {name: manifest[name] for name in names}
    return Facts(**found | {"temperatures": tuple(found["temperatures"])})


def read_facts(folder: Path) -> Facts:
    """How the cache in a folder was written."""
    path = folder / artifacts.MANIFEST
    return facts(artifacts.read_json(path), path)
