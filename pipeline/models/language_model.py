"""Reading text with a causal language model: only response positions ever reach the head."""

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedModel
from transformers import PreTrainedTokenizerBase as Tokenizer

from pipeline.artifacts import checksums
from pipeline.data.batch import Batch
from pipeline.data.eos_tokens import token_ids
from pipeline.models import weights
from pipeline.models.adapter_base import base_of, is_adapter
from pipeline.models.attention import unmasked_attention
from pipeline.models.flops import record_pass
from pipeline.models.last_layer import feed_forward_only_at
from pipeline.models.logits import compute_logits, logit_scaling
from pipeline.models.matrices import halve_matrices
from pipeline.models.products import frozen_products
from pipeline.settings.training import Dropout, Precision


def default_device() -> torch.device:
    """The first GPU that the job may see, else the CPU; readies the process for it."""
    # cuDNN plans each new shape of a batch for hundreds of ms, and every batch has one of its own
    torch.backends.cuda.enable_cudnn_sdp(False)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def load(
    folder: Path,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    dropout: Dropout = 0.0,
) -> PreTrainedModel:
    """The model of an artifact, in evaluation mode; in training mode it has `dropout`.

    Raises: ValueError if it is missing or incomplete, or if its family's logits can't be made here.
    """
    return _readied(_saved(folder, dtype, dropout), device)


def load_frozen(
    folder: Path,
    device: torch.device,
    precision: Precision,
    dropout: Dropout = 0.0,
    *,
    keeps_head: bool = False,
) -> PreTrainedModel:
    """A loaded model without gradients, its matrices in bfloat16 where it computes in that.

    Autocast would cast them at each use: the numbers are the same, in half the memory. The head may
    be kept as it was saved.
    """
    model = _saved(folder, torch.float32, dropout).requires_grad_(False)
    if computes_in_bfloat16(device, precision):
        halve_matrices(model, but=model.get_output_embeddings() if keeps_head else None)
    return _readied(model, device)


def _saved(folder: Path, dtype: torch.dtype, dropout: Dropout = 0.0) -> PreTrainedModel:
    saved = folder / "model"
    checksums.verify(folder, "model/*")
    if is_adapter(folder):
        from pipeline.models import lora  # peft takes seconds to import

        merged = lora.merge(_saved(base_of(folder), torch.float32, dropout), saved)
        torch.nn.Module.to(merged, dtype)  # in place
        return merged
    if not (saved / "config.json").exists():
        raise ValueError(f"{saved} holds no model; delete {folder} and run again")
    return weights.load(saved, dtype, dropout=dropout).model


def _readied(model: PreTrainedModel, device: torch.device) -> PreTrainedModel:
    torch.nn.Module.to(model, device)  # in place
    model.eval()
    logit_scaling(model)
    return model


def load_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer beside the model of an artifact. Raises ValueError if it is damaged."""
    checksums.verify(folder, "model/*", but="*.safetensors")
    return AutoTokenizer.from_pretrained(folder / "model")


def parameter_count(model: PreTrainedModel) -> int:
    """Weights, tied ones counted once; adapters beside frozen weights are left out."""
    weights = list(model.parameters())
    frozen = [weight for weight in weights if not weight.requires_grad]
    return sum(weight.numel() for weight in frozen or weights)


def end_ids(model: PreTrainedModel) -> tuple[int, ...]:
    """Ids of the tokens at which the model's own `generate` stops: none, one or several.

    They stand in its generation config; where that names none, in its config, which has the
    tokenizer's.
    """
    ids = model.generation_config.eos_token_id if model.generation_config else None
    return tuple(token_ids(model.config.eos_token_id if ids is None else ids))


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """bfloat16 where asked for, or by default on a GPU; weights stay float32."""
    enabled = computes_in_bfloat16(device, precision)
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=enabled)


def computes_in_bfloat16(device: torch.device, precision: Precision) -> bool:
    """Whether models multiply matrices in bfloat16."""
    return precision == "bfloat16" or (precision == "auto" and device.type == "cuda")


def fixed_precision(device: torch.device, precision: Precision) -> Precision:
    """The precision that a device computes in, for what is loaded elsewhere first."""
    return "bfloat16" if computes_in_bfloat16(device, precision) else "float32"


def lm_head(
    model: PreTrainedModel, hidden: Float[Tensor, "*tokens width"]
) -> Float[Tensor, "*tokens vocabulary"]:
    """Next-token logits of hidden states, as the model's own forward pass ends."""
    head = model.get_output_embeddings()
    assert isinstance(head, torch.nn.Linear)
    return compute_logits(head, logit_scaling(model), hidden)


def response_hidden(model: PreTrainedModel, batch: Batch) -> Float[Tensor, "tokens width"]:
    """The hidden states that predict the response tokens of a batch, a row a token."""
    return response_layers(model, batch)[:, 0]


def response_layers(
    model: PreTrainedModel, batch: Batch, inner: Sequence[int] = ()
) -> Float[Tensor, "tokens layers width"]:
    """The same of some layers, counted from 1, as each leaves them, and then of the last.

    The last hidden state is the one that the head reads, behind the final norm.
    """
    rows_alone = nullcontext() if inner else feed_forward_only_at(model, batch.response_positions)
    unmasked = unmasked_attention(model, batch.input_ids.shape[1])
    with unmasked, rows_alone, frozen_products(model):
        body = model.base_model(
            input_ids=batch.input_ids, use_cache=False, output_hidden_states=bool(inner)
        )
    for text in batch.texts:
        record_pass(model, text.length, scored=0)
    states = [*(body.hidden_states[layer] for layer in inner), body.last_hidden_state]
    rows = [each.flatten(0, 1).index_select(0, batch.response_positions) for each in states]
    return torch.stack(rows, dim=1) if inner else rows[0][:, None]


def counted_lm_head(
    model: PreTrainedModel, hidden: Float[Tensor, "tokens width"]
) -> Float[Tensor, "tokens vocabulary"]:
    """The logits of hidden states, entered into the count of the model's work."""
    record_pass(model, positions=0, scored=len(hidden))
    with frozen_products(model):
        return lm_head(model, hidden)


def response_logits(model: PreTrainedModel, batch: Batch) -> Float[Tensor, "tokens vocabulary"]:
    """Logits for the response tokens of a batch, row by row, all at once."""
    return counted_lm_head(model, response_hidden(model, batch))
