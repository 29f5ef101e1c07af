"""The training loop, the same for every method: it alone masks, averages and accumulates losses.

The loss is a mean over the response tokens of an optimizer step. Micro-batches and chunks of logits
are of whole texts, so a loss may use all tokens of a text, and how a step is cut changes no result.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.data.batch import Batch, token_context
from pipeline.data.sharing import counted, shared_batches
from pipeline.data_policies import ValidatedPolicy
from pipeline.distributions.divergences import kl
from pipeline.distributions.log_probs import (
    Logits,
    PerToken,
    TeacherSignal,
    TokenContext,
    log_probs_on,
    target_log_prob,
    target_only_support,
)
from pipeline.distributions.spans import in_spans, without_padding
from pipeline.feature_losses import Layers
from pipeline.losses import AdaptiveLoss, Loss, SpanLoss, StepStatisticLoss
from pipeline.models.dropout import training_mode
from pipeline.models.gradient_checkpointing import gradient_checkpointing
from pipeline.models.language_model import autocast, counted_lm_head, response_layers
from pipeline.models.logits import Hidden
from pipeline.models.sharding import whole
from pipeline.models.trainable import sum_gradients, trainable_weights
from pipeline.runtime.costs import ModelCounter
from pipeline.runtime.meter import Stopwatch
from pipeline.runtime.transfer import AsyncScalars
from pipeline.teacher_updates import TrainedStep
from pipeline.training.accounts import Accounts
from pipeline.training.agreement import Agreement
from pipeline.training.batches import (
    StepBatch,
    in_turn,
    of_all_ranks,
    step_batches,
    with_reference,
)
from pipeline.training.checkpoint_selection import Validation, better
from pipeline.training.metrics import flush_metrics, metrics_row, read_finite
from pipeline.training.schedule import learning_rate
from pipeline.training.state import PendingMetrics, TrainingRun, TrainingState


def train(run: TrainingRun, state: TrainingState) -> Iterator[int]:
    """Trains the student in place from `state.step` on; yields the count of steps after each one.

    A step's metrics are read when the next one is queued, or by `flush_metrics`, whose ValueError
    this raises too.
    """
    training, meter = run.settings.training, Stopwatch(run.student.device)
    batches, accounts = step_batches(run, state), Accounts(run.ranks, state)
    while state.step < run.steps:
        meter.start()
        batch = next(batches)
        scalars = train_step(run, state, batch)
        flush_metrics(state)  # those of the step before have arrived long ago

        rate = learning_rate(training, state.step, run.steps)
        state.step += 1
        validation = validate(run, state) if state.step in run.validated_steps else None
        if state.step == run.steps:
            scalars.read()  # the time of the last step counts too
        accounts.add(meter.cost())
        row = metrics_row(state, rate, batch, validation)
        state.pending = PendingMetrics(row, scalars, batch.texts, run)
        yield state.step
    flush_metrics(state)


def train_step(run: TrainingRun, state: TrainingState, batch: StepBatch) -> AsyncScalars:
    """Takes one optimizer step on a batch; returns its loss in nats and its gradient norm."""
    student, training = run.student, run.settings.training
    is_measured = state.step + 1 in run.validated_steps and run.settings.method.draws is None
    with training_mode(student, training):
        agreement = Agreement() if is_measured else None  # draws are no teacher's distribution
        loss_nats = backward_of_step(run, state, batch, agreement)
        backward_of_plain_text(run, state, batch)

    norm = sum_and_clip_gradients(run)
    means = agreement.means(batch.token_count) if agreement else []
    run.ranks.sum_in_place([loss_nats, *means])
    scalars = AsyncScalars([loss_nats, norm, *means])
    if run.needs_synchronous_metrics:
        loss_value, *_ = read_finite(run, state.step, batch.texts, scalars)
        if isinstance(run.loss, AdaptiveLoss):
            progress = state.step / run.steps
            state.loss = run.loss.update_state(state.loss, loss_value, progress)

    for group in state.optimizer.param_groups:
        rate = learning_rate(training, state.step, run.steps)
        group["lr"] = rate * group.get("rate_ratio", 1.0)
    state.optimizer.step()
    state.optimizer.zero_grad(set_to_none=True)
    if run.teacher_update is not None:
        trained = TrainedStep(state.step, batch.texts, batch.batches, run.ranks)
        run.teacher_update.step(student, trained)
    return scalars


def sum_and_clip_gradients(run: TrainingRun) -> Tensor:
    """Makes all ranks' gradients their sum, then of limited norm; returns the norm before that."""
    limit, norms = run.settings.training.max_gradient_norm, []
    # apart, so that projectors don't shorten the student's step
    projectors = run.features.weights if run.features else []
    for weights in (trainable_weights(run.student), projectors):
        sum_gradients(weights, run.ranks)
        norms.append(whole(torch.nn.utils.clip_grad_norm_(weights, limit)))
    return norms[0]


