"""Saved models, loaded so that every weight comes from a file.

transformers draws fresh weights for what a file lacks, and says so in a notice alone. Here that is
an error: a model with random weights in it is another model.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypedDict

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

# what DistributedDataParallel, torch.compile, FSDP and activation checkpointing put before a name
WRAPPERS = r"(?:^module\.|_orig_mod\.|_fsdp_wrapped_module\.|_checkpoint_wrapped_module\.)+"
CAUSAL_MASK = r"att(n|ention)\.(masked_)?bias$"  # a table that older versions saved beside weights
NAMED = 4  # keys that an error lists


class LoadingInfo(TypedDict):
    """The report of transformers on a load."""

    missing_keys: set[str]
    unexpected_keys: set[str]
    mismatched_keys: set[tuple[str, tuple[int, ...], tuple[int, ...]]]
    error_msgs: list[str]


@dataclass(frozen=True)
class LoadedModel:
    """A model, and whether its keys had the prefix of a wrapper, such as `_orig_mod.`."""

    model: PreTrainedModel
    unwrapped: bool = False


def load(
    source: str | Path,
    dtype: torch.dtype = torch.float32,
    revision: str = "main",
    gguf_file: str | None = None,
) -> LoadedModel:
    """The model in a folder, or of a name on the hub, on the CPU.

    Raises:
        ValueError: for a quantised model or one that isn't a causal language model, and for files
            that lack weights, have some that the model has no place for, or of another shape.
        OSError: if the hub can't be reached.
    """
    if gguf_file is None:
        check_kind(source, AutoConfig.from_pretrained(source, revision=revision))
    from_pretrained: Any = AutoModelForCausalLM.from_pretrained  # typed without loading info
    read = partial(
        from_pretrained,
        source,
        revision=revision,
        gguf_file=gguf_file,
        use_safetensors=None if gguf_file else True,
        dtype=dtype,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # so that they are named below
    )
    return _whole(source, read)


def _whole(
    source: str | Path, read: Callable[..., tuple[PreTrainedModel, LoadingInfo]]
) -> LoadedModel:
    model, info = read()
    unwrapped = any(re.search(WRAPPERS, key) for key in info["unexpected_keys"])
    if unwrapped:
        model, info = read(key_mapping={WRAPPERS: ""})
        # what was changed in loading is undone in saving: the prefix must not come back
        conversions = vars(model)["_weight_conversions"]
        remaining = [each for each in conversions if WRAPPERS not in each.source_patterns]
        vars(model)["_weight_conversions"] = remaining
    if faults := _faults(info):
        raise ValueError(
            f"{source}: the saved weights are not those of {type(model).__name__}: "
            f"{'; '.join(faults)}. Random ones would take their place: save the model again"
        )
    return LoadedModel(model, unwrapped)


def _faults(info: LoadingInfo) -> list[str]:
    other = {
        f"{key} {list(saved)} instead of {list(wanted)}"
        for key, saved, wanted in info["mismatched_keys"]
    }
    kinds = {
        "missing": info["missing_keys"],
        "without a place": {
            key for key in info["unexpected_keys"] if not re.search(CAUSAL_MASK, key)
        },
        "of another shape": other,
    }
    return [f"{title}: {_some(sorted(keys))}" for title, keys in kinds.items() if keys]


def _some(keys: list[str]) -> str:
    more = f" and {len(keys) - NAMED} more" if len(keys) > NAMED else ""
    return ", ".join(keys[:NAMED]) + more


def check_kind(source: str | Path, config: PreTrainedConfig) -> None:
    """Raises ValueError for what can't be read here: not causal, or with quantised weights."""
    kind = config.model_type
    if getattr(config, "is_encoder_decoder", False):
        raise ValueError(f"{source}: {kind} is an encoder-decoder; only decoders are supported")
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise ValueError(f"{source}: {kind} is not a causal language model of transformers")
    if getattr(config, "quantization_config", None):
        raise ValueError(
            f"{source}: its weights are quantised (quantization_config in config.json), and such "
            "weights are not read; name the model that it was made from, or save it de-quantised"
        )
