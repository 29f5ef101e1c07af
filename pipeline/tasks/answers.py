r"""Answers that can be checked: where a text gives its answer, and whether two answers are equal.

In a response the answer is, first of all that are there: in the last \boxed{}; after the last
`####` of a line, as in GSM8K; after the last "answer is" or "answer:"; for a reference that is a
number, the last line if it is nothing but one, such as 10/12/2020 or 12 m^2, else the last number;
for any other, the last line. So a response that equals its reference is correct.

Two answers are equal as numbers (fractions, powers, roots, π, thousands separators), as lists of
such (in any order without brackets or in braces), or as text without regard to case, styles and
spaces. A unit counts where both have one; a percentage equals the same number and its hundredth
where only one of both has the sign. Formulas with letters are compared as text.

`math-verify` knows more of algebra. It is not used, as it hands text of models to SymPy's
`parse_expr`, which runs `eval` on it, and bounds its time by a signal that a thread can't have.
"""

import re
from collections.abc import Sequence
from functools import cache
from itertools import permutations

from pipeline.tasks.values import EXPONENT, LONGEST, Quantity, plain, quantity, same_number

READ = 20_000  # characters at the end of a response that are searched
LONGEST_REFERENCE = 100  # characters of a reference that is an answer and nothing else
MOST_UNORDERED = 5  # parts of a list that are compared in any order
BOX = re.compile(r"\\(?:boxed|fbox)\s*\{")
HASHED = re.compile(r"####[ \t]*([^\n]+)")
STATED = re.compile(r"\banswer(?:[\s*]+is|[\s*]*[:=])[\s:=*]*([^\n]+)", re.IGNORECASE)
SENTENCE_END = re.compile(r"[.!?](?=\s|$)")
NUMBER = re.compile(
    r"(?<![\w.])[-−]?[$€£]?(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?"
    rf"{EXPONENT}(?:\s?/\s?[0-9]+)?(?:\s?\\?%)?|(?<![\w.])[-−]?\.[0-9]+{EXPONENT}"
)
BULLET = re.compile(r"[-–—*•]\s")  # of a list: no sign of a number
LIST = re.compile(r"^(\\?\{|\(|\[)?(.*?)(\\?\}|\)|\])?$", re.DOTALL)
NO_BRACES = str.maketrans("", "", "{}")  # x^{2} is x^2
LOOSE_SPACE = re.compile(r" (?=\W)|(?<=\W) ")  # that parts no two words
LETTER = re.compile(r"^\(([A-Za-z])\)$")


def reference_answer(reference: str) -> str | None:
    """The answer of a reference: what it marks as such, or all of a short one; None without one."""
    if (marked := _marked(reference)) is not None:
        return marked
    whole = reference.strip()
    is_answer = whole and len(whole) <= LONGEST_REFERENCE and "\n" not in whole
    return whole if is_answer else None


def response_answer(response: str, reference: str) -> str | None:
    """The answer of a response to the question that `reference` answers; None without one."""
    text = response[-READ:]
    if (marked := _marked(text)) is not None:
        return marked
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    last_line = lines[-1] if lines else None
    expected = quantity(plain((reference_answer(reference) or "")[:LONGEST]))
    if expected is None or last_line is None or _is_value(last_line, expected.unit):
        return last_line
    numbers = NUMBER.findall(text)
    return numbers[-1] if numbers else None


def _is_value(line: str, unit: str) -> bool:
    """Whether a line is a number and nothing else but this unit."""
    value = None if BULLET.match(line) else quantity(plain(line[:LONGEST]))
    return value is not None and value.unit in ("", unit)


def has_answer(response: str, references: Sequence[str]) -> bool:
    """Whether the response gives any answer."""
    return response_answer(response, references[0]) is not None


def is_correct(response: str, references: Sequence[str]) -> bool:
    """Whether the response gives the answer of any of the references."""
    return any(
        (answer := response_answer(response, reference)) is not None
        and (expected := reference_answer(reference)) is not None
        and equal(expected, answer)
        for reference in references
    )


def _marked(text: str) -> str | None:
    if (boxed := _boxed(text)) is not None:
        return boxed
    if hashed := HASHED.findall(text):
        return hashed[-1].strip()
    if sentences := STATED.findall(text):
        return _leading(SENTENCE_END.split(sentences[-1], maxsplit=1)[0].strip())
    return None


def _boxed(text: str) -> str | None:
    """What the last box holds; None where its brace is never closed, or there is none."""
    boxes = list(BOX.finditer(text))
    if not boxes:
        return None
    depth, start = 1, boxes[-1].end()
    for place in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[place], 0)
        if not depth:
            return text[start:place].strip()
    return None


def _leading(sentence: str) -> str | None:
    """What a sentence says first: all of it where that is a value, else the number before words."""
    if quantity(plain(sentence[:LONGEST])) is None and (number := NUMBER.match(sentence)):
        return number[0]
    return sentence.strip("*_ ") or None


@cache
def equal(expected: str, answer: str) -> bool:
    """Whether two answers are the same."""
    if max(len(expected), len(answer)) > LONGEST:
        return expected.strip() == answer.strip()
    return _equal(plain(expected), plain(answer))


def _equal(expected: str, answer: str) -> bool:
    first, second = quantity(expected), quantity(answer)
    if first is not None and second is not None:
        return _same_quantity(first, second)
    if _as_text(expected) == _as_text(answer):
        return True
    return _equal_lists(expected, answer)


def _same_quantity(first: Quantity, second: Quantity) -> bool:
    if first.unit and second.unit and first.unit != second.unit:
        return False
    if same_number(first.value, second.value):
        return True
    is_percentage = {first.unit, second.unit} == {"", "%"}
    share, percent = (first, second) if second.unit else (second, first)
    return is_percentage and same_number(share.value * 100, percent.value)


def _as_text(answer: str) -> str:
    bare = LETTER.sub(r"\1", answer.strip()).translate(NO_BRACES)
    return LOOSE_SPACE.sub("", " ".join(bare.casefold().split()))


def _equal_lists(expected: str, answer: str) -> bool:
    (brackets, parts), (others, other_parts) = _listed(expected), _listed(answer)
    if brackets != others or not 1 < len(parts) == len(other_parts):
        return False
    in_order = brackets[0] in ("(", "[") or len(parts) > MOST_UNORDERED
    orders = [other_parts] if in_order else permutations(other_parts)
    return any(all(map(_equal, parts, order)) for order in orders)


def _listed(answer: str) -> tuple[tuple[str, str], list[str]]:
    """The brackets around a list, and its parts by the commas outside of any other brackets."""
    match = LIST.match(answer)
    assert match
    opening, inner, closing = match[1] or "", match[2], match[3] or ""
    parts, depth = [""], 0
    for character in inner:
        depth += (character in "([{") - (character in ")]}")
        if character == "," and not depth:
            parts.append("")
        else:
            parts[-1] += character
    return (opening.lstrip("\\"), closing.lstrip("\\")), [part.strip() for part in parts]
