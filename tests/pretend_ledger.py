"""What a pretended GPU (`pretend_cuda`) notes of the code that it runs."""

import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCE = [str(ROOT / folder) + "/" for folder in ("pipeline", "benchmarks")]


@dataclass(frozen=True)
class Note:
    """Something that happened on the pretended GPU, and the project's function that did it."""

    what: str
    place: str  # file:function


@dataclass
class Ledger:
    """What was noted since it was last cleared, and how often."""

    waits: Counter[Note] = field(default_factory=Counter)  # of the host, for the GPU
    forbidden: Counter[Note] = field(default_factory=Counter)  # tried while a graph was captured
    rounded: Counter[Note] = field(default_factory=Counter)  # logits in less than float32
    capturing: bool = False

    def clear(self) -> None:
        """Forgets what was noted."""
        for notes in (self.waits, self.forbidden, self.rounded):
            notes.clear()

    def wait(self, what: str) -> None:
        """The host waits. Raises RuntimeError while a graph is captured, as CUDA does."""
        note = Note(what, place())
        self.waits[note] += 1
        if self.capturing:
            self.forbidden[note] += 1
            raise RuntimeError(f"operation not permitted when stream is capturing: {what}")

    def round(self, operation: str) -> None:
        """An operation gave logits whose last digits are lost."""
        self.rounded[Note(operation, place())] += 1


def place() -> str:
    """The innermost of the project's functions that are being run."""
    frame = sys._getframe(1)
    while frame is not None:
        file = frame.f_code.co_filename
        if file.startswith(tuple(SOURCE)):
            function = frame.f_code.co_qualname.partition(".<locals>")[0]
            return f"{file.removeprefix(f'{ROOT}/')}:{function}"
        frame = frame.f_back
    return "outside the project"
