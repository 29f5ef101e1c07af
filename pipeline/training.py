"""The training loop: flat, the same for every method, and the one place that masks and reduces."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from pipeline.costs import Usage, Work, flops_of
from pipeline.language_model import autocast, response_logits
from pipeline.schedule import draw, learning_rate, step_count, validation_steps
from pipeline.settings.distill import DistillSettings
from pipeline.signal import LogProbs, PerToken, Support, Tokens, of_target, on_support
from pipeline.stopwatch import Stopwatch
from pipeline.teachers import LiveTeacher, Teacher
from pipeline.texts import Batch, Text, loss_view, micro_batches
from pipeline.turn import Turn
from pipeline.workload import count

Row = dict[str, float | None]


@dataclass(frozen=True)
class Run:
    """All that a training run is made of."""

    settings: DistillSettings
    student: PreTrainedModel
    teacher: Teacher | None
    loss: Any
    policy: Any
    update: Any  # of the teacher, where it learns too; else None
    pool: Sequence[Text]
    validation: Sequence[Text]
    plain: Sequence[Text]  # for the language-modelling term; empty without one
    budget: int  # positions in a micro-batch: of the machine, changes no result

    @property
    def steps(self) -> int:
        """Optimizer steps in all."""
        return step_count(self.settings.training, len(self.pool))


@dataclass
class State:
    """Where a run stands: all that must survive a kill, beside the weights."""

    optimizer: torch.optim.Optimizer
    step: int = 0
    usage: Usage = field(default_factory=Usage)
    student_work: Work = field(default_factory=Work)
    teacher_work: Work = field(default_factory=Work)  # of a live teacher
    loss: dict[str, float] = field(default_factory=dict)
    policy: dict[str, Any] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)


@dataclass(frozen=True)
class Reading:
    """Both distributions over a micro-batch, and what else a loss may know."""

    teacher: LogProbs | None
    student: LogProbs
    tokens: Tokens


def begin(run: Run) -> State:
    """The state before the first step."""
    training = run.settings.training
    optimizer = torch.optim.AdamW(
        run.student.parameters(),
        lr=training.learning_rate,
        betas=training.betas,
        weight_decay=training.weight_decay,
        fused=True,
    )
    return State(
        optimizer,
        student_work=count(run.student),
        teacher_work=run.teacher.count() if run.teacher else Work(),
        loss=run.loss.initial_state() if hasattr(run.loss, "advance") else {},
    )


def distill(run: Run, state: State) -> Iterator[Row]:
    """Trains the student in place, on from where `state` stands; a row of STEPS for each step.

    Raises: ValueError when a loss is no finite number, with the step and its examples.
    """
    training, method, device = run.settings.training, run.settings.method, run.student.device
    measured_at, watch = validation_steps(training, run.steps), Stopwatch(device)
    for step in range(state.step, run.steps):
        watch.start()
        drawn = draw(run.pool, step, training.batch_size, run.settings.seed)
        texts = run.policy.texts(drawn, turn(run, state))
        batches = list(micro_batches(texts, run.budget, device))
        token_count = sum(batch.token_count for batch in batches)
        scores = survey(run, state, batches)

        total = torch.zeros((), device=device)
        for batch in batches:
            loss = token_losses(run, read(run, state, batch), scores).sum() / token_count
            loss.backward()
            total += loss.detach()
        if run.plain:
            plain = draw(run.plain, step, training.batch_size, run.settings.seed)
            plain_count = sum(len(text.response_ids) for text in plain)
            for batch in micro_batches(plain, run.budget, device):
                nll = token_nll(run.student, batch, training.precision).sum() / plain_count
                (method.plain_text_weight * nll).backward()

        loss_nats = total.item()
        if not math.isfinite(loss_nats):
            raise ValueError(_not_finite(loss_nats, step, texts))
        norm = torch.nn.utils.clip_grad_norm_(run.student.parameters(), training.max_gradient_norm)
        rate = learning_rate(training, step, run.steps)
        for group in state.optimizer.param_groups:
            group["lr"] = rate
        state.optimizer.step()
        state.optimizer.zero_grad(set_to_none=True)
        if run.update is not None:
            run.update.learn(run.student, batches, step)
        if hasattr(run.loss, "advance"):
            state.loss = run.loss.advance(state.loss, loss_nats, step / run.steps)

        state.step = step + 1
        nll_nats = validation_nll(run) if state.step in measured_at else None
        if nll_nats is not None and hasattr(run.policy, "validated"):
            run.policy.validated(state.policy, nll_nats)
        state.usage = state.usage.then(watch.usage())
        state.rows.append(_row(state, loss_nats, norm.item(), rate, texts, nll_nats))
        yield state.rows[-1]


def turn(run: Run, state: State) -> Turn:
    """What the data policy may know of the step to come."""
    seed = int(np.random.SeedSequence([run.settings.seed, state.step]).generate_state(1)[0])
    return Turn(
        step=state.step,
        steps=run.steps,
        epoch=state.step * run.settings.training.batch_size // len(run.pool),
        pool=run.pool,
        student=run.student,
        teacher=run.teacher.model if isinstance(run.teacher, LiveTeacher) else None,
        max_new_tokens=run.settings.max_new_tokens,
        seed=seed,
        rng=np.random.default_rng(seed),
        state=state.policy,
    )


def read(run: Run, state: State, batch: Batch) -> Reading:
    """Teacher and student over a micro-batch; only the student's part has a gradient."""
    signal = run.teacher.signal(batch) if run.teacher else None
    support = signal.support if signal else Support(target=batch.next_ids)
    with autocast(run.student.device, run.settings.training.precision):
        logits = response_logits(run.student, batch)
    tokens = loss_view(batch, support, state.step / run.steps, state.loss)
    return Reading(signal.log_probs if signal else None, on_support(logits, support), tokens)


