"""The matrices that autocast would cast at each use."""

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D


def halve_matrices(model: PreTrainedModel, but: torch.nn.Module | None = None) -> None:
    """Makes a model's matrices bfloat16 for good, `but` for those of one layer.

    The numbers are those of autocast, in half the memory. One that is a table of embeddings too
    stays as it is, for what is looked up isn't cast.
    """
    tables: set[Tensor] = {
        module.weight for module in model.modules() if isinstance(module, torch.nn.Embedding)
    }
    for layer in model.modules():
        if layer is but or not isinstance(layer, torch.nn.Linear | Conv1D):
            continue
        if type(layer) in (torch.nn.Linear, Conv1D) and layer.weight not in tables:
            layer.weight.data = layer.weight.data.bfloat16()
