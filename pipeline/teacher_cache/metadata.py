"""What the manifest of a cache says of how to read it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from pipeline.artifacts import artifact
from pipeline.settings.teacher import Tier
from pipeline.settings.training import Precision

FORMAT = 2  # of the shards; another number is not read
OCTAVES = b"octaves"  # in the metadata of a shard: the order of its vocabulary
HEAD = "head.safetensors"


@dataclass(frozen=True)
class Facts:
    """How a cache was written."""

    tier: Tier
    vocabulary: int
    shards: list[str]
    k: int | None = None  # of top_k: tokens in a support
    draws: int | None = None  # of sampled
    hidden_scale: float = 1.0  # of hidden, as the two that follow: see `pipeline.models.logits`
    logit_scale: float = 1.0
    softcap: float | None = None
    precision: Precision = "auto"  # that the teacher read the texts in
    format: int = FORMAT

    def manifest(self) -> dict[str, Any]:
        """As it stands in the manifest."""
        return asdict(self)


def facts(manifest: Mapping[str, Any], path: Path) -> Facts:
    """What a manifest says. Raises ValueError, naming it, for that of another kind of cache."""
    names = [field.name for field in fields(Facts)]
    if missing := [name for name in names if name not in manifest]:
        raise ValueError(f"{path} lacks {missing}: delete {path.parent} and run again")
    found = Facts(**{name: manifest[name] for name in names})
    if found.format != FORMAT:
        raise ValueError(
            f"{path}: format = {found.format} of a cache, {FORMAT} is read here: delete "
            f"{path.parent} and run again"
        )
    return found


def read_facts(folder: Path) -> Facts:
    """How the cache in a folder was written."""
    path = folder / artifact.MANIFEST
    return facts(artifact.read_json(path), path)
