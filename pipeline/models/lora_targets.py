"""Which layers of a model get adapters, by the names of its linear layers; without any library."""

from collections.abc import Iterable, Sequence

# queries and values, as in LoRA's paper; then one layer for all three: GPT-2, GPT-NeoX, Phi-3
QUERIES_AND_VALUES = ("q_proj", "v_proj", "c_attn", "query_key_value", "qkv_proj")

Targets = str | Sequence[str] | None  # "all-linear", names, or None: queries and values


def matched(targets: Targets, layers: Sequence[str]) -> list[str]:
    """The layers among these that get adapters."""
    if targets == "all-linear":
        return list(layers)
    return [
        layer
        for layer in layers
        if any(_is_named(layer, name) for name in (targets or QUERIES_AND_VALUES))
    ]


def fault_of(targets: Targets, layers: Sequence[str]) -> str:
    """What a model with these linear layers lacks of the targets, and what is allowed, if any."""
    if not (missing := _unmatched(targets, layers)):
        return ""
    allowed = ", ".join(last_parts(layers))
    return (
        f"has no linear layer named {' or '.join(missing)}; allowed: 'all-linear', or some of "
        f"{allowed}"
    )


def last_parts(names: Iterable[str]) -> list[str]:
    """The different names of layers within their blocks, sorted."""
    return sorted({name.rpartition(".")[2] for name in names})


def _unmatched(targets: Targets, layers: Sequence[str]) -> list[str]:
    """The targets that none of these layers is named by; of the default ones, all or none."""
    if targets == "all-linear":
        return [] if layers else ["all-linear"]
    missing = [
        name
        for name in (targets or QUERIES_AND_VALUES)
        if not any(_is_named(layer, name) for layer in layers)
    ]
    return [] if targets is None and len(missing) < len(QUERIES_AND_VALUES) else missing


def _is_named(layer: str, name: str) -> bool:
    return f".{layer}".endswith(f".{name}")