def backward_of_step(
    run: TrainingRun, state: TrainingState, batch: StepBatch, agreement: Agreement | None = None
) -> Tensor:
    """Adds up the gradients of a step's texts; returns their loss in nats."""
    settings, token_losses = run.settings, run.compiled_loss or mixed_token_losses
    progress, statistics = state.step / run.steps, step_statistics(run, state, batch)
    precision = torch.promote_types(run.student.dtype, torch.float32)
    loss_nats = torch.zeros((), dtype=precision, device=run.student.device)

    for micro_batch in in_turn(run, state, batch.micro_batches):
        read, chunk_losses = with_reference(run, micro_batch.batch), []
        chunks = run.chunks(read)
        if run.features is not None:
            run.features.record_work(read.texts)
        with backward_through(student_layers(run, read), chunks) as leaves:
            for rows, layers in zip(chunks, leaves, strict=True):
                teacher = micro_batch.teacher.chunk(rows)
                logits = student_logits(run, layers[:, -1])  # of one chunk at a time
                support = teacher.support
                tokens = token_context(read, rows, support, progress, state.loss, statistics)
                gold_weight = settings.method.gold_weight
                losses = token_losses(run.loss, gold_weight, teacher, logits, tokens)
                if run.features is not None:
                    losses = losses + run.features(layers, logits, teacher, tokens)
                loss = micro_batch.weight * losses.sum() / batch.token_count
                loss.backward()
                chunk_losses.append(loss.detach())
                if agreement:
                    agreement.add(teacher, logits, micro_batch.weight)
        loss_nats += torch.stack(chunk_losses).sum()
    return loss_nats


def backward_of_plain_text(run: TrainingRun, state: TrainingState, batch: StepBatch) -> None:
    """Adds the gradients of the term on plain text: cross entropy, in part forward KL."""
    method = run.settings.method
    for micro_batch in in_turn(run, state, batch.plain_text, first=len(batch.micro_batches)):
        chunks = run.chunks(micro_batch.batch)
        with backward_through(student_hidden(run, micro_batch.batch), chunks) as leaves:
            for rows, hidden in zip(chunks, leaves, strict=True):
                teacher = micro_batch.teacher.chunk(rows)
                student = log_probs_on(student_logits(run, hidden), teacher.support)
                losses = -target_log_prob(student, teacher.support.target)
                if method.plain_text_kl:
                    from_teacher = method.plain_text_kl * kl(teacher.log_probs, student)
                    losses = (1 - method.plain_text_kl) * losses + from_teacher
                mean = micro_batch.weight * losses.sum() / batch.plain_text_token_count
                (method.plain_text_weight * mean).backward()


@contextmanager
def backward_through(hidden: Tensor, chunks: Sequence[slice]) -> Iterator[list[Tensor]]:
    """Chunks of hidden states as leaves; on exit their gradients go through the body at once."""
    leaves = [hidden[rows].detach().requires_grad_() for rows in chunks]
    yield leaves
    hidden.backward(torch.cat([leaf.grad for leaf in leaves if leaf.grad is not None]))


def mixed_token_losses(
    loss: Loss, gold_weight: float, teacher: TeacherSignal, logits: Logits, tokens: TokenContext
) -> PerToken:
    """The method's loss at each token in nats, mixed with cross entropy by `gold_weight`."""
    if isinstance(loss, SpanLoss):
        teacher, tokens = in_spans(teacher, tokens)
        logits = without_padding(logits, tokens.spans)
    student = log_probs_on(logits, teacher.support)
    if isinstance(loss, StepStatisticLoss) and tokens.step_statistics is None:
        # these tokens are the whole step
        statistics = loss.step_statistic(teacher.log_probs, student.detach(), tokens)
        tokens = replace(tokens, step_statistics=statistics)
    losses = loss(teacher.log_probs, student, tokens)
    if not gold_weight:
        return losses
    # on its own samples, cross entropy would only make the student more confident
    gold = -target_log_prob(student, tokens.target).masked_fill(tokens.by_student, 0)
    return (1 - gold_weight) * losses + gold_weight * gold


