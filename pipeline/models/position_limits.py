"""How many positions a model has, in its configuration as saved; read without any library."""

from collections.abc import Mapping
from typing import Any

# Where families say how many positions they have, or were made for; ALiBi and recurrent ones
# (bloom, mamba, ..) have no such number.
CONFIG_KEYS = ("max_position_embeddings", "n_positions", "max_seq_len")
ROTATIONS = ("rope_parameters", "rope_scaling")  # of rotary positions: settings, or by layers
ORIGINAL = "original_max_position_embeddings"
# Rotations that one longer text changes for all texts read with it, and for what a cache holds: a
# text's numbers would be those of its batch, so that such a model ends where they change.
LONG_ROTATIONS = ("longrope", "su")
SHAPE_POSITIONS = 2048  # of a model of source `shape`, as transformers has it for a Llama


def max_positions(config: Mapping[str, Any]) -> int | None:
    """Positions of a model, from its configuration as saved; None where nothing limits them."""
    inner = config.get("text_config") or config  # of a model that reads more than text
    limits = [inner[name] for name in CONFIG_KEYS if isinstance(inner.get(name), int)][:1]
    limits += _ends_of_rotations(inner)
    return min(limits) if limits and min(limits) > 0 else None


def _ends_of_rotations(config: Mapping[str, Any]) -> list[int]:
    """The positions at which rotations change; none for most models."""
    blocks = [config[name] for name in ROTATIONS if isinstance(config.get(name), Mapping)]
    layers = [layer for block in blocks for layer in block.values() if isinstance(layer, Mapping)]
    ends = [
        settings.get(ORIGINAL, config.get(ORIGINAL))
        for settings in (*blocks, *layers)
        if settings.get("rope_type", settings.get("type")) in LONG_ROTATIONS
    ]
    return [end for end in ends if isinstance(end, int)]
