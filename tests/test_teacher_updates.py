"""What a teacher learns in a step: its adapters, and its two ways to learn."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from players import CPU, END, Setup, llama, run, texts
from torch import Tensor
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MptConfig,
    MptForCausalLM,
    PreTrainedModel,
)

from pipeline.data.batch import Batch, collate
from pipeline.models import logit_chunks
from pipeline.models.language_model import response_logits
from pipeline.models.logits import logit_scaling
from pipeline.models.lora import LoraOptimizer, attach
from pipeline.settings.training import Lora
from pipeline.teacher_updates import TrainedStep, online_module, student_feedback


def gpt2() -> PreTrainedModel:
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=32, n_embd=16, n_layer=2, n_head=2, n_positions=64, eos_token_id=END,
        bos_token_id=END,
    )  # fmt: skip
    return GPT2LMHeadModel(config).eval()


def in_float64(seed: int) -> LlamaForCausalLM:
    """A model that can be differentiated twice: fused attention can't."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=32, hidden_size=16, intermediate_size=32, num_hidden_layers=1,
        num_attention_heads=2, initializer_range=0.3, attn_implementation="eager",
        eos_token_id=END, bos_token_id=END, pad_token_id=END,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval().double()


@pytest.mark.parametrize("make", [lambda: llama(0), gpt2], ids=["linear", "conv1d"])
def test_fresh_adapters_change_nothing_and_are_all_that_learns(make):
    model, batch = make(), collate(texts(4), CPU)
    before = response_logits(model, batch).detach()
    weights = attach(model, Lora(rank=2, alpha=2.0), seed=0)

    assert response_logits(model, batch).equal(before)
    assert {id(weight) for weight in model.parameters() if weight.requires_grad} == {
        id(weight) for weight in weights
    }
    with torch.no_grad():
        weights[1] += 1.0
    assert not response_logits(model, batch).equal(before)


def test_an_adapter_adds_scale_times_up_times_down():
    model = gpt2()
    layer = model.transformer.h[0].attn.c_attn
    down, up, *_ = attach(model, Lora(rank=2, alpha=6.0), seed=0)
    with torch.no_grad():
        up += torch.randn(up.shape, generator=torch.Generator().manual_seed(1))

    x = torch.randn(5, 16, generator=torch.Generator().manual_seed(2))
    whole = layer.weight.T + 3.0 * up @ down  # Conv1D stores its weight the other way round
    output = model.transformer.h[0].attn.c_attn(x)
    torch.testing.assert_close(output, x @ whole.T + layer.bias, atol=1e-5, rtol=1e-5)


def test_a_model_whose_layers_have_other_names_is_refused():
    other = MptForCausalLM(MptConfig(d_model=16, n_heads=2, n_layers=1, vocab_size=32))
    with pytest.raises(ValueError, match=r"no linear layer named q_proj .*; allowed: .*Wqkv"):
        attach(other, Lora(), seed=0)


def test_the_online_module_s_loss_is_cross_entropy_and_a_share_of_kl():
    rng = np.random.default_rng(0)
    p, q = (np.log(rng.dirichlet(np.ones(5), size=3)) for _ in range(2))
    batch = replace(collate(texts(1), CPU), next_ids=torch.tensor([4, 0, 2]))
    losses = online_module.token_losses(torch.tensor(p), torch.tensor(q), batch, 0.3)
    expected = [
        -p[index, next_id] + 0.3 * (np.exp(p[index]) * (p[index] - q[index])).sum()
        for index, next_id in enumerate([4, 0, 2])
    ]
    np.testing.assert_allclose(losses.numpy(), expected, rtol=1e-12)


def test_the_online_module_comes_nearer_to_text_and_student():
    made = run(Setup("okd"))
    update, batch = (
        replace(made.teacher_update, student_weight=1.0),
        collate(made.train_set[:6], CPU),
    )

    def loss() -> float:
        with torch.no_grad():
            p = response_logits(update.optimizer.model, batch).log_softmax(-1)
            q = response_logits(made.student, batch).log_softmax(-1)
        return online_module.token_losses(p, q, batch, 1.0).mean().item()

    before = loss()
    for step in range(8):
        update.step(made.student, TrainedStep(step, batch.texts, [batch]))
    assert loss() < before


def cross_entropy(logits: Tensor, batch: Batch) -> Tensor:
    return torch.nn.functional.cross_entropy(logits, batch.next_ids)


def soft_target_loss(p: Tensor, logits: Tensor) -> Tensor:
    """Mean KL(p ‖ q), in the precision of its arguments."""
    return (p.exp() * (p - logits.log_softmax(-1))).sum(-1).mean()


