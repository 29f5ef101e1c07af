"""The training loop: flat, the same for every method, and the one place that masks and reduces."""

import math
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.data.batch import Batch, Text, micro_batches, token_context
from pipeline.distributions.log_probs import (
    LogProbs,
    PerToken,
    Support,
    TokenContext,
    log_probs_on,
    target_log_prob,
    target_only_support,
)
from pipeline.models.gradient_checkpointing import gradient_checkpointing
from pipeline.models.language_model import (
    autocast,
    counted_lm_head,
    parameter_count,
    response_hidden,
)
from pipeline.models.teacher import LiveTeacher, Teacher
from pipeline.runtime.meter import Stopwatch
from pipeline.runtime.transfer import AsyncScalars
from pipeline.training.batches import MicroBatch, StepBatch, step_batches
from pipeline.training.chunked_loss import Hidden, descend, max_logits, parts
from pipeline.training.schedule import learning_rate, validation_steps
from pipeline.training.state import PendingMetrics, Row, TrainingRun, TrainingState


@dataclass(frozen=True)
class Reading:
    """The teacher's distributions, the student's logits, and what else a loss may know."""

    teacher: LogProbs | None
    logits: Float[Tensor, "tokens vocabulary"]  # of the student
    support: Support
    tokens: TokenContext

    @property
    def student(self) -> LogProbs:
        """The student's distributions."""
        return log_probs_on(self.logits, self.support)


def distill(run: TrainingRun, state: TrainingState) -> Iterator[int]:
    """Trains the student in place, on from where `state` stands; gives each step as it is queued.

    `flush_metrics` reads its row. Raises ValueError as that does.
    """
    training, device = run.settings.training, run.student.device
    measured_at, watch = validation_steps(training, run.steps), Stopwatch(device)
    supply = step_batches(run, state)
    for step in range(state.step, run.steps):
        watch.start()
        given = next(supply)
        token_count = sum(batch.token_count for batch in given.batches)
        scores = gather_step_statistics(run, state, given)

        total = torch.zeros((), device=device)
        for one in given.micro_batches:
            total += descent(run, state, one, scores, token_count)
        plain_count = sum(batch.token_count for batch in given.plain)
        for batch in given.plain:
            hidden, rows = student_hidden(run, batch), parts_of(run, batch)
            descend(hidden, rows, partial(plain_loss, run, batch, plain_count))

        norm = torch.nn.utils.clip_grad_norm_(run.student.parameters(), training.max_gradient_norm)
        numbers = AsyncScalars([total, norm])
        if run.waits:
            loss_nats, _ = finite(numbers, step, given.texts, run.teacher)
        rate = learning_rate(training, step, run.steps)
        for group in state.optimizer.param_groups:
            group["lr"] = rate
        state.optimizer.step()
        state.optimizer.zero_grad(set_to_none=True)
        if run.update is not None:
            run.update.learn(run.student, given.batches, step)
        if hasattr(run.loss, "advance"):
            state.loss = run.loss.advance(state.loss, loss_nats, step / run.steps)

        flush_metrics(state)  # the step before, whose numbers have arrived long ago
        state.step = step + 1
        nll_nats = validation_nll(run) if state.step in measured_at else None
        if nll_nats is not None and hasattr(run.policy, "validated"):
            run.policy.validated(state.policy, nll_nats)
        if state.step == run.steps:
            numbers.read()  # the last step's time counts too
        state.usage = state.usage + watch.cost()
        row = _row(state, rate, given.texts, nll_nats)
        state.pending = PendingMetrics(row, numbers, given.texts, run.teacher)
        yield state.step
    flush_metrics(state)


def flush_metrics(state: TrainingState) -> None:
    """Reads the numbers of the last step into its row, if that has not been done.

    Raises: ValueError when they are not finite, with the step and its examples.
    """
    if state.pending is None:
        return
    last = state.pending
    loss_nats, norm = finite(last.numbers, len(state.rows), last.texts, last.teacher)
    state.rows.append(last.row | {"loss_nats": loss_nats, "gradient_norm": norm})
    state.pending = None


def finite(
    numbers: AsyncScalars, step: int, texts: Sequence[Text], teacher: Teacher | None
) -> list[float]:
    """Loss and gradient norm of a step. Raises ValueError unless both are finite."""
    loss_nats, norm = numbers.read()
    if math.isfinite(loss_nats) and math.isfinite(norm):
        return [loss_nats, norm]
    if isinstance(teacher, LiveTeacher):
        teacher.check(texts, step)
    named = ", ".join(text.example_id for text in texts[:4])
    more = f" and {len(texts) - 4} more" if len(texts) > 4 else ""
    what = f"gradient has the norm {norm}" if math.isfinite(loss_nats) else f"loss is {loss_nats}"
    raise ValueError(
        f"the {what} at step {step + 1}, on the batch of {named}{more}; "
        "a lower training.learning_rate may help"
    )


def student_hidden(run: TrainingRun, batch: Batch) -> Hidden:
    """What the student's head is to read for the response tokens of a batch."""
    kept = nullcontext()
    if run.recompute and torch.is_grad_enabled():
        kept = gradient_checkpointing(run.student)
    with autocast(run.student.device, run.settings.training.precision), kept:
        return response_hidden(run.student, batch)


def parts_of(run: TrainingRun, batch: Batch) -> list[slice]:
    """The parts in which a batch goes through the head."""
    most = max_logits(run.student.device, parameter_count(run.student))
    return parts(batch, run.student.config.vocab_size, most)


