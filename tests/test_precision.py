"""Weights: those held in bfloat16, recomputed or left alone change no number; which ones decay."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from players import CPU, Setup, llama, run, texts, trained
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    OPTConfig,
    PretrainedConfig,
    Qwen2Config,
)

from pipeline.data.batch import collate
from pipeline.generation import generate, sampler
from pipeline.generation.cuda_graph import Bf16Weights
from pipeline.models.gradient_checkpointing import gradient_checkpointing
from pipeline.models.language_model import Precision, load, load_frozen, parameter_count
from pipeline.models.teacher import LiveTeacher
from pipeline.settings.generation import Sampling
from pipeline.training.loop import train
from pipeline.training.state import initial_state

SIZES = {
    "vocab_size": 40,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "pad_token_id": None,
    "bos_token_id": 1,
    "eos_token_id": 1,
}
FAMILIES = {
    "llama": (LlamaConfig, {"tie_word_embeddings": False}),
    "qwen2": (Qwen2Config, {"num_key_value_heads": 2, "tie_word_embeddings": True}),
    "gpt2": (GPT2Config, {}),
    "opt": (OPTConfig, {"word_embed_proj_dim": 16, "ffn_dim": 64}),
    "gpt_neox": (GPTNeoXConfig, {}),
}


def saved(family: str, folder: Path) -> Path:
    """An artifact with a random model."""
    config, options = FAMILIES[family]
    torch.manual_seed(5)
    model = AutoModelForCausalLM.from_config(made(config, options))
    for weight in model.parameters():
        weight.data += 0.2 * torch.randn_like(weight)  # biases too
    model.save_pretrained(folder / "model")
    return folder


def made(config: type[PretrainedConfig], options: dict[str, object]) -> PretrainedConfig:
    """The configuration of a small model."""
    return config(**SIZES | options)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_frozen_teacher_in_bfloat16_gives_the_bits_that_autocast_gives(
    family: str, tmp_path: Path
) -> None:
    folder, batch = saved(family, tmp_path), collate(texts(6), CPU)
    whole = LiveTeacher(load(folder, CPU), "bfloat16")
    half = LiveTeacher(load_frozen(folder, CPU, "bfloat16"), "bfloat16")
    assert half.logits(batch).equal(whole.logits(batch))
    assert half.logits(batch).dtype == torch.float32

    tables = sum(
        module.weight.numel()
        for module in half.model.modules()
        if isinstance(module, torch.nn.Embedding)
    )
    matrices = sum(weight.numel() for weight in whole.model.parameters() if weight.ndim == 2)
    held = sum(weight.numel() * weight.element_size() for weight in half.model.parameters())
    assert held == 4 * parameter_count(whole.model) - 2 * (matrices - tables)


def test_a_decoder_on_a_gpu_keeps_no_other_copy_of_a_frozen_model(tmp_path: Path) -> None:
    frozen = load_frozen(saved("llama", tmp_path), CPU, "bfloat16")
    pairs = Bf16Weights(frozen).pairs
    assert len(pairs) == 2 * 7 + 1  # matrices of two layers, and the head
    assert all(half.data_ptr() == weight.data_ptr() for half, weight in pairs)


@pytest.mark.parametrize("precision", ["float32", "auto"])
def test_a_frozen_teacher_that_reads_in_float32_keeps_its_weights(
    precision: Precision, tmp_path: Path
) -> None:
    folder = saved("llama", tmp_path)
    teacher = load_frozen(folder, CPU, precision)
    assert {weight.dtype for weight in teacher.parameters()} == {torch.float32}
    assert not any(weight.requires_grad for weight in teacher.parameters())


@pytest.mark.parametrize("method", ["sft", "gkd", "distillm"])
def test_layers_that_are_recomputed_give_the_same_bits(method: str) -> None:
    setup = Setup(method, steps=3)
    usual, expected = trained(setup)
    again = replace(run(setup), gradient_checkpointing=True)
    state = initial_state(again)
    list(train(again, state))
    for row, expected_row in zip(state.rows, expected.rows, strict=True):
        assert row | {"seconds": 0} == expected_row | {"seconds": 0}
    pairs = zip(again.student.parameters(), usual.student.parameters(), strict=True)
    assert all(weight.equal(other) for weight, other in pairs)


def test_less_is_kept_of_layers_that_are_recomputed() -> None:
    model, batch = run(Setup("sft", steps=1)).student, collate(texts(6), CPU)

    def kept() -> int:
        sizes: list[int] = []

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            sizes.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            model.base_model(input_ids=batch.input_ids, use_cache=False)
        return sum(sizes)

    usual = kept()
    with gradient_checkpointing(model):
        assert kept() < usual / 2


def test_a_family_without_named_layers_is_refused() -> None:
    model = run(Setup("sft", steps=1)).student
    model.model.layers = torch.nn.ModuleList()
    with (
        pytest.raises(ValueError, match="the family llama names no layers"),
        gradient_checkpointing(model),
    ):
        pass


@pytest.mark.parametrize("decayed", ["all", "matrices"])
def test_what_decays_is_a_choice(decayed: str) -> None:
    made = run(Setup("sft", steps=1))
    training = made.settings.training.model_copy(
        update={"weight_decay_on": decayed, "weight_decay": 0.5}
    )
    made = replace(made, settings=made.settings.model_copy(update={"training": training}))
    state, model = initial_state(made), made.student
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    for weight in model.parameters():
        weight.grad = torch.zeros_like(weight)
    state.optimizer.step()
    left = {False: 1.0, True: 1 - training.learning_rate * 0.5}  # w (1 - rate x decay)
    for name, weight in model.named_parameters():
        share = left[decayed == "all" or weight.ndim > 1]
        torch.testing.assert_close(weight, before[name] * share, rtol=1e-6, atol=0)


def test_a_prompt_that_a_step_holds_twice_is_answered_twice() -> None:
    repeated, other = texts(4)[2:]
    model, choose = llama(3), sampler(Sampling())
    asked = [repeated, other, repeated, repeated]
    written = generate(asked, [model], choose, 12, 7, "student")
    assert [text.example_id for text in written] == [text.example_id for text in asked]
    answers = [tuple(text.response_ids) for text in written]
    assert len(set(answers)) == 4
    # what a prompt alone gets doesn't depend on its company
    alone = generate([repeated], [model], choose, 12, 7, "student")[0]
    assert alone.response_ids == written[0].response_ids
