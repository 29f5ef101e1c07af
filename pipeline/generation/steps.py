"""One step of all texts: a token each, or as many as were guessed right."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pipeline.generation.sampling import (
    SampledTokens,
    SpeculativeSampler,
    TokenSampler,
    select_teacher_or_student,
)
from pipeline.generation.slots import Slots


@runtime_checkable
class Decoder(Protocol):
    """A model that is part way through the texts in all slots."""

    def begin(self, rows: Int[Tensor, " begun"], ids: Int[Tensor, "begun width"]) -> None:
        """Reads the first tokens of texts into their slots."""
        ...

    def read(
        self, ids: Int[Tensor, "slots new"], read: Int[Tensor, " slots"], seen: int
    ) -> Float[Tensor, "slots new vocabulary"]:
        """The logits after each of the next tokens; `read` are behind them, `seen` is the most."""
        ...

    def keep(self, rows: Int[Tensor, " kept"]) -> None:
        """Goes on with these slots alone."""
        ...


def ahead(choose: TokenSampler | SpeculativeSampler) -> int:
    """The most tokens that a step writes."""
    return choose.tokens if isinstance(choose, SpeculativeSampler) else 1


def advance(
    readers: Sequence[Decoder],
    choose: TokenSampler | SpeculativeSampler,
    slots: Slots,
    seen: int,
    end_ids: Sequence[int],
) -> None:
    """Writes on in all slots."""
    if isinstance(choose, SpeculativeSampler):
        _by_draft(readers, choose, slots, seen, end_ids)
        return
    logits = [one.read(slots.last[:, None], slots.read, seen)[:, 0] for one in readers]
    slots.take(choose(logits, slots.position, slots.uniform()), slots.writing, end_ids)


def _by_draft(
    readers: Sequence[Decoder],
    choose: SpeculativeSampler,
    slots: Slots,
    seen: int,
    end_ids: Sequence[int],
) -> None:
    """The first model proposes token by token, the second reads and judges all of it at once.

    Both have then read beyond a refused token; as `slots.read` stops there, that is overwritten.
    """
    student, teacher = readers
    proposed = _proposals(student, choose, slots, seen)
    read = torch.cat([slots.last[:, None], proposed.tokens[:, :-1]], dim=1)
    logits = teacher.read(read, slots.read, seen)
    refused = choose.refuse(proposed.tokens.flatten(), logits.flatten(0, 1)).view_as(read)
    first = (refused.cumsum(1) == 0).sum(1).clamp(max=choose.tokens - 1)
    there = logits.take_along_dim(first[:, None, None], 1)[:, 0]
    # what is behind a refused token is dropped: only there the teacher need say another one
    instead = choose.instead([there], slots.position + first, slots.uniform(first)[:, 1:])

    among, before = slots.writing.clone(), slots.read.clone()
    slots.dropped.add_(among * choose.tokens)
    for at in range(choose.tokens):
        own = SampledTokens(*(one[:, at] for one in _parts(proposed)))
        slots.take(select_teacher_or_student(refused[:, at], own, instead), among, end_ids)
        among = among & slots.writing & ~refused[:, at]
    slots.dropped.sub_(slots.read - before)


def _proposals(
    student: Decoder, choose: SpeculativeSampler, slots: Slots, seen: int
) -> SampledTokens:
    """The tokens that the first model would write, one behind the other: [slots, tokens]."""
    last, found = slots.last, []
    for at in range(choose.tokens):
        logits = student.read(last[:, None], slots.read + at, seen)[:, 0]
        found.append(choose.propose([logits], slots.position + at, slots.uniform(at)))
        last = found[-1].tokens
    columns = (torch.stack(one, dim=1) for one in zip(*map(_parts, found), strict=True))
    return SampledTokens(*columns)


def _parts(choice: SampledTokens) -> tuple[Tensor, Tensor, Tensor]:
    return choice.tokens, choice.log_probs, choice.by_teacher
