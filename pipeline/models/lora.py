"""LoRA by `peft`: a frozen model, and beside some of its layers two small matrices that learn.

E. Hu, Y. Shen, P. Wallis, et al., 2021. LoRA: Low-Rank Adaptation of Large Language Models.
arXiv:2106.09685, section 4.1: a layer gives W x + s B A x, with W frozen, s = alpha / rank, and B
zero at first, so that training begins at the model as it was. Where a family keeps queries, keys
and values in one layer, the adapter is on the whole of it.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft import (
    LoraConfig,
    get_peft_model_state_dict,
    inject_adapter_in_model,
    set_peft_model_state_dict,
)
from peft.tuners.lora import LoraLayer, LoraModel
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoConfig, GenerationConfig, PreTrainedModel
from transformers.pytorch_utils import Conv1D

from pipeline.models.lora_targets import fault_of, last_parts, matched
from pipeline.models.trainable import sum_gradients
from pipeline.runtime.diverged import Diverged
from pipeline.runtime.ranks import ALONE, Ranks
from pipeline.runtime.transfer import AsyncScalars
from pipeline.settings.training import Lora

ADAPTER = "default"  # peft's name of the only one
WEIGHTS = "adapter_model.safetensors"
WRAPPED = "base_model.model."  # what the names of weights begin with in peft's own files


def attach(model: PreTrainedModel, lora: Lora, seed: int) -> list[torch.nn.Parameter]:
    """Freezes a model and adds adapters to it, in evaluation mode; returns their weights.

    They are float32 beside bfloat16 matrices, and drawn as peft draws them.

    Raises: ValueError if a target is the name of no linear layer below the head.
    """
    layers = {
        name: layer
        for name, layer in model.named_modules()
        if isinstance(layer, torch.nn.Linear | Conv1D)
        and layer is not model.get_output_embeddings()
    }
    if fault := fault_of(lora.targets, list(layers)):
        raise ValueError(f"training.lora.targets: {type(model).__name__} {fault}")
    targets = matched(lora.targets, list(layers))
    options: dict[str, Any] = {
        "r": lora.rank,
        "lora_alpha": lora.alpha,  # any number will do, whatever its type says
        "lora_dropout": lora.dropout,
        "target_modules": last_parts(targets),
        "fan_in_fan_out": isinstance(layers[targets[0]], Conv1D),  # its weight is transposed
        "task_type": "CAUSAL_LM",
    }
    inject_adapter_in_model(LoraConfig(**options), model)
    rng = torch.Generator().manual_seed(seed)
    adapted = [module for module in model.modules() if isinstance(module, LoraLayer)]
    pairs = [_begin(layer, rng) for layer in adapted]
    model.eval()
    return [weight for pair in pairs for weight in pair]


def _begin(layer: LoraLayer, rng: torch.Generator) -> tuple[torch.nn.Parameter, ...]:
    """A and B of a layer at their start: A as peft draws it, on the CPU, and B zero."""
    layer.cast_input_dtype_enabled = False  # autocast does it, without a copy in float32
    down, up = layer.lora_A[ADAPTER].weight, layer.lora_B[ADAPTER].weight
    assert isinstance(down, torch.nn.Parameter)
    assert isinstance(up, torch.nn.Parameter)
    for weight in (down, up):
        if weight.dtype == torch.bfloat16:
            weight.data = weight.data.float()

    start = torch.empty(down.shape, dtype=down.dtype)
    torch.nn.init.kaiming_uniform_(start, a=math.sqrt(5), generator=rng)
    down.data.copy_(start)
    up.data.zero_()
    return down, up


def save(model: PreTrainedModel, folder: Path, base: str) -> None:
    """Writes adapters as peft does, with the model's configuration; `base` is their model's path.

    Beside the weights alone, peft and transformers read such a folder.
    """
    folder.mkdir(parents=True)
    weights: dict[str, Tensor] = get_peft_model_state_dict(model)
    tensors = {f"{WRAPPED}{name}": weight.contiguous() for name, weight in weights.items()}
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    config: LoraConfig = vars(model)["peft_config"][ADAPTER]
    config.base_model_name_or_path = base
    config.inference_mode = True
    config.save_pretrained(str(folder))
    model.config.save_pretrained(folder)
    if model.generation_config is not None:
        model.generation_config.save_pretrained(folder)


def load_weights(model: PreTrainedModel, folder: Path) -> None:
    """Puts saved adapters into those of a model."""
    saved = load_file(folder / WEIGHTS)
    names = {name.removeprefix(WRAPPED): weight for name, weight in saved.items()}
    result = set_peft_model_state_dict(model, names)
    assert not result.unexpected_keys


def merge(base: PreTrainedModel, folder: Path) -> PreTrainedModel:
    """The model of saved adapters: their products added to the weights that were frozen."""
    config = LoraConfig.from_pretrained(str(folder))
    adapted = LoraModel(base, config, ADAPTER)
    load_weights(base, folder)
    model = adapted.merge_and_unload()
    assert isinstance(model, PreTrainedModel)
    model.config.eos_token_id = AutoConfig.from_pretrained(folder).eos_token_id
    model.generation_config = GenerationConfig.from_pretrained(folder)
    return model.requires_grad_(True)


class LoraOptimizer:
    """A model's adapters and their optimizer: AdamW at a constant rate, without weight decay."""

    def __init__(
        self, model: PreTrainedModel, rank: int, scale: float, learning_rate: float, seed: int
    ):
        self.model = model
        self.weights = attach(model, Lora(rank=rank, alpha=scale * rank, dropout=0.0), seed)
        rng = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for down in self.weights[::2]:  # as in the paper, A is normal
                start = torch.randn(down.shape, generator=rng, dtype=down.dtype)
                down.copy_(start / math.sqrt(down.shape[1]))
        self.adamw = torch.optim.AdamW(self.weights, lr=learning_rate, weight_decay=0.0)
        self.pending: tuple[int, AsyncScalars] | None = None  # is the last gradient finite?

    def step(self, step: int, ranks: Ranks = ALONE) -> None:
        """A step along the gradients that the adapters hold, those of all ranks together.

        Raises: Diverged if those of the step before were not finite: a GPU isn't waited for.
        """
        self.check_finite()
        sum_gradients(self.weights, ranks)
        gradients = [weight.grad for weight in self.weights if weight.grad is not None]
        assert len(gradients) == len(self.weights)
        finite = torch.stack([gradient.isfinite().all() for gradient in gradients]).all()
        self.pending = step, AsyncScalars([finite])
        self.adamw.step()
        self.adamw.zero_grad(set_to_none=True)

    def check_finite(self) -> None:
        """Raises Diverged if the gradients of the last step were not finite."""
        if self.pending is None:
            return
        (step, scalars), self.pending = self.pending, None
        if not scalars.read()[0]:
            raise Diverged(
                f"the teacher's gradient is not finite at step {step + 1}; "
                "a lower adapter_rate may help"
            )

    def state_dict(self) -> dict[str, Any]:
        """Everything that a later process needs to resume. Raises Diverged as `check_finite`."""
        self.check_finite()
        weights = [weight.detach() for weight in self.weights]
        return {"weights": weights, "optimizer": self.adamw.state_dict()}

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resumes from a saved state."""
        saved: Sequence[Tensor] = state["weights"]
        for weight, value in zip(self.weights, saved, strict=True):
            weight.copy_(value)
        self.adamw.load_state_dict(state["optimizer"])
