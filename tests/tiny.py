"""Small real things that tests share: distributions over few tokens, a two-layer Llama, a run."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from pipeline.data.batch import Text
from pipeline.data_policies.fixed import Policy
from pipeline.distributions.log_probs import (
    LogProbs,
    Support,
    TeacherSignal,
    TokenContext,
    log_probs_on,
    target_log_prob,
)
from pipeline.distributions.spans import in_spans
from pipeline.losses import ReferenceLoss, SpanLoss, StepStatisticLoss, initial_state
from pipeline.models.teacher import LiveTeacher
from pipeline.settings.distill import DistillSettings, MethodSettings
from pipeline.settings.training import Training
from pipeline.training.state import TrainingRun, TrainingState

TEXT_LENGTHS = (3, 1, 4, 2)  # response tokens of the texts of a case
VOCABULARY = 64


@dataclass(frozen=True)
class Case:
    """What a loss is given for an optimizer step of few tokens, in float64."""

    teacher: Tensor  # logits [tokens, vocabulary]
    student: Tensor  # logits [tokens, vocabulary]
    next_ids: Tensor
    noise: Tensor  # of what the texts were written with

    def tokens(self, state: dict[str, float], progress: float = 0.3) -> TokenContext:
        """The tokens on a dense support; every other text is the student's."""
        lengths = torch.tensor(TEXT_LENGTHS)
        sequence = torch.arange(len(lengths)).repeat_interleave(lengths)
        written = target_log_prob(self.student.log_softmax(-1), self.next_ids) + self.noise
        return TokenContext(
            target=self.next_ids,
            sequence=sequence,
            lengths=lengths,
            offsets=torch.arange(max(TEXT_LENGTHS)),
            by_student=sequence % 2 == 1,
            sampled_log_probs=written,
            advantages=sequence.double() - 1.3,
            has_solution=sequence % 3 != 1,
            reference_log_probs=written / 2,
            all_sampled=True,
            dense=True,
            progress=progress,
            state=state,
        )


def case(seed: int = 0, vocabulary: int = 11, spread: float = 2.0) -> Case:
    """Random logits for teacher and student, which differ."""
    draw, count = torch.Generator().manual_seed(seed), sum(TEXT_LENGTHS)
    shape = (count, vocabulary)
    teacher, student = (
        spread * torch.randn(shape, generator=draw, dtype=torch.float64) for _ in range(2)
    )
    next_ids = torch.randint(vocabulary, (count,), generator=draw)
    noise = 0.1 * torch.randn(count, generator=draw, dtype=torch.float64)
    return Case(teacher, student, next_ids, noise)


def one_text(target: Tensor, sampled_log_probs: Tensor) -> TokenContext:
    """The tokens of a single text by the student, on a dense support."""
    return TokenContext(
        target=target,
        sequence=torch.zeros_like(target),
        lengths=torch.tensor([len(target)]),
        offsets=torch.arange(len(target)),
        by_student=torch.ones_like(target, dtype=torch.bool),
        sampled_log_probs=sampled_log_probs,
        advantages=torch.zeros_like(sampled_log_probs),
        has_solution=torch.ones_like(target, dtype=torch.bool),
        all_sampled=True,
        dense=True,
        progress=0.0,
        state={},
    )


def losses(loss: Any, teacher: LogProbs, student: LogProbs, tokens: TokenContext) -> Tensor:
    """The loss of each token, the tokens being a whole optimizer step."""
    if isinstance(loss, SpanLoss) and tokens.spans is None:
        _, tokens = in_spans(TeacherSignal(teacher, Support(tokens.target)), tokens)
    if isinstance(loss, StepStatisticLoss):
        scores = loss.step_statistic(teacher, student.detach(), tokens)
        tokens = replace(tokens, step_statistics=scores.detach())
    return loss(teacher, student, tokens)


def on_signal(loss: Any, signal: TeacherSignal, case: Case, state: dict[str, float]) -> Tensor:
    """The loss of each token on the support of a signal, which is a teacher's."""
    tokens = case.tokens(state)
    if isinstance(loss, SpanLoss):
        tokens = replace(tokens, target=signal.support.target)
        whole, tokens = in_spans(signal, tokens)
        return losses(loss, signal.log_probs, log_probs_on(case.student, whole.support), tokens)
    student = log_probs_on(case.student, signal.support)
    assert tokens.reference_log_probs is not None
    tokens = replace(
        tokens,
        target=signal.support.target,
        dense=signal.support.ids is None,
        sampled_log_probs=tokens.sampled_log_probs.float(),
        reference_log_probs=tokens.reference_log_probs.float(),
        advantages=tokens.advantages.float(),
    )
    return losses(loss, signal.log_probs, student, tokens)


def llama(seed: int, layers: int = 2, width: int = 32, vocabulary: int = VOCABULARY) -> Any:
    """A Llama with random weights, large enough for its predictions to differ."""
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=layers,
        num_attention_heads=2,
        max_position_embeddings=64,
        initializer_range=0.3,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlamaForCausalLM(config).eval()


def texts(count: int = 6, seed: int = 0) -> list[Text]:
    """Texts of several lengths; every other one is the student's, all with log-probabilities."""
    draw = torch.Generator().manual_seed(seed)
    result = []
    for number in range(count):
        prompt = torch.randint(VOCABULARY, (3 + number % 3,), generator=draw).tolist()
        response = torch.randint(VOCABULARY, (1 + (5 * number) % 7,), generator=draw).tolist()
        result.append(
            Text(
                example_id=f"text-{number}",
                prompt_ids=prompt,
                response_ids=response,
                author="student" if number % 2 else "teacher",
                log_probs=(-4 - torch.rand(len(response), generator=draw)).tolist(),
                advantage=(-0.7, 0.4, 1.1)[number % 3],
                solution=[number],
            )
        )
    return result


def run(loss: Any, budget: int = 10_000, gold_weight: float = 0.0, steps: int = 1) -> TrainingRun:
    """A run of a loss on all tiny texts at once, with a live teacher."""
    pool = texts()
    method = MethodSettings(loss="", policy="fixed", teacher="live", gold_weight=gold_weight)
    training = Training(
        steps=steps,
        batch_size=len(pool),
        warmup_ratio=0,
        schedule="constant",
        learning_rate=1.0,
        max_gradient_norm=1e9,
        validations=0,
    )
    return TrainingRun(
        settings=DistillSettings(method=method, training=training, max_new_tokens=4, seed=0),
        student=llama(seed=2),
        teacher=LiveTeacher(llama(seed=1)),
        loss=loss,
        policy=Policy(),
        teacher_update=None,
        train_set=pool,
        validation_set=[],
        plain_text=[],
        max_tokens=budget,
        reference=LiveTeacher(llama(seed=3)) if isinstance(loss, ReferenceLoss) else None,
    )


def plain_descent(run: TrainingRun) -> TrainingState:
    """The state before the first step, with an optimizer that subtracts the gradient itself."""
    optimizer = torch.optim.SGD(run.student.parameters(), lr=run.settings.training.learning_rate)
    return TrainingState(optimizer, loss=initial_state(run.loss))
