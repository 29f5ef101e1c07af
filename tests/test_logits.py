"""Logits: what each family's own forward pass gives, in float32 whatever they are made of."""

import pytest
import torch
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    CohereConfig,
    FalconH1Config,
    Gemma2Config,
    GraniteConfig,
    HyperCLOVAXConfig,
    LlamaConfig,
    LlamaForCausalLM,
    MiniCPM3Config,
    OPTConfig,
    PretrainedConfig,
    PreTrainedModel,
    RecurrentGemmaConfig,
    xLSTMConfig,
)

from pipeline.data.batch import Text, collate
from pipeline.models.forward_check import forward_differences, refuse_differences
from pipeline.models.language_model import autocast, lm_head, response_logits
from pipeline.models.logits import LogitScaling, compute_logits, logit_scaling

CPU = torch.device("cpu")
SIZES = {
    "vocab_size": 67,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
SMALL_STATES = {"mamba_d_ssm": 32, "mamba_n_heads": 4, "mamba_d_head": 8, "mamba_chunk_size": 8}
# what transformers' modeling files do between lm_head and logits
FAMILIES = {
    "plain": (LlamaConfig, {}, LogitScaling()),
    "divided": (GraniteConfig, {"logits_scaling": 8.0}, LogitScaling(logits=1 / 8)),
    "multiplied": (CohereConfig, {"logit_scale": 0.0625}, LogitScaling(logits=0.0625)),
    "multiplied under the divisor's name": (
        HyperCLOVAXConfig,
        {"logits_scaling": 0.25},
        LogitScaling(logits=0.25),
    ),
    "multiplied by a number of the body": (
        FalconH1Config,
        {"lm_head_multiplier": 0.5, **SMALL_STATES},
        LogitScaling(logits=0.5),
    ),
    "capped": (
        Gemma2Config,
        {"head_dim": 8, "final_logit_softcapping": 5.0},
        LogitScaling(cap=5.0),
    ),
    "capped under a second name": (
        RecurrentGemmaConfig,
        {"logits_soft_cap": 7.0, "lru_width": 32, "attention_window_size": 8},
        LogitScaling(cap=7.0),
    ),
    "capped under a third name": (
        xLSTMConfig,
        {"output_logit_soft_cap": 9.0},
        LogitScaling(cap=9.0),
    ),
    "divided before the head": (
        MiniCPM3Config,
        {"dim_model_base": 8, "num_key_value_heads": 4},
        LogitScaling(hidden=8 / 32),
    ),
    "projected before the head": (
        OPTConfig,
        {"word_embed_proj_dim": 16, "ffn_dim": 48},
        LogitScaling(),
    ),
}


def made(config: type[PretrainedConfig], options: dict[str, object]) -> PreTrainedModel:
    """A random model with logits of some size."""
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_config(config(**SIZES | options)).eval()
    model.get_output_embeddings().weight.data *= 20
    return model


@pytest.mark.parametrize("name", FAMILIES)
def test_logits_are_those_of_a_familys_own_forward_pass(name: str) -> None:
    config, options, scaling = FAMILIES[name]
    model = made(config, options)
    text = Text("a", [5, 9, 33, 4], [7, 8, 2])
    with torch.no_grad():
        read = response_logits(model, collate([text], CPU))
        ids = torch.tensor([[*text.prompt_ids, *text.response_ids]])
        own = model(input_ids=ids, use_cache=False).logits[0, 3:-1]
        labels = torch.tensor([[-100] * 4 + list(text.response_ids)])
        loss = model(input_ids=ids, labels=labels, use_cache=False).loss

    assert logit_scaling(model) == scaling
    torch.testing.assert_close(read, own)
    nll = torch.nn.functional.cross_entropy(read, torch.tensor(text.response_ids))
    torch.testing.assert_close(nll, loss)


def test_logits_in_float32_are_those_of_the_layer_to_the_bit() -> None:
    model = made(LlamaConfig, {})
    hidden = torch.randn(5, 32)
    assert lm_head(model, hidden).equal(model.lm_head(hidden))


class Masked(LlamaForCausalLM):
    """A family that forbids a token, as Chameleon does its images'."""

    def forward(self, **inputs: Tensor) -> object:
        """The logits, one of them at its least."""
        output = super().forward(**inputs)
        output.logits[..., 3] = -1e9
        return output


class Normed(LlamaForCausalLM):
    """A family with a step before its head that is no factor."""

    def forward(self, **inputs: Tensor) -> object:
        """The logits of other hidden states than the body's."""
        hook = self.lm_head.register_forward_pre_hook(lambda _, arguments: (arguments[0].tanh(),))
        try:
            return super().forward(**inputs)
        finally:
            hook.remove()


@pytest.mark.parametrize("kind", [Masked, Normed])
def test_a_family_that_makes_its_logits_otherwise_is_refused_by_name(
    kind: type[PreTrainedModel],
) -> None:
    model = kind(LlamaConfig(**SIZES)).eval()
    with pytest.raises(ValueError, match="the family llama makes its logits"):
        logit_scaling(model)
    vars(model)["logit_scaling"] = LogitScaling()  # as if it had been taken for another
    with pytest.raises(ValueError, match=f"{kind.__name__} \\(llama\\) can't be used here"):
        refuse_differences(model, forward_differences(model))


def test_bfloat16_rounds_the_factors_of_logits_but_never_their_sum() -> None:
    draw = torch.Generator().manual_seed(0)
    layer = torch.nn.Linear(48, 300)
    hidden = torch.randn(2, 9, 48, generator=draw)
    with torch.no_grad():
        layer.bias -= 100  # where GPT-2's logits lie, and bfloat16 tells halves apart
    with autocast(CPU, "bfloat16"):
        logits = compute_logits(layer, LogitScaling(), hidden)

    factors = [tensor.bfloat16().double() for tensor in (hidden, layer.weight)]
    exact = factors[0] @ factors[1].T + layer.bias.double()
    assert logits.dtype == torch.float32
    # what float32 holds of a number near 100, and of its sum
    torch.testing.assert_close(logits.double(), exact, rtol=0, atol=5e-5)


@pytest.mark.parametrize("scaling", [LogitScaling(), LogitScaling(0.5, 0.25, 3.0)])
def test_gradients_through_bfloat16_factors_are_those_of_the_formula(scaling: LogitScaling) -> None:
    draw = torch.Generator().manual_seed(0)
    layer = torch.nn.Linear(24, 40)
    hidden = torch.randn(7, 24, generator=draw, requires_grad=True)
    wanted = torch.randn(7, 40, generator=draw)
    with autocast(CPU, "bfloat16"):
        logits = compute_logits(layer, scaling, hidden)
    (logits * wanted).sum().backward()

    exact = torch.nn.Linear(24, 40).double()
    exact.load_state_dict(layer.state_dict())
    same = hidden.detach().double().requires_grad_()
    (compute_logits(exact, scaling, same) * wanted.double()).sum().backward()
    pairs = [(hidden.grad, same.grad), (layer.weight.grad, exact.weight.grad)]
    for gradient, expected in [*pairs, (layer.bias.grad, exact.bias.grad)]:
        assert gradient is not None
        assert gradient.dtype == torch.float32
        # factors keep 8 bits: each term is off by 2^-9 twice, at random
        assert (gradient.double() - expected).norm() < 4e-3 * expected.norm()


def test_a_frozen_head_gets_no_gradient_and_its_input_does() -> None:
    layer = torch.nn.Linear(8, 12).requires_grad_(False)
    hidden = torch.randn(3, 8, requires_grad=True)
    with autocast(CPU, "bfloat16"):
        compute_logits(layer, LogitScaling(), hidden).sum().backward()
    assert layer.weight.grad is None
    assert hidden.grad is not None