def descent(
    run: TrainingRun,
    state: TrainingState,
    one: MicroBatch,
    scores: Float[Tensor, " step_tokens"] | None,
    token_count: int,
) -> Float[Tensor, ""]:
    """What a micro-batch adds to the step's mean loss; its gradient is added to the weights'."""
    hidden, rows = student_hidden(run, one.batch), parts_of(run, one.batch)
    return descend(hidden, rows, partial(step_loss, run, state, one, scores, token_count))


def step_loss(
    run: TrainingRun,
    state: TrainingState,
    one: MicroBatch,
    scores: Float[Tensor, " step_tokens"] | None,
    token_count: int,
    hidden: Hidden,
    rows: slice,
) -> Float[Tensor, ""]:
    """What some tokens of a micro-batch add to the step's mean loss."""
    return token_losses(run, read(run, state, one, hidden, rows), scores).sum() / token_count


def plain_loss(
    run: TrainingRun, batch: Batch, token_count: int, hidden: Hidden, rows: slice
) -> Float[Tensor, ""]:
    """What some tokens of plain text add to the loss."""
    mean = token_nll(run, batch, hidden, rows).sum() / token_count
    return run.settings.method.plain_text_weight * mean


def read(
    run: TrainingRun, state: TrainingState, one: MicroBatch, hidden: Hidden, rows: slice
) -> Reading:
    """Teacher and student at some tokens; `hidden` is what the student's head reads there."""
    signal = one.forecast.part(rows) if one.forecast else None
    support = signal.support if signal else target_only_support(one.batch.next_ids[rows])
    with autocast(run.student.device, run.settings.training.precision):
        logits = counted_lm_head(run.student, hidden)
    tokens = token_context(one.batch, rows, support, state.step / run.steps, state.loss)
    return Reading(signal.log_probs if signal else None, logits, support, tokens)


@torch.no_grad()
def gather_step_statistics(
    run: TrainingRun, state: TrainingState, given: StepBatch
) -> Float[Tensor, " step_tokens"] | None:
    """`Loss.score` of every token of the step, for losses that are defined over a whole step."""
    if not hasattr(run.loss, "score"):
        return None
    if sum(len(parts_of(run, batch)) for batch in given.batches) == 1:
        return None  # one part is the whole step: `token_losses` scores it as it goes
    found = []
    for one in given.micro_batches:
        hidden = student_hidden(run, one.batch)
        for rows in parts_of(run, one.batch):
            reading = read(run, state, one, hidden[rows], rows)
            found.append(run.loss.score(reading.teacher, reading.student, reading.tokens))
    return torch.cat(found)


def token_losses(
    run: TrainingRun, reading: Reading, scores: Float[Tensor, " step_tokens"] | None
) -> PerToken:
    """The method's loss at each token of a reading, in nats."""
    losses_of = run.fused or mix_gold_loss
    return losses_of(run.loss, run.settings.method.gold_weight, reading, scores)


def mix_gold_loss(
    loss: Any, gold_weight: float, reading: Reading, scores: Float[Tensor, " step_tokens"] | None
) -> PerToken:
    """A loss at each token, with a share of cross entropy on what the student did not write."""
    teacher, student, tokens = reading.teacher, reading.student, reading.tokens
    if hasattr(loss, "score"):
        own = loss.score(teacher, student.detach(), tokens) if scores is None else scores
        tokens = replace(tokens, step_scores=own)
    losses = loss(teacher, student, tokens)
    if not gold_weight:
        return losses
    # on its own samples, cross entropy would only make the student surer of itself
    gold = -target_log_prob(student, tokens.target).masked_fill(tokens.by_student, 0)
    return (1 - gold_weight) * losses + gold_weight * gold


def token_nll(run: TrainingRun, batch: Batch, hidden: Hidden, rows: slice) -> PerToken:
    """The student's negative log-likelihood of some response tokens, in nats."""
    with autocast(run.student.device, run.settings.training.precision):
        logits = counted_lm_head(run.student, hidden)
    support = target_only_support(batch.next_ids[rows])
    return -target_log_prob(log_probs_on(logits, support), support.target)


@torch.no_grad()
def validation_nll(run: TrainingRun) -> float:
    """Held-out NLL in nats a token, on the first validation texts; their order is a seeded draw."""
    texts = run.validation[: run.settings.training.validation_texts]
    total = torch.zeros((), dtype=torch.float64, device=run.student.device)
    for batch in micro_batches(texts, run.budget, run.student.device):
        hidden = student_hidden(run, batch)
        for rows in parts_of(run, batch):
            total += token_nll(run, batch, hidden[rows], rows).sum()
    return total.item() / sum(len(text.response_ids) for text in texts)


def _row(state: TrainingState, rate: float, texts: Sequence[Text], nll_nats: float | None) -> Row:
    written = [text for text in texts if text.log_probs]
    generated_tokens = sum(len(text.response_ids) for text in written)
    by_teacher = sum(text.teacher_tokens for text in written)
    return {
        "step": state.step,
        "loss_nats": None,
        "gradient_norm": None,
        "learning_rate": rate,
        "response_tokens": sum(len(text.response_ids) for text in texts),
        "generated_tokens": generated_tokens,
        "teacher_share": by_teacher / generated_tokens if written else None,
        "eos_share": sum(text.ended for text in written) / len(written) if written else None,
        "validation_nll_nats": nll_nats,
        "seconds": state.usage.seconds,
        "flops": (state.student_work.as_student() + state.teacher_work.as_teacher()).flops,
    }
