"""Which layers of a model get adapters, by the names of its linear layers; without any library."""

from collections.abc import Sequence

# queries and values, as in LoRA's paper; then one layer for all three: GPT-2, GPT-NeoX, Phi-3
QUERIES_AND_VALUES = ("q_proj", "v_proj", "c_attn", "query_key_value", "qkv_proj")

Targets = str | Sequence[str] | None  # "all-linear", names, or None: queries and values


def matched(targets: Targets, layers: Sequence[str]) -> list[str]:
    """The layers among these that get adapters."""
    if targets == "all-linear":
        return list(layers)
    return [layer for layer in layers if any(_is_named(layer, name) for name in _names(targets))]


def unmatched(targets: Targets, layers: Sequence[str]) -> list[str]:
    """The targets that none of these layers is named by; of the default ones, all or none."""
    if targets == "all-linear":
        return [] if layers else ["all-linear"]
    missing = [
        name for name in _names(targets) if not any(_is_named(layer, name) for layer in layers)
    ]
    return [] if targets is None and len(missing) < len(QUERIES_AND_VALUES) else missing


def _names(targets: Targets) -> Sequence[str]:
    return QUERIES_AND_VALUES if targets is None else targets


def _is_named(layer: str, name: str) -> bool:
    return f".{layer}".endswith(f".{name}")
