"""One step of all texts: a token each, or as many as were guessed right."""

from collections.abc import Sequence
from typing import Protocol

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pipeline.writing.choices import Choice, Choose, Drafted
from pipeline.writing.slots import Slots


class Reader(Protocol):
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


def ahead(choose: Choose | Drafted) -> int:
    """The most tokens that a step writes."""
    return choose.tokens if isinstance(choose, Drafted) else 1


def advance(
    readers: Sequence[Reader], choose: Choose | Drafted, slots: Slots, seen: int, end: int
) -> None:
    """Writes on in all slots."""
    if isinstance(choose, Drafted):
        _by_draft(readers, choose, slots, seen, end)
        return
    logits = [one.read(slots.last[:, None], slots.read, seen)[:, 0] for one in readers]
    slots.take(choose(logits, slots.position, slots.uniform()), slots.writing, end)


def _by_draft(
    readers: Sequence[Reader], choose: Drafted, slots: Slots, seen: int, end: int
) -> None:
    """The first model guesses token by token, the second reads all guesses at once.

    Both have then read beyond a wrong guess; as `slots.read` stops there, that is overwritten.
    """
    student, teacher = readers
    own, guesses = _guesses(student, choose, slots, seen)
    read = torch.stack([slots.last, *(one.tokens for one in guesses[:-1])], dim=1)
    judged = teacher.read(read, slots.read, seen)

    among = slots.writing.clone()
    for at, guess in enumerate(guesses):
        choice = choose.choose([own[at], judged[:, at]], slots.position, slots.uniform())
        slots.take(choice, among, end)
        among = among & slots.writing & (choice.tokens == guess.tokens)


def _guesses(
    student: Reader, choose: Drafted, slots: Slots, seen: int
) -> tuple[list[Float[Tensor, "slots vocabulary"]], list[Choice]]:
    last, logits, guesses = slots.last, [], []
    for at in range(choose.tokens):
        logits.append(student.read(last[:, None], slots.read + at, seen)[:, 0])
        guesses.append(choose.guess(logits[-1:], slots.position + at, slots.uniform(at)))
        last = guesses[-1].tokens
    return logits, guesses