@pytest.fixture
def lesson():
    """Teacher and student in float64, a batch and held-out texts; the adapters are under way."""
    teacher, student = in_float64(1), in_float64(2)
    optimizer = LoraOptimizer(teacher, rank=2, scale=1.0, learning_rate=1e-3, seed=0)
    with torch.no_grad():
        for up in optimizer.weights[1::2]:
            up += 0.3 * torch.randn(up.shape, generator=torch.Generator().manual_seed(3))
    batch, held_out = collate(texts(12)[:5], CPU), collate(texts(12)[5:], CPU)
    return teacher, student, optimizer, batch, held_out


def test_the_finite_difference_is_the_gradient_through_the_student_s_step(lesson):
    teacher, student, optimizer, batch, held_out = lesson
    weights, rate = dict(student.named_parameters()), 0.1

    p = response_logits(teacher, batch).log_softmax(-1)
    q = response_logits(student, batch)
    slope = torch.autograd.grad(soft_target_loss(p, q), weights.values(), create_graph=True)
    after = {
        name: weight - rate * part
        for (name, weight), part in zip(weights.items(), slope, strict=True)
    }
    inputs = {"input_ids": held_out.input_ids}
    logits = torch.func.functional_call(student, after, (), inputs).logits
    logits = logits.flatten(0, 1)[held_out.response_positions]
    loss = cross_entropy(logits, held_out)
    exact = torch.autograd.grad(loss, optimizer.weights, retain_graph=True)
    gradient = [
        gradient_part.detach() for gradient_part in torch.autograd.grad(loss, list(after.values()))
    ]

    slopes = student_feedback.directional_slopes(student, batch, gradient, radius=0.01)
    ours = rate * (response_logits(teacher, batch).softmax(-1) * slopes).sum() / len(slopes)
    approximate = torch.autograd.grad(ours, optimizer.weights)
    # log-probabilities are float32: 1e-7 of rounding over a radius of 1e-2, and DARTS' own error
    for part, exact_part in zip(approximate, exact, strict=True):
        assert (part - exact_part).norm() <= 2e-3 * exact_part.norm()


def test_the_teacher_steps_down_the_gradient_of_a_small_further_step(lesson):
    teacher, student, optimizer, batch, held_out = lesson
    weights = list(student.parameters())
    gradient = torch.autograd.grad(
        cross_entropy(response_logits(student, held_out), held_out), weights
    )
    p = response_logits(teacher, batch).log_softmax(-1)
    slope = torch.autograd.grad(
        soft_target_loss(p, response_logits(student, batch)), weights, create_graph=True
    )
    along = sum((part * other).sum() for part, other in zip(slope, gradient, strict=True))
    exact = torch.autograd.grad(-along, optimizer.weights)  # for a step of size one

    before = [weight.detach().clone() for weight in optimizer.weights]
    pool = [*batch.texts, *held_out.texts]
    student_feedback.StudentFeedback(optimizer, pool, len(held_out.texts), 0, 10_000, 0.01).step(
        student, TrainedStep(0, batch.texts, [batch])
    )
    for old, new, expected in zip(before, optimizer.weights, exact, strict=True):
        clear = expected.abs() > 0.02 * expected.abs().max()
        # Adam's first step is the rate times the sign of the gradient
        assert clear.sum() > 0.3 * clear.numel()
        torch.testing.assert_close(
            (new - old)[clear], -1e-3 * expected[clear].sign(), atol=1e-6, rtol=0
        )


@pytest.mark.parametrize("kind", ["okd", "ikd"])
def test_a_teacher_learns_the_same_whatever_number_of_logits_is_there_at_once(
    kind, lesson, monkeypatch
):
    teacher, student, optimizer, batch, held_out = lesson
    pool, seen = [*batch.texts, *held_out.texts], []
    if kind == "okd":
        update = online_module.OnlineModule(optimizer, 0.5, "float32")
    else:
        update = student_feedback.StudentFeedback(
            optimizer, pool, len(held_out.texts), 0, 10_000, 0.01
        )
    for model in (teacher, student):
        logit_scaling(model)  # is measured by a pass of its own
        model.get_output_embeddings().register_forward_hook(
            lambda *call: seen.append(len(call[1][0]))
        )
    start = [weight.detach().clone() for weight in optimizer.weights]

    def gradient(at_once: int) -> Tensor:
        monkeypatch.setattr(logit_chunks, "CPU_LOGITS", at_once * student.config.vocab_size)
        with torch.no_grad():
            for weight, value in zip(optimizer.weights, start, strict=True):
                weight.copy_(value)
        optimizer.adamw = torch.optim.SGD(optimizer.weights, lr=1.0)
        update.step(student, TrainedStep(0, batch.texts, [batch]))
        moved = zip(start, optimizer.weights, strict=True)
        return torch.cat([(old - new.detach()).flatten() for old, new in moved])

    whole, most = gradient(10_000), max(seen)
    seen.clear()
    # a finite difference of log-probabilities over a hundredth divides their rounding by it
    torch.testing.assert_close(gradient(8), whole, rtol=1e-6, atol=1e-9)
    assert whole.abs().max() > 1e-4
    longest = max(len(text.response_ids) for text in pool)
    assert max(seen) <= max(8, longest) < most