@torch.no_grad()
def survey(run: Run, state: State, batches: Sequence[Batch]) -> Float[Tensor, " tokens"] | None:
    """`Loss.score` of every token of the step, for losses that are defined over a whole step."""
    if not hasattr(run.loss, "score") or len(batches) == 1:
        return None  # one micro-batch is the whole step: `token_losses` scores it as it goes
    readings = (read(run, state, batch) for batch in batches)
    return torch.cat([run.loss.score(one.teacher, one.student, one.tokens) for one in readings])


def token_losses(run: Run, reading: Reading, scores: Float[Tensor, " tokens"] | None) -> PerToken:
    """The method's loss at each response token of a micro-batch, in nats."""
    teacher, student, tokens = reading.teacher, reading.student, reading.tokens
    if hasattr(run.loss, "score"):
        own = run.loss.score(teacher, student.detach(), tokens) if scores is None else scores
        tokens = replace(tokens, step_scores=own)
    losses = run.loss(teacher, student, tokens)

    gold_weight = run.settings.method.gold_weight
    if not gold_weight:
        return losses
    # on its own samples, cross entropy would only make the student surer of itself
    gold = -of_target(student, tokens.target).masked_fill(tokens.by_student, 0)
    return (1 - gold_weight) * losses + gold_weight * gold


def token_nll(student: PreTrainedModel, batch: Batch, precision: str) -> PerToken:
    """The student's negative log-likelihood of each response token, in nats."""
    with autocast(student.device, precision):
        logits = response_logits(student, batch)
    support = Support(target=batch.next_ids)
    return -of_target(on_support(logits, support), support.target)


@torch.no_grad()
def validation_nll(run: Run) -> float:
    """Held-out NLL in nats a token, on the first validation texts; their order is a seeded draw."""
    texts = run.validation[: run.settings.training.validation_texts]
    total = sum(
        token_nll(run.student, batch, run.settings.training.precision).sum().item()
        for batch in micro_batches(texts, run.budget, run.student.device)
    )
    return total / sum(len(text.response_ids) for text in texts)


def _not_finite(loss_nats: float, step: int, texts: Sequence[Text]) -> str:
    named = ", ".join(text.example_id for text in texts[:4])
    more = f" and {len(texts) - 4} more" if len(texts) > 4 else ""
    return (
        f"the loss is {loss_nats} at step {step + 1}, on the batch of {named}{more}; "
        "a lower training.learning_rate may help"
    )


def _row(
    state: State,
    loss_nats: float,
    gradient_norm: float,
    rate: float,
    texts: Sequence[Text],
    nll_nats: float | None,
) -> Row:
    written = [text for text in texts if text.log_probs]
    written_tokens = sum(len(text.response_ids) for text in written)
    by_teacher = sum(text.teacher_tokens for text in written)
    return {
        "step": state.step,
        "loss_nats": loss_nats,
        "gradient_norm": gradient_norm,
        "learning_rate": rate,
        "response_tokens": sum(len(text.response_ids) for text in texts),
        "written_tokens": written_tokens,
        "teacher_share": by_teacher / written_tokens if written else None,
        "ended_share": sum(text.ended for text in written) / len(written) if written else None,
        "validation_nll_nats": nll_nats,
        "seconds": state.usage.seconds,
        "flops": flops_of(state.student_work, state.teacher_work),
    }
