"""The last layer of a teacher, stored beside its hidden states."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PreTrainedModel

from pipeline.artifacts import checksums
from pipeline.models.logits import LogitScaling, compute_logits
from pipeline.models.sharding import gather_head


@dataclass(frozen=True)
class LMHead:
    """Hidden states to logits."""

    linear: torch.nn.Linear
    scaling: LogitScaling

    def __call__(self, hidden: Float[Tensor, "tokens width"]) -> Float[Tensor, "tokens vocabulary"]:
        """The logits of every token of the vocabulary."""
        return compute_logits(self.linear, self.scaling, hidden)

    def on(self, device: torch.device) -> "LMHead":
        """Moved to a device for good."""
        self.linear.to(device)
        return self


def save(model: PreTrainedModel, path: Path) -> None:
    """Writes the head of a model, in the precision of its weights."""
    head = model.get_output_embeddings()
    assert head is not None
    gather_head(model)
    # not its state dict, for which a sharded model drops what it has gathered
    state = dict(head.named_parameters())
    save_file(
        {name: tensor.detach().cpu().clone().contiguous() for name, tensor in state.items()}, path
    )


def load(path: Path, scaling: LogitScaling) -> LMHead:
    """The head in a file. Raises ValueError where it is not as it was written."""
    checksums.verify(path.parent, path.name)
    return of_weights(load_file(path), scaling)


def of_weights(state: Mapping[str, Tensor], scaling: LogitScaling) -> LMHead:
    """The head of a weight, and maybe a bias: these, not copies, and without a gradient."""
    vocabulary, width = state["weight"].shape
    with torch.device("meta"):
        linear = torch.nn.Linear(width, vocabulary, bias="bias" in state)
    linear.load_state_dict(state, assign=True)
    return LMHead(linear.requires_grad_(False), scaling)
