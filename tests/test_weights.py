"""Saved models that lack weights: named and refused, wherever a model is loaded."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    BartConfig,
    GPT2Config,
    LlamaConfig,
    LlamaForCausalLM,
    MixtralConfig,
    PreTrainedConfig,
    T5Config,
)

from pipeline.models import language_model, weights

SIZES = {
    "vocab_size": 67,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}
IDS = torch.tensor([[5, 33, 17, 60]])
Weights = dict[str, Tensor]


def saved(folder: Path, **more: object) -> LlamaForCausalLM:
    """A random model, and the same in a folder."""
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**SIZES | {"tie_word_embeddings": False} | more)).eval()
    model.save_pretrained(folder)
    return model


def rewrite(folder: Path, change: Callable[[Weights], Weights]) -> None:
    """Saves other weights in a model's file."""
    file = folder / "model.safetensors"
    changed = change(load_file(file))
    save_file({key: tensor.contiguous() for key, tensor in changed.items()}, file, {"format": "pt"})


def renamed(pattern: str, name: str) -> Callable[[Weights], Weights]:
    return lambda held: {re.sub(pattern, name, key): tensor for key, tensor in held.items()}


def without(part: str) -> Callable[[Weights], Weights]:
    return lambda held: {key: tensor for key, tensor in held.items() if part not in key}


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("^", "_orig_mod."),
        ("^", "module."),
        ("^", "module._orig_mod."),
        (r"(layers\.\d\.)", r"\1_orig_mod."),
        (r"(layers\.\d\.)", r"\1_checkpoint_wrapped_module."),
    ],
    ids=["compiled", "data parallel", "both", "layers compiled", "layers checkpointed"],
)
def test_a_wrappers_prefix_is_left_out_and_does_not_come_back(
    tmp_path: Path, pattern: str, name: str
) -> None:
    model = saved(tmp_path / "a")
    keys = set(load_file(tmp_path / "a" / "model.safetensors"))
    rewrite(tmp_path / "a", renamed(pattern, name))

    loaded = weights.load(tmp_path / "a")

    assert loaded.unwrapped
    with torch.no_grad():
        assert loaded.model(IDS).logits.equal(model(IDS).logits)
    loaded.model.save_pretrained(tmp_path / "b")
    assert set(load_file(tmp_path / "b" / "model.safetensors")) == keys


def test_experts_that_were_compiled_are_merged_as_others_are(tmp_path: Path) -> None:
    config = MixtralConfig(**SIZES, num_key_value_heads=2, num_local_experts=2)
    model = AutoModelForCausalLM.from_config(config).eval()
    model.save_pretrained(tmp_path / "a")  # an expert's matrices one by one, merged in loading
    keys = set(load_file(tmp_path / "a" / "model.safetensors"))
    rewrite(tmp_path / "a", renamed("^", "_orig_mod."))

    loaded = weights.load(tmp_path / "a").model

    loaded.save_pretrained(tmp_path / "b")
    assert set(load_file(tmp_path / "b" / "model.safetensors")) == keys
    with torch.no_grad():
        assert loaded(IDS).logits.equal(model(IDS).logits)
        assert weights.load(tmp_path / "b").model(IDS).logits.equal(model(IDS).logits)


def test_a_whole_model_is_loaded_to_the_bit_and_nothing_is_said(tmp_path: Path) -> None:
    model, loaded = saved(tmp_path), weights.load(tmp_path)
    assert not loaded.unwrapped
    with torch.no_grad():
        assert loaded.model(IDS).logits.equal(model(IDS).logits)


FAULTS = [
    (without("layers.1.mlp"), "missing: model.layers.1.mlp.down_proj.weight"),
    (without("lm_head"), "missing: lm_head.weight"),
    (without("layers.1."), r"missing: .*input_layernorm.* and 5 more"),
    (
        lambda held: held | {"model.layers.2.mlp.up_proj.weight": torch.zeros(24, 16)},
        "without a place: model.layers.2.mlp.up_proj.weight",
    ),
    (
        lambda held: held | {"lm_head.weight": torch.zeros(60, 16)},
        r"of another shape: lm_head.weight \[60, 16\] instead of \[67, 16\]",
    ),
    (renamed("^model", "transformer"), "missing: .*; without a place: transformer"),
]


@pytest.mark.parametrize(("change", "message"), FAULTS)
def test_weights_that_are_not_the_models_are_named_and_refused(
    tmp_path: Path, change: Callable[[Weights], Weights], message: str
) -> None:
    saved(tmp_path)
    rewrite(tmp_path, change)
    with pytest.raises(ValueError, match=message):
        weights.load(tmp_path)


def test_an_artifact_without_all_its_weights_is_not_loaded_for_a_job(tmp_path: Path) -> None:
    saved(tmp_path / "model")
    rewrite(tmp_path / "model", without("layers.0.self_attn"))
    with pytest.raises(ValueError, match=r"missing: model\.layers\.0\.self_attn"):
        language_model.load(tmp_path, torch.device("cpu"))


def test_a_tied_head_is_not_missed(tmp_path: Path) -> None:
    model = saved(tmp_path, tie_word_embeddings=True)
    assert "lm_head.weight" not in load_file(tmp_path / "model.safetensors")
    with torch.no_grad():
        assert weights.load(tmp_path).model(IDS).logits.equal(model(IDS).logits)


def test_causal_masks_that_older_versions_saved_are_no_fault(tmp_path: Path) -> None:
    sizes = {"n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 8, "vocab_size": 67}
    AutoModelForCausalLM.from_config(GPT2Config(**sizes)).save_pretrained(tmp_path)
    masks = {"bias": torch.ones(1, 1, 8, 8), "masked_bias": torch.tensor(-1e4)}
    old = {f"transformer.h.0.attn.{name}": mask for name, mask in masks.items()}
    rewrite(tmp_path, lambda held: held | old)
    weights.load(tmp_path)


@pytest.mark.parametrize(
    "config",
    [
        T5Config(vocab_size=67, d_model=16, d_kv=8, d_ff=24, num_layers=1, num_heads=2),
        BartConfig(
            vocab_size=67,
            d_model=16,
            encoder_layers=1,
            decoder_layers=1,
            encoder_ffn_dim=24,
            decoder_ffn_dim=24,
            encoder_attention_heads=2,
            decoder_attention_heads=2,
        ),
    ],
    ids=["t5", "bart"],
)
def test_an_encoder_decoder_is_refused_in_a_short_line(
    tmp_path: Path, config: PreTrainedConfig
) -> None:
    AutoModelForSeq2SeqLM.from_config(config).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="is an encoder-decoder") as raised:
        weights.load(tmp_path)
    assert len(str(raised.value).replace(str(tmp_path), "")) < 100


def test_quantised_weights_are_refused_in_one_line(tmp_path: Path) -> None:
    model = saved(tmp_path)
    model.config.quantization_config = {"quant_method": "gptq", "bits": 4}
    model.config.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"quantised \(quantization_config in config\.json\)"):
        weights.load(tmp_path)
