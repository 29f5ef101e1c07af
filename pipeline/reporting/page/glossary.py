"""Terms of the report, explained where they stand; docs/glossary.md has the same words."""

import re
from dataclasses import dataclass
from functools import partial

from markupsafe import Markup, escape


@dataclass(frozen=True)
class Term:
    """A term with its meaning."""

    name: str
    meaning: str
    pattern: str = ""  # of the words in a text that stand for it, where they aren't its name

    @property
    def address(self) -> str:
        """The id of its explanation in the page."""
        return f"term-{re.sub('[^a-z0-9]+', '-', self.name.lower())}"


TERMS = (
    Term(
        "Among the best",
        "The method with the best mean, and all that are not significantly worse.",
    ),
    Term(
        "Holm",
        "A correction for many comparisons: the chance that any claimed difference on a measure "
        "is false stays below 5 %.",
    ),
    Term(
        "95 % interval",
        "A range that covers the true value in 95 of 100 such experiments, with other training "
        "seeds and other items.",
        "95 % intervals?",
    ),
    Term(
        "80 % power",
        "A true difference of this size would be found significant in 4 of 5 such experiments.",
    ),
    Term(
        "Letter",
        "Methods of a teacher and student that share a letter do not differ significantly.",
        "share a letter",
    ),
    Term(
        "Start",
        "The student before distillation, after a short supervised fine-tuning that all methods of "
        "a training seed share.",
    ),
    Term("Untrained", "The student as it is before any training in this experiment."),
    Term(
        "Hard and easy tokens",
        "Half of the held-out tokens each: hard are those that the teacher finds no likelier than "
        "the median one.",
        "(?:hard|easy)(?: tokens)?",
    ),
    Term(
        "Entropy gap",
        "The student's entropy minus the teacher's, averaged over tokens: below zero, the student "
        "is more certain. Of whole distributions alone (teacher_cache.tier: hidden).",
        "entropy gap(?: to teacher)?",
    ),
    Term(
        "Top-k agreement",
        "The share of the k most likely next tokens that teacher and student have in common. A "
        "teacher's with itself is 1, but for tokens that only rounding tells apart.",
        "top-[0-9]+ agreement",
    ),
    Term(
        "Calibration error",
        "How far the probability of the most likely token is from the share of tokens for which "
        "it is right (ECE).",
    ),
    Term(
        "Excess error",
        "How much worse the student predicts the teacher on its own text than on the teacher's, "
        "in percent (MiniLLM's exposure bias).",
        "excess error(?: on own text)?",
    ),
    Term(
        "Own cost",
        "The cost of a training alone, without anything that it shares with others.",
    ),
    Term(
        "Full cost",
        "The cost of a training with all that was made for it: teacher, texts, cache, start and "
        "the trials of its settings.",
        "in full|full cost|including teacher",
    ),
    Term(
        "Amortised cost",
        "The own cost and an equal share of what several trainings use.",
        "amortised",
    ),
    Term(
        "Crossover",
        "The training budget from which on one method stays ahead of another.",
        "crossovers?|flips?",
    ),
    Term(
        "Gap closed",
        "How far a method comes from plain fine-tuning to its teacher, in percent.",
        "gap closed|share of the gap",
    ),
)
ANY = re.compile(
    # whole words, and no parts of a path or an id
    "|".join(
        rf"(?P<t{index}>(?<![\w./-])(?:{term.pattern or term.name})(?![\w/-]))"
        for index, term in enumerate(TERMS)
    ),
    re.IGNORECASE,
)
CLOSING = r"([).,;:]*)"  # what follows a term closely, and would else begin the next line


def term_in(text: str) -> Term | None:
    """The first term that a text uses, if any."""
    match = ANY.search(text)
    return TERMS[int(match.lastgroup[1:])] if match and match.lastgroup else None


def explained(text: str) -> Markup:
    """A text as HTML, in which the first use of each term opens its explanation."""
    explain = partial(_button, seen=set())
    return Markup(re.sub(f"(?:{ANY.pattern}){CLOSING}", explain, str(escape(text)), flags=re.I))


def _button(match: re.Match[str], seen: set[Term]) -> str:
    """The words of a term as a button, at its first use."""
    term, closing = term_in(match[0]), match[match.re.groups]
    if term is None or term in seen:
        return match[0]
    seen.add(term)
    words = match[0].removesuffix(closing)
    about = f'popovertarget="{term.address}" title="{escape(term.meaning)}"'
    opener = f'<button type="button" class="term" {about}>{words}</button>'
    return f'<span class="unbroken">{opener}{closing}</span>' if closing else opener