@torch.no_grad()
def step_statistics(
    run: TrainingRun, state: TrainingState, batch: StepBatch
) -> Float[Tensor, " step_tokens"] | None:
    """`step_statistic` of every token of a step; None where the loss needs none.

    It is None, too, where the whole step is one chunk: `mixed_token_losses` computes it on the way.
    """
    loss = run.loss
    if not isinstance(loss, StepStatisticLoss):
        return None
    chunk_count = sum(len(run.chunks(micro_batch)) for micro_batch in batch.batches)
    if run.ranks.size == 1 and chunk_count == 1:
        return None
    progress, statistics = state.step / run.steps, []
    for micro_batch in in_turn(run, state, batch.micro_batches):
        hidden = student_hidden(run, micro_batch.batch)
        for rows in run.chunks(micro_batch.batch):
            teacher = micro_batch.teacher.chunk(rows)
            student = log_probs_on(student_logits(run, hidden[rows]), teacher.support)
            tokens = token_context(micro_batch.batch, rows, teacher.support, progress, state.loss)
            statistics.append(loss.step_statistic(teacher.log_probs, student, tokens))
    return of_all_ranks(run, batch, torch.cat(statistics))


def student_hidden(run: TrainingRun, batch: Batch) -> Hidden:
    """The student's hidden states that predict the response tokens of a batch."""
    return student_layers(run, batch)[:, -1]


def student_layers(run: TrainingRun, batch: Batch) -> Layers:
    """The same of the layers that the term on hidden states compares, the last one last."""
    recomputing = nullcontext()
    if run.gradient_checkpointing and torch.is_grad_enabled():
        recomputing = gradient_checkpointing(run.student)
    inner = [layer for layer, _ in run.features.inner_layers] if run.features else []
    with autocast(run.student.device, run.settings.training.precision), recomputing:
        return response_layers(run.student, batch, inner)


def student_logits(run: TrainingRun, hidden: Hidden) -> Logits:
    """The student's logits from hidden states."""
    with autocast(run.student.device, run.settings.training.precision):
        return counted_lm_head(run.student, hidden)


def token_nll(run: TrainingRun, batch: Batch, rows: slice, hidden: Hidden) -> PerToken:
    """The student's negative log-likelihood of some response tokens, in nats."""
    support = target_only_support(batch.next_ids[rows])
    log_probs = log_probs_on(student_logits(run, hidden), support)
    return -target_log_prob(log_probs, support.target)


def validate(run: TrainingRun, state: TrainingState) -> Validation:
    """Measures the student on held-out texts; policy and kept weights react to it."""
    training, rouge_l = run.settings.training, None
    nll_nats = validation_nll(run, state.work)
    if isinstance(run.policy, ValidatedPolicy):
        run.policy.on_validation(state.policy, nll_nats)
    if training.validates_text:
        # the packages that score text take longer to import than many a job to run
        from pipeline.training.validation_rouge import validation_rouge_l

        assert run.tokenizer is not None
        texts = run.validation_set[: training.validation_texts]
        new_tokens = run.settings.max_new_tokens
        rouge_l = validation_rouge_l(run.student, run.tokenizer, texts, new_tokens, run.ranks)
    validation = Validation(nll_nats, rouge_l)
    if training.keep == "best":
        score = validation.score(training)
        state.best = better(state.best, run.student, state.step, score, run.ranks)
    return validation


@torch.no_grad()
def validation_nll(run: TrainingRun, work: Sequence[ModelCounter] = ()) -> float:
    """Held-out NLL in nats per token, on the first `validation_texts` of the validation set."""
    texts = run.validation_set[: run.settings.training.validation_texts]
    total = torch.zeros((), dtype=torch.float64, device=run.student.device)
    batches = shared_batches(texts, run.max_tokens, run.student.device, run.ranks)
    for shared in counted(batches, work):
        hidden = student_hidden(run, shared.batch)
        for rows in run.chunks(shared.batch):
            total += shared.weight * token_nll(run, shared.batch, rows, hidden[rows]).sum()
    run.ranks.sum_in_place([total])
    return total.item() / sum(text.target_count for text in texts)
