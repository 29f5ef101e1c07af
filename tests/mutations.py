"""Losses with a fault put in, and the laws that notice. `python tests/mutations.py` prints which.

A fault is made in a loss's source, in its hyperparameters, or in the batches that it is given.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import ModuleType
from typing import Any

import laws
import torch
from laws import Settings, Subject

from pipeline.data.batch import Batch, Text, collate
from pipeline.losses import build_loss
from pipeline.methods import components

# the same with p and q exchanged: there is nothing to notice
SYMMETRIC = {"tvd", "todi", "uld"}
LAWS = (laws.reference, laws.positions, laws.micro_batches)  # enough for all faults, and quick


def swapped(name: str) -> Subject | None:
    """Teacher and student exchanged."""
    if name in SYMMETRIC:
        return None
    return from_source(name, r"(teacher)(: [^,]+), (student)(: [^,]+),", r"\3\4, \1\2,")


def unmasked(name: str) -> Subject:
    """The prompt trained on as if it were the response."""
    return replace(laws.subject(name), batches=with_prompts)


def flipped(name: str) -> Subject | None:
    """Shares turned into what they leave, other numbers exchanged among each other."""
    known = components.hyperparameters("losses", name)
    shares = [key for key, field in known.items() if "Share" in field.annotation]
    sizes = [key for key, field in known.items() if field.annotation in ("Positive", "NonNegative")]
    if not shares and not sizes:
        return None

    def build(settings: Settings) -> Any:
        values: dict[str, Any] = {key: field.default for key, field in known.items()} | settings
        other = {key: 1 - values[key] for key in shares}
        other |= dict(zip(sizes, [values[key] for key in sizes[::-1]], strict=True))
        if len(sizes) == 1:
            other[sizes[0]] = 1 - values[sizes[0]]
        return build_loss(name, values | other)

    return replace(laws.subject(name), build=build)


def shifted(name: str) -> Subject:
    """Distributions read one position too early."""
    return replace(laws.subject(name), batches=one_earlier)


def shifted_labels(name: str) -> Subject | None:
    """The next token taken from the neighbouring position."""
    return from_source(name, r"tokens\.target\b", "tokens.target.roll(1)")


def other_author(name: str) -> Subject | None:
    """The student's texts taken for the teacher's."""
    return from_source(name, r"tokens\.by_student\b", "~tokens.by_student")


def local(name: str) -> Subject | None:
    """Statistics of the step taken over the micro-batch at hand."""
    here = "self.step_statistic(teacher, student.detach(), tokens)"
    return from_source(name, r"(?<!assert )tokens\.step_statistics\b", here)


MUTATIONS: dict[str, Callable[[str], Subject | None]] = {
    "p and q swapped": swapped,
    "mask dropped": unmasked,
    "weights flipped": flipped,
    "positions shifted": shifted,
    "labels shifted": shifted_labels,
    "author mistaken": other_author,
    "step cut up": local,
}


def from_source(name: str, pattern: str, replacement: str) -> Subject | None:
    """The loss with its source edited; None where the pattern does not occur in it."""
    source = (components.PIPELINE / "losses" / f"{name}.py").read_text()
    edited = re.sub(pattern, replacement, source)
    if edited == source:
        return None
    module = ModuleType(f"mutant_{name}")
    exec(compile(edited, f"{name}, edited", "exec"), module.__dict__)
    return replace(laws.subject(name), build=lambda settings: module.Loss(**settings))


def with_prompts(batch: Batch) -> Batch:
    """A batch whose responses begin with the prompts, but for a token."""
    return collate([_with_prompt(text) for text in batch.texts], batch.input_ids.device)


def _with_prompt(text: Text) -> Text:
    prompt = text.prompt_ids[1:]
    return replace(
        text,
        prompt_ids=text.prompt_ids[:1],
        response_ids=[*prompt, *text.response_ids],
        log_probs=[*(-4.0 for _ in prompt), *text.log_probs],
    )


def one_earlier(batch: Batch) -> Batch:
    """A batch whose predicting positions are one too early."""
    return replace(batch, response_positions=batch.response_positions - 1)


def noticed_by(subject: Subject) -> str | None:
    """The first law that a faulty loss breaks; None if it gets through."""
    for law in LAWS:
        try:
            law(subject)
        except AssertionError:
            return law.__name__
    return None


def table() -> Iterator[tuple[str, str, str]]:
    """Every loss, every fault that it can have, and the law that notices."""
    for name in components.names("losses"):
        for fault, mutate in MUTATIONS.items():
            subject = mutate(name)
            yield name, fault, "-" if subject is None else noticed_by(subject) or "NOBODY"


def main() -> None:
    """Prints the table in Markdown."""
    torch.set_num_threads(1)  # the models are too small to share among threads
    rows: dict[str, list[str]] = {}
    for name, _, law in table():
        rows.setdefault(name, []).append(law)
    print("| loss | " + " | ".join(MUTATIONS) + " |")
    print("|---" * (len(MUTATIONS) + 1) + "|")
    for name, row in rows.items():
        print(f"| {name} | " + " | ".join(row) + " |")


if __name__ == "__main__":
    main()
