"""Reading text with a causal language model: only response positions ever reach the head."""

from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel
from transformers import PreTrainedTokenizerBase as Tokenizer

from pipeline import integrity
from pipeline.texts import Batch
from pipeline.workload import note_positions, note_scores

Precision = Literal["auto", "float32", "bfloat16"]


def default_device() -> torch.device:
    """The first GPU that the job may see, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def load(folder: Path, device: torch.device, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    """The model of an artifact, without dropout. Raises ValueError if there is none."""
    weights = folder / "model"
    if not (weights / "config.json").exists():
        raise ValueError(f"{weights} holds no model; delete {folder} and run again")
    integrity.check(folder, "model/*")
    model = AutoModelForCausalLM.from_pretrained(weights, dtype=dtype, use_safetensors=True)
    return model.to(device).eval()


def load_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer beside the model of an artifact."""
    return AutoTokenizer.from_pretrained(folder / "model")


def parameter_count(model: PreTrainedModel) -> int:
    """Weights, tied ones counted once."""
    return sum(one.numel() for one in model.parameters())


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """bfloat16 where asked for, or by default on a GPU; weights stay float32."""
    enabled = precision == "bfloat16" or (precision == "auto" and device.type == "cuda")
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=enabled)


def soft_capped(
    logits: Float[Tensor, "*tokens vocabulary"], cap: float | None
) -> Float[Tensor, "*tokens vocabulary"]:
    """Logits that no longer exceed a cap, where there is one."""
    return torch.tanh(logits / cap) * cap if cap else logits


def softcap(model: PreTrainedModel) -> float | None:
    """The cap of a model's logits, where its family has one."""
    return getattr(model.config, "final_logit_softcapping", None)


def head(
    model: PreTrainedModel, hidden: Float[Tensor, "*tokens width"]
) -> Float[Tensor, "*tokens vocabulary"]:
    """Next-token logits of hidden states."""
    return soft_capped(model.get_output_embeddings()(hidden), softcap(model))


def response_hidden(model: PreTrainedModel, batch: Batch) -> Float[Tensor, "tokens width"]:
    """What the head is to read for the response tokens of a batch, row by row."""
    body = model.base_model(input_ids=batch.input_ids, use_cache=False)
    note_positions(model, batch.texts)
    return body.last_hidden_state.flatten(0, 1).index_select(0, batch.places)


def scored(
    model: PreTrainedModel, hidden: Float[Tensor, "tokens width"]
) -> Float[Tensor, "tokens vocabulary"]:
    """The logits of hidden states, entered into the count of the model's work."""
    note_scores(model, len(hidden))
    return head(model, hidden)


def response_logits(model: PreTrainedModel, batch: Batch) -> Float[Tensor, "tokens vocabulary"]:
    """Logits for the response tokens of a batch, row by row, all at once."""
    return scored(model, response_hidden(model, batch))
