"""A model made of some layers of another."""

import re

import torch
from transformers import PreTrainedConfig, PreTrainedModel

NUMBERS_LAYERS = re.compile(r"layers$|layer_(indices|ids|idxs)$")


def select_layers(model: PreTrainedModel, count: int) -> PreTrainedModel:
    """Evenly spaced layers of a model, the first and the last among them.

    Raises: ValueError if it has fewer layers, or keeps them where we do not know to look.
    """
    holder, name = _layer_holder(model)
    layers = getattr(holder, name)
    if count > len(layers):
        raise ValueError(f"layers = {count}: the model has {len(layers)}")
    kept = [round(at * (len(layers) - 1) / (count - 1)) for at in range(count)]
    chosen = torch.nn.ModuleList(layers[at] for at in kept)
    for at, layer in enumerate(chosen):
        for module in layer.modules():
            if hasattr(module, "layer_idx"):
                module.layer_idx = at  # the KV cache is indexed by it
    setattr(holder, name, chosen)
    _cut(model.config, kept, len(layers))
    return model


def _layer_holder(model: PreTrainedModel) -> tuple[torch.nn.Module, str]:
    """The module that holds the list of layers, and the list's name in it."""
    found = []
    for path, module in model.named_modules():
        is_list = isinstance(module, torch.nn.ModuleList)
        if is_list and len(module) == model.config.num_hidden_layers:
            holder, _, name = path.rpartition(".")
            found.append((model.get_submodule(holder), name))
    if len(found) != 1:
        raise ValueError(
            f"layers_of: {type(model).__name__} keeps its layers in an unknown place "
            f"({len(found)} lists of modules have its number of layers)"
        )
    return found[0]


def _cut(config: PreTrainedConfig, kept: list[int], count: int) -> None:
    """Takes over what a configuration says of the layers kept, under whatever names.

    A list with as many entries as there are layers holds a property of each (`layer_types`,
    `no_rope_layers`); others that are named for it number some layers (`attn_layer_indices`). A
    prepared model is read again and compared, should that ever be wrong.
    """
    config.num_hidden_layers = len(kept)
    for name, value in config.to_dict().items():
        if not isinstance(value, list | tuple) or "token_id" in name:
            continue
        if len(value) == count:
            setattr(config, name, [value[at] for at in kept])
        elif value and NUMBERS_LAYERS.search(name) and set(value) <= set(range(count)):
            setattr(config, name, [kept.index(at) for at in value if at in kept])
