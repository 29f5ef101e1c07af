"""Parts of a task: of its items, or of their tokens."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from pipeline.reporting.analysis.metrics import Measure, part_title


@dataclass(frozen=True)
class Part:
    """One part of a task."""

    task: str
    name: str

    @property
    def title(self) -> str:
        """The name for readers."""
        return part_title(self.name)

    @property
    def kind(self) -> str:
        """The name without its numbers: "tokens 1-8" and "tokens 9-32" are of one kind."""
        return re.sub(r"\d+", "", self.name) if re.search(r"\d", self.name) else ""

    @property
    def order(self) -> tuple[str, list[int], str]:
        """Parts of a kind by their numbers, not by their digits."""
        return (self.kind, [int(digits) for digits in re.findall(r"\d+", self.name)], self.name)


def parts_of(measures: Iterable[Measure]) -> list[Part]:
    """The parts that some measures are of, each task's in its order."""
    parts = dict.fromkeys(Part(measure.task, measure.slice) for measure in measures)
    return sorted(parts, key=lambda part: (part.task, part.order))
