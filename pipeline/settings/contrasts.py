"""Contrasts: questions to the scores that an experiment asks before it runs."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field, model_validator

from pipeline.methods.ranges import Name, Real
from pipeline.settings.base import Settings

REFERENCES = ("teacher", "untrained", "start")  # rows of the tables beside the methods
ROUNDING = 1e-9  # that weights such as 1/3 may leave of their sum
Part = Annotated[str, Field(min_length=1, max_length=80, examples=["tokens 33-128"])]


@dataclass(frozen=True)
class Term:
    """The rows of the tables whose mean score a contrast weighs; None stands for all there are."""

    method: str  # a row of `methods`, or one of REFERENCES
    teacher: str | None = None
    student: str | None = None

    @classmethod
    def parse(cls, text: str) -> "Term":
        """Reads METHOD, METHOD@TEACHER or METHOD@TEACHER@STUDENT; raises ValueError for others."""
        names = text.split("@")
        if not all(names) or len(names) > 3:
            raise ValueError(f"{text!r} is not METHOD, METHOD@TEACHER or METHOD@TEACHER@STUDENT")
        return cls(*names)

    def __str__(self) -> str:
        return "@".join(name for name in (self.method, self.teacher, self.student) if name)

    def includes(self, method: str, teacher: str, student: str) -> bool:
        """Whether a row is one of these."""
        return (
            self.method == method
            and self.teacher in (None, teacher)
            and (self.student in (None, student) or method == "teacher")
        )


class ContrastFamily(Settings):
    """Contrasts that are tested together: Holm's correction is over those of a measure.

    A contrast is a sum of scores by weights that sum to zero. With `minus_slices`, it is that sum
    on `slices` of a task less the same on the others.
    """

    measures: Annotated[
        list[str], Field(min_length=1, max_length=4, examples=[["heldout/nll_nats"]])
    ]
    slices: Annotated[list[Part], Field(min_length=1)] | None = None  # null: whole tasks
    minus_slices: Annotated[list[Part], Field(min_length=1)] | None = None
    contrasts: Annotated[
        dict[Name, dict[str, Real]],
        Field(min_length=1, examples=[{"jsd_gains": {"jsd": 1, "sft": -1}}]),
    ]

    @model_validator(mode="after")
    def _weights_cancel(self) -> "ContrastFamily":
        for name, weights in self.contrasts.items():
            for text in weights:
                Term.parse(text)
            if not any(weights.values()) or abs(math.fsum(weights.values())) > ROUNDING:
                raise ValueError(
                    f"the weights of {name} are {list(weights.values())}: they must sum to 0, "
                    "and not all be 0"
                )
        if self.minus_slices and not self.slices:
            raise ValueError("minus_slices needs slices: what is it to be taken from?")
        return self

    @property
    def parts(self) -> tuple[tuple[float, tuple[str, ...]], ...]:
        """Sign and slices of what is compared; the slice of a whole task has an empty name."""
        first = (1.0, tuple(self.slices or [""]))
        return (first, (-1.0, tuple(self.minus_slices))) if self.minus_slices else (first,)

    @property
    def slice_text(self) -> str:
        """The slices in words; empty for whole tasks."""
        return " minus ".join(" and ".join(slices) for _, slices in self.parts)


def terms_of(weights: Mapping[str, float]) -> dict[Term, float]:
    """The weight of each term that has any."""
    return {Term.parse(text): weight for text, weight in weights.items() if weight}
