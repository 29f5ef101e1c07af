"""Holds a loss of any project against the laws of distillation losses (docs/conformance.md)."""

import sys
from importlib import import_module
from pathlib import Path

from distilbench_conformance import DIVERGENCES, check, explanations, write_vectors
from distilbench_conformance.cases import Loss
from workflow.commands.console import show_table


def main(
    *, loss: str | None, divergence: str | None, weight: float | None, vectors: Path | None
) -> int:
    """Prints a verdict of every law on a loss, or the laws; writes golden vectors."""
    if vectors:
        print(f"{write_vectors(vectors)} golden vectors: {vectors}")
    elif loss is None:
        show_table(("law", "what it holds, and why"), [*explanations().items()])
    else:
        if divergence is not None and divergence not in DIVERGENCES:
            sys.exit(f"unknown divergence {divergence!r}; known: {', '.join(DIVERGENCES)}")
        verdicts = check(imported(loss), divergence, weight)
        show_table(
            ("law", "verdict", "detail"),
            [(each.law, each.status, each.detail) for each in verdicts],
        )
        return 3 if any(each.status == "breaks" for each in verdicts) else 0
    return 0


def imported(name: str) -> Loss:
    """The function named MODULE:FUNCTION; the module may lie in the folder at hand."""
    sys.path.insert(0, "")
    module, _, function = name.partition(":")
    try:
        return getattr(import_module(module), function)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        sys.exit(f"no loss {name!r}, which must be MODULE:FUNCTION: {error}")
