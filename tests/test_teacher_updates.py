"""The teacher that learns: its adapters, its two ways to learn, and what must stay as it is."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from players import CPU, END, Setup, llama, run, schooled, texts
from shelf import put_all
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
from pipeline.stages import training_run
from pipeline.teacher_updates import TrainedStep, online_module, student_feedback
from pipeline.training import checkpoint
from pipeline.training.loop import train
from pipeline.training.state import TrainingRun, TrainingState, initial_state

LEARNING = ("okd", "ikd")


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


def bits(model: PreTrainedModel) -> dict[str, Tensor]:
    return {name: weight.clone() for name, weight in model.state_dict().items()}


def same(weights: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return weights.keys() == other.keys() and all(
        weights[name].equal(other[name]) for name in weights
    )


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


def test_held_out_texts_are_none_of_the_step_s_and_another_draw_at_each_step():
    made = run(Setup("ikd"))
    batch = {text.example_id for text in made.train_set[:8]}
    draws = [
        {text.example_id for text in made.teacher_update.held_out_texts(batch, step)}
        for step in range(5)
    ]
    assert all(len(draw) == made.settings.training.batch_size for draw in draws)
    assert not any(draw & batch for draw in draws)
    assert len({frozenset(draw) for draw in draws}) == 5


def test_a_step_that_takes_all_texts_is_refused():
    made = run(Setup("ikd"))
    with pytest.raises(ValueError, match="leaves none for the held-out loss"):
        made.teacher_update.held_out_texts({text.example_id for text in made.train_set}, 0)


@pytest.mark.parametrize("method", LEARNING)
def test_the_live_teacher_changes_and_the_student_s_part_leaves_no_trace_in_it(method):
    made = run(Setup(method))
    batch, student = collate(made.train_set[:6], CPU), bits(made.student)
    teacher, before = bits(made.teacher.model), made.teacher.signal(batch).log_probs
    assert not before.requires_grad

    for step in range(2):  # adapters begin at zero: their first step moves one factor only
        made.teacher_update.step(made.student, TrainedStep(step, batch.texts, [batch]))
    assert not made.teacher.signal(batch).log_probs.equal(before)
    assert same(bits(made.student), student)
    assert all(weight.grad is None for weight in made.student.parameters())
    now = bits(made.teacher.model)
    changed = {name for name in now if not now[name].equal(teacher[name])}
    assert {name.split(".")[-3] for name in changed} == {"lora_A", "lora_B"}


@pytest.mark.parametrize("method", LEARNING)
def test_micro_batches_do_not_change_what_the_teacher_learns(method):
    whole, parts = run(Setup(method)), run(Setup(method))
    some = whole.train_set[:6]
    at_once, cut = [collate(some, CPU)], [collate(some[:2], CPU), collate(some[2:], CPU)]
    whole.teacher_update.step(whole.student, TrainedStep(0, some, at_once))
    parts.teacher_update.step(parts.student, TrainedStep(0, some, cut))
    for weight, other in zip(
        whole.teacher_update.optimizer.weights, parts.teacher_update.optimizer.weights, strict=True
    ):
        # an element with next to no gradient has next to no say in its sign: Adam's first step
        assert ((weight - other).abs() > 1e-6).float().mean() < 0.02


@pytest.mark.parametrize("kind", LEARNING)
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


def after(run_: TrainingRun, state: TrainingState, last: int) -> None:
    for _ in train(run_, state):
        if state.step == last:
            return


@pytest.mark.parametrize("method", LEARNING)
def test_killed_and_resumed_it_ends_with_the_same_bits(method, tmp_path):
    straight, killed, resumed = (run(Setup(method)) for _ in range(3))
    state = initial_state(straight)
    after(straight, state, 8)

    early = initial_state(killed)
    after(killed, early, 3)
    checkpoint.save(tmp_path, killed, early, "job")
    late = initial_state(resumed)
    assert checkpoint.resume(tmp_path, resumed, late, "job")
    assert late.step == 3
    after(resumed, late, 8)

    assert same(bits(straight.student), bits(resumed.student))
    assert same(bits(straight.teacher.model), bits(resumed.teacher.model))
    assert not same(bits(straight.teacher.model), bits(killed.teacher.model))
    losses = [[row["loss_nats"] for row in end.rows] for end in (state, late)]
    assert losses[0] == losses[1]


@pytest.mark.parametrize("method", LEARNING)
def test_the_teacher_s_artifact_stays_as_it_was(method, tmp_path):
    files = put_all(tmp_path)
    before = {path: path.read_bytes() for path in files.teacher.rglob("*.*")}
    made = training_run.assemble(files, run(Setup(method, steps=3)).settings)
    after(made, initial_state(made), 3)
    assert any(up.abs().sum() > 0 for up in made.teacher_update.optimizer.weights[1::2])
    assert {path: path.read_bytes() for path in files.teacher.rglob("*.*")} == before


@pytest.mark.parametrize("update", [online_module.Update(), student_feedback.Update()])
def test_a_teacher_s_gradient_that_is_not_finite_stops_the_run(update):
    made = run(Setup("okd"))
    learning = update.attach(schooled(), made.train_set, made.settings, max_tokens=400)
    with torch.no_grad():
        next(made.student.parameters()).fill_(torch.nan)
    some = made.train_set[:4]
    learning.step(made.student, TrainedStep(4, some, [collate(some, CPU)]))
    with pytest.raises(ValueError, match="not finite at step 5"):
        learning.state_dict()  # what is saved, and the next step, are refused


def test_a_student_that_was_moved_is_back_bit_by_bit():
    model = llama(0)
    before, direction = bits(model), [torch.randn_like(weight) for weight in model.parameters()]
    with student_feedback.perturbed(model, direction, 0.3):
        assert not same(bits(model), before)
    assert same(bits(model), before)
