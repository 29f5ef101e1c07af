"""A Llama-like model that reads a batch of texts token by token.

The arithmetic is that of transformers' `LlamaModel`, whose bookkeeping at each token (masks,
configuration look-ups, a cache that grows by copying) takes several times as long as the arithmetic
of a small model. Keys and values have their place from the beginning, so nothing is copied but what
is new.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F
from transformers import PreTrainedModel

from pipeline.language_model import head

FAMILIES = ("llama", "qwen2")
ROPES = ("default", "linear", "llama3")  # those whose angles do not depend on the text's length

Hidden = Float[Tensor, "batch new width"]


def can_read(model: PreTrainedModel) -> bool:
    """Whether a model is of a family, and of a configuration, whose arithmetic stands here."""
    config = model.config
    return (
        config.model_type in FAMILIES
        and config.rope_parameters["rope_type"] in ROPES
        and not getattr(config, "use_sliding_window", False)
    )


class LlamaReader:
    """A model and the keys and values of a batch of left-padded texts, part way through them."""

    def __init__(
        self,
        model: PreTrainedModel,
        prompts: Int[Tensor, "batch time"],
        attention: Int[Tensor, "batch time"],
        room: int,
    ):
        self.model = model
        self.length = prompts.shape[1] + room
        self.read = 0  # places of the texts that are filled
        self.positions = attention.sum(-1)  # of each text's next token, padding not counted
        self.visible = F.pad(attention.bool(), (0, room), value=True)
        self.padded = not bool(attention.all())
        self._allot(len(prompts))

        positions = (attention.cumsum(-1) - 1).clamp(min=0)
        self.logits = self._logits(prompts, positions, self._prompt_mask(prompts.shape[1]))

    def advance(self, tokens: Int[Tensor, " batch"]) -> None:
        """Reads one more token of each text."""
        mask = self.visible[:, None, None, : self.read + 1] if self.padded else None
        self.logits = self._logits(tokens[:, None], self.positions[:, None], mask)
        self.positions = self.positions + 1

    def keep(self, rows: Int[Tensor, " kept"]) -> None:
        """Goes on with these texts alone."""
        self.keys = [one[rows] for one in self.keys]
        self.values = [one[rows] for one in self.values]
        self.positions = self.positions[rows]
        self.visible = self.visible[rows]
        self.logits = self.logits[rows]

    def _allot(self, batch: int) -> None:
        body, config = self.model.base_model, self.model.config
        weight = body.embed_tokens.weight
        size = body.layers[0].self_attn.head_dim
        shape = (batch, config.num_key_value_heads, self.length, size)
        self.keys = [weight.new_empty(shape) for _ in body.layers]
        self.values = [weight.new_empty(shape) for _ in body.layers]

        every = torch.arange(self.length, device=weight.device)[None]
        cos, sin = body.rotary_emb(weight, every)
        sign = torch.ones_like(sin[0])
        sign[:, : size // 2] = -1  # of the half that turns the other way
        self.cos, self.sin = cos[0], sin[0] * sign

    def _prompt_mask(self, width: int) -> Bool[Tensor, "batch 1 time time"]:
        shape = (width, width)
        before = torch.ones(shape, dtype=torch.bool, device=self.visible.device).tril()
        alone = torch.eye(width, dtype=torch.bool, device=before.device)  # padding sees itself
        return ((before & self.visible[:, None, :width]) | alone)[:, None]

    def _logits(
        self,
        ids: Int[Tensor, "batch new"],
        positions: Int[Tensor, "batch new"],
        mask: Bool[Tensor, "batch 1 #new past"] | None,
    ) -> Float[Tensor, "batch vocabulary"]:
        body = self.model.base_model
        cos, sin = self.cos[positions][:, None], self.sin[positions][:, None]
        hidden = body.embed_tokens(ids)
        for at, layer in enumerate(body.layers):
            seen = _normed(layer.input_layernorm, hidden)
            hidden = hidden + self._attend(at, layer.self_attn, seen, cos, sin, mask)
            seen, mlp = _normed(layer.post_attention_layernorm, hidden), layer.mlp
            hidden = hidden + mlp.down_proj(mlp.act_fn(mlp.gate_proj(seen)) * mlp.up_proj(seen))
        self.read += ids.shape[1]
        return head(self.model, _normed(body.norm, hidden[:, -1])).float()

    def _attend(
        self,
        at: int,
        layer: torch.nn.Module,
        hidden: Hidden,
        cos: Float[Tensor, "batch 1 new size"],
        sin: Float[Tensor, "batch 1 new size"],
        mask: Bool[Tensor, "batch 1 #new past"] | None,
    ) -> Hidden:
        batch, new, _ = hidden.shape
        query, key, value = (
            part(hidden).view(batch, new, -1, layer.head_dim).transpose(1, 2)
            for part in (layer.q_proj, layer.k_proj, layer.v_proj)
        )
        end = self.read + new
        self.keys[at][:, :, self.read : end] = _turned(key, cos, sin)
        self.values[at][:, :, self.read : end] = value
        attended = F.scaled_dot_product_attention(
            _turned(query, cos, sin),
            self.keys[at][:, :, :end],
            self.values[at][:, :, :end],
            attn_mask=mask,
            enable_gqa=query.shape[1] != value.shape[1],
        )
        return layer.o_proj(attended.transpose(1, 2).reshape(batch, new, -1))


def _normed(norm: torch.nn.Module, hidden: Float[Tensor, "*batch width"]) -> Tensor:
    return F.rms_norm(hidden, hidden.shape[-1:], norm.weight, norm.variance_epsilon)


def _turned(
    x: Float[Tensor, "batch heads new size"],
    cos: Float[Tensor, "batch 1 new size"],
    sin: Float[Tensor, "batch 1 new size"],
) -> Float[Tensor, "batch heads new size"]:
    """Rotary positions; the signs of the rotation are in `sin`."""
    return x * cos + x.roll(x.shape[-1] // 2, -1) * sin
