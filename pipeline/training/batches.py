"""The data of each optimizer step: micro-batches with the teacher's distributions on them."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate, islice
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from pipeline.data.batch import Batch, Text, by_length
from pipeline.data.sharing import counted, shared_batches
from pipeline.data_policies import SelectingPolicy
from pipeline.distributions.log_probs import (
    TeacherDistributions,
    TeacherSignal,
    target_only_support,
)
from pipeline.distributions.sampled_targets import redraw
from pipeline.generation.rollouts import StepContext
from pipeline.losses import RewardedLoss, TextLoss
from pipeline.models.dropout import seed_draws
from pipeline.models.teacher import LiveTeacher
from pipeline.runtime.transfer import to_device
from pipeline.teacher_cache.reduce import uniform_numbers
from pipeline.tokenizer_alignment.teacher import AlignedTeacher
from pipeline.training.rewards import with_rewards
from pipeline.training.schedule import draw_batch
from pipeline.training.selection import drawn_texts, select_texts, target_log_probs
from pipeline.training.state import TrainingRun, TrainingState

Item = TypeVar("Item")

PREFETCHED = 2  # items that are ready or in the making


@dataclass(frozen=True)
class GroundTruth:
    """The distributions of a method without a teacher: all probability on the text's own token."""

    next_ids: Int[Tensor, " tokens"]

    def chunk(self, rows: slice) -> TeacherSignal:
        """The one-hot distribution at each of these tokens."""
        support = target_only_support(self.next_ids[rows])
        log_probs = torch.zeros(len(support.target), 2, device=self.next_ids.device)
        log_probs[:, 1] = -torch.inf
        return TeacherSignal(log_probs, support)


@dataclass(frozen=True)
class RedrawnDistributions:
    """Shares of draws in place of a teacher's distributions: RS-KD without a cache of its own."""

    teacher: TeacherDistributions
    uniforms: Float[Tensor, "tokens draws"]

    def chunk(self, rows: slice) -> TeacherSignal:
        """The shares at each of these tokens."""
        return redraw(self.teacher.chunk(rows), self.uniforms[rows])


@dataclass(frozen=True)
class MicroBatch:
    """Texts that go through the models together, and the teacher's distributions on them."""

    batch: Batch
    teacher: TeacherDistributions
    places: Sequence[int] = ()  # of the texts among those of the step, the shortest first
    weight: float = 1.0  # 0 for a filler, which keeps a rank in step with the others


@dataclass(frozen=True)
class StepBatch:
    """The data of one optimizer step."""

    texts: Sequence[Text]  # of all ranks
    micro_batches: Sequence[MicroBatch]  # of this rank
    plain_text: Sequence[MicroBatch]  # for the language-modelling term; empty without one
    unaligned: int | None = None  # texts left out: a teacher of another vocabulary can't read them
    plain_texts: Sequence[Text] = ()  # of all ranks

    @property
    def batches(self) -> list[Batch]:
        """The micro-batches that count, without the teacher's distributions."""
        return [micro_batch.batch for micro_batch in self.micro_batches if micro_batch.weight]

    @cached_property
    def token_count(self) -> int:
        """The number of response tokens of all ranks, which the loss is averaged over."""
        return sum(text.target_count for text in self.texts)

    @cached_property
    def plain_text_token_count(self) -> int:
        """The number of plain-text tokens of all ranks."""
        return sum(text.target_count for text in self.plain_texts)


def step_batches(run: TrainingRun, state: TrainingState) -> Iterator[StepBatch]:
    """The batches from `state.step` on; off-policy ones are prefetched."""
    select_texts(run, state)  # before there is a thread: ranks work on it together
    batches = (step_batch(run, state, step) for step in range(state.step, run.steps))
    yield from prefetch(batches) if run.policy.is_off_policy else batches


def step_batch(run: TrainingRun, state: TrainingState, step: int) -> StepBatch:
    """The data of a step. A live teacher runs when its distributions are first used."""
    batch_size, seed = run.settings.training.batch_size, run.settings.seed
    batch = drawn_texts(run, state, step)
    written = run.policy.texts(batch, step_context(run, state, step))
    if isinstance(run.loss, RewardedLoss) and not run.policy.is_off_policy:
        assert run.tokenizer is not None
        written = with_rewards(written, batch, run.tokenizer)
    texts = readable(run, written)
    plain_text = draw_batch(run.plain_text, step, batch_size, seed) if run.plain_text else []
    return StepBatch(
        texts,
        with_teacher(run, texts, step, asked=learns_from_teacher(run)),
        with_teacher(run, plain_text, step, asked=run.settings.method.plain_text_kl > 0),
        unaligned=len(written) - len(texts) if isinstance(run.teacher, AlignedTeacher) else None,
        plain_texts=plain_text,
    )


