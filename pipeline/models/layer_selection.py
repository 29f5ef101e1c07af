"""A shallower model: some layers of another one."""

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
    indices = [round(index * (len(layers) - 1) / (count - 1)) for index in range(count)]
    selected = torch.nn.ModuleList(layers[index] for index in indices)
    for index, layer in enumerate(selected):
        for module in layer.modules():
            if "layer_idx" in vars(module):
                vars(module)["layer_idx"] = index  # the KV cache is indexed by it
    setattr(holder, name, selected)
    _select_in_config(model.config, indices, len(layers))
    return model


def _layer_holder(model: PreTrainedModel) -> tuple[torch.nn.Module, str]:
    """The module that holds the list of layers, and the list's name in it."""
    paths = list(layer_lists(model))
    if len(paths) != 1:
        raise ValueError(
            f"layers_of: {type(model).__name__} keeps its layers in an unknown place "
            f"({len(paths)} lists of modules have its number of layers)"
        )
    holder, _, name = paths[0].rpartition(".")
    return model.get_submodule(holder), name


def layer_lists(model: PreTrainedModel) -> dict[str, torch.nn.ModuleList]:
    """The lists of modules that have a model's number of layers, by their paths in it."""
    return {
        path: module
        for path, module in model.named_modules()
        if isinstance(module, torch.nn.ModuleList) and len(module) == model.config.num_hidden_layers
    }


def _select_in_config(config: PreTrainedConfig, indices: list[int], count: int) -> None:
    """Restricts a configuration's lists to the layers kept, whatever their names.

    A list with as many entries as there are layers holds a property of each (`layer_types`,
    `no_rope_layers`); others that are named for it number some layers (`attn_layer_indices`). A
    prepared model is read again and compared, should that ever be wrong.
    """
    config.num_hidden_layers = len(indices)
    for name, value in config.to_dict().items():
        if not isinstance(value, list | tuple) or "token_id" in name:
            continue
        if len(value) == count:
            setattr(config, name, [value[index] for index in indices])
        elif value and NUMBERS_LAYERS.search(name) and set(value) <= set(range(count)):
            setattr(config, name, [indices.index(layer) for layer in value if layer in indices])
