"""Losses held against the laws: a verdict for each law, and a table for several losses."""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from distilbench_conformance.cases import Loss
from distilbench_conformance.laws import LAWS, Law
from distilbench_conformance.subject import Broken, NotAsked, Subject

SIGNS = {"obeys": "✓", "breaks": "✗", "not asked": "·"}


@dataclass(frozen=True)
class Verdict:
    """What a law says of a loss."""

    law: str
    status: str  # a key of SIGNS
    detail: str = ""  # the numbers, the convention, or why it was not asked

    @property
    def cell(self) -> str:
        """A sign, with the convention where there is one."""
        convention = self.detail if self.status == "obeys" else ""
        return f"{SIGNS[self.status]} {convention}".rstrip()


def check(loss: Loss, divergence: str | None = None, weight: float | None = None) -> list[Verdict]:
    """A verdict of every law.

    `divergence` is a name in DIVERGENCES, where the loss is meant to be one of them, and `weight`
    what its weight is when the loss is called without keywords. An error in the loss counts as a
    law that it breaks.
    """
    subject = Subject(loss, divergence, weight)
    return [verdict(law, subject) for law in LAWS]


def verdict(law: Law, subject: Subject) -> Verdict:
    """What one law says."""
    try:
        return Verdict(law.__name__, "obeys", law(subject) or "")
    except NotAsked as reason:
        return Verdict(law.__name__, "not asked", str(reason))
    except Broken as reason:
        return Verdict(law.__name__, "breaks", str(reason))
    except Exception as failure:  # of whatever kind another project's code raises
        return Verdict(law.__name__, "breaks", f"{type(failure).__name__}: {failure}")


def markdown(losses: Mapping[str, Sequence[Verdict]]) -> str:
    """A table with a row for each law and a column for each loss, then every broken law."""
    lines = ["| law | " + " | ".join(losses) + " |", "|---" * (len(losses) + 1) + "|"]
    for verdicts in zip(*losses.values(), strict=True):  # of one law
        lines.append(" | ".join([f"| {verdicts[0].law}", *(each.cell for each in verdicts)]) + " |")
    broken = [
        f"- {name}, {verdict.law}: {verdict.detail}"
        for name, verdicts in losses.items()
        for verdict in verdicts
        if verdict.status == "breaks"
    ]
    return "\n".join([*lines, "", *broken])


def explanations() -> dict[str, str]:
    """What each law holds, and why it matters."""
    return {law.__name__: " ".join((inspect.getdoc(law) or "").split()) for law in LAWS}