def readable(run: TrainingRun, texts: Sequence[Text]) -> Sequence[Text]:
    """Those of some texts that the run's teacher can read."""
    return run.teacher.readable(texts) if isinstance(run.teacher, AlignedTeacher) else texts


def learns_from_teacher(run: TrainingRun) -> bool:
    """Whether a step needs the teacher, where it isn't there to select texts alone."""
    selects_alone = isinstance(run.policy, SelectingPolicy) and isinstance(run.loss, TextLoss)
    return run.features is not None or not selects_alone


def with_teacher(
    run: TrainingRun, texts: Sequence[Text], step: int, asked: bool = True
) -> list[MicroBatch]:
    """Micro-batches of this rank's texts, with the distributions of the teacher if it is asked."""
    micro_batches = []
    for shared in shared_batches(texts, run.max_tokens, run.student.device, run.ranks):
        batch = shared.batch
        teacher = distributions_on(run, batch, step) if asked else GroundTruth(batch.next_ids)
        micro_batches.append(MicroBatch(batch, teacher, shared.places, shared.weight))
    return micro_batches


def in_turn(
    run: TrainingRun, state: TrainingState, micro_batches: Sequence[MicroBatch], first: int = 0
) -> Iterator[MicroBatch]:
    """Each micro-batch, with its own draws of dropout; the work on a filler isn't counted."""
    for place, micro_batch in enumerate(counted(micro_batches, state.work), start=first):
        number = place * run.ranks.size + run.ranks.rank
        seed_draws(run.settings.training.has_dropout, run.settings.seed, state.step, number)
        yield micro_batch


def of_all_ranks(
    run: TrainingRun, batch: StepBatch, values: Float[Tensor, " own_tokens"]
) -> Float[Tensor, " step_tokens"]:
    """The values of a step's tokens from those of each rank, in the order of a single rank."""
    if run.ranks.size == 1:
        return values[: batch.token_count]  # fillers come last
    ends = list(accumulate(text.target_count for text in by_length(batch.texts)))
    starts = [0, *ends[:-1]]
    counting = [micro_batch for micro_batch in batch.micro_batches if micro_batch.weight]
    places = [place for micro_batch in counting for place in micro_batch.places]
    own = [row for place in places for row in range(starts[place], ends[place])]
    rows = to_device(torch.tensor(own, dtype=torch.long), values.device)
    whole = values.new_zeros(batch.token_count)
    whole[rows] = values[: len(own)]
    run.ranks.sum_in_place([whole])
    return whole


def distributions_on(run: TrainingRun, batch: Batch, step: int) -> TeacherDistributions:
    """The teacher's distributions on a batch, or draws from them; without a teacher, the text's."""
    if run.teacher is None:
        return GroundTruth(batch.next_ids)
    distributions, draws = run.teacher.distributions(batch), run.settings.method.draws
    if draws is None:
        return distributions
    # those of a text depend on the seed, the step and its id alone
    uniforms = uniform_numbers(batch.texts, draws, f"redrawn/{run.settings.seed}/{step}")
    return RedrawnDistributions(distributions, to_device(uniforms, batch.next_ids.device))


def with_reference(run: TrainingRun, batch: Batch) -> Batch:
    """The batch with the reference model's log-probabilities of its targets, where it has one."""
    if run.reference is None:
        return batch
    return replace(batch, reference_log_probs=target_log_probs(run, run.reference, batch))


def step_context(run: TrainingRun, state: TrainingState, step: int) -> StepContext:
    """The context of a step that its data policy may use."""
    seed = int(np.random.SeedSequence([run.settings.seed, step]).generate_state(1)[0])
    return StepContext(
        step=step,
        steps=run.steps,
        epoch=step * run.settings.training.batch_size // len(run.train_set),
        train_set=run.train_set,
        student=run.student,
        teacher=run.teacher.model if isinstance(run.teacher, LiveTeacher) else None,
        max_new_tokens=run.settings.max_new_tokens,
        ranks=run.ranks,
        seed=seed,
        rng=np.random.default_rng(seed),
        state=state.policy,
    )


def prefetch(items: Iterable[Item]) -> Iterator[Item]:
    """The same items in the same order, made by a thread ahead of their use.

    An error is raised when its item's turn comes.
    """
    source = iter(items)

    def take_one() -> list[Item]:
        return list(islice(source, 1))  # empty at the end

    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="prefetch") as thread:
        queue = deque(thread.submit(take_one) for _ in range(PREFETCHED))
        while item := queue.popleft().result():
            queue.append(thread.submit(take_one))
            yield from item
