"""How many positions a model has, in its configuration as saved; read without any library."""

from collections.abc import Mapping
from typing import Any

# Where families say how many positions they have, or were made for; ALiBi and recurrent ones
# (bloom, mamba, ..) have no such number.
CONFIG_KEYS = ("max_position_embeddings", "n_positions", "max_seq_len")
SHAPE_POSITIONS = 2048  # of a model of source `shape`, as transformers has it for a Llama


def max_positions(config: Mapping[str, Any]) -> int | None:
    """Positions of a model, from its configuration as saved; None where nothing limits them."""
    inner = config.get("text_config") or config  # of a model that reads more than text
    limits = [inner[name] for name in CONFIG_KEYS if isinstance(inner.get(name), int)]
    return limits[0] if limits and limits[0] > 0 else None
