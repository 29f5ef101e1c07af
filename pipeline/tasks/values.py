"""The value of a short answer: numbers, fractions, roots and units, as people and LaTeX write them.

A small parser reads the text; nothing in it is ever executed. What it can't read has no value and
is compared as text. Lengths, depths and powers are bounded, so that no text takes long.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction

LONGEST = 300  # characters of a text that is read
DEEPEST = 20  # brackets within brackets
LARGEST_EXPONENT = 64
SQUARE = Fraction(2)  # the degree of a root without one
TOLERANCE = 1e-9  # relative, where a root or π makes a value a float


REPLACED = (  # in this order
    (re.compile(r"−|–"), "-"),
    (re.compile(r"\\(?:left|right|displaystyle|!|,|;|:|quad|qquad)(?![A-Za-z])|\\\s|~"), " "),
    (re.compile(r"\\[()\[\]]"), " "),
    (re.compile(r"\\[dtc]frac"), r"\\frac"),
    (re.compile(r"\\frac\s*([0-9])"), r"\\frac{\1}"),
    (re.compile(r"(\\frac\{[^{}]*\})\s*([0-9])"), r"\1{\2}"),
    (re.compile(r"\\sqrt\s*([0-9])"), r"\\sqrt{\1}"),
    (re.compile(r"\^\s*\{?\s*\\circ\s*\}?|°|\\degrees?"), ""),
    (
        re.compile(r"\\(?:text|textbf|textit|mathrm|mathbf|mbox|operatorname)\s*\{([^{}]*)\}"),
        r" \1",
    ),
    (re.compile(r"\\(?:cdot|times)(?![A-Za-z])|×|·"), "*"),
    (re.compile(r"\\div(?![A-Za-z])|÷"), "/"),
    (re.compile(r"\\pi(?![A-Za-z])"), "π"),
    (re.compile(r"\\%"), "%"),
    (re.compile(r"\\?\$|[€£]|\*\*|`"), ""),
    (re.compile(r"\{,\}"), ","),
    (
        re.compile(r"(?<![0-9.,])([0-9]{1,3}(?:,[0-9]{3})+)(?![0-9,])"),
        lambda m: m[1].replace(",", ""),
    ),
    (re.compile(r"(?<![0-9./])([0-9]+)\s+([0-9]+)\s*/\s*([0-9]+)"), r"(\1+\2/\3)"),
)
NAMED = re.compile(r"^\s*[A-Za-z]\w{0,20}\s*=\s*")  # as in x = 3
WITH_UNIT = re.compile(r"^(.*[0-9)}π])(?:\s*(%)|\s+([A-Za-z][A-Za-z /^0-9]*))$")
EXPONENT = r"(?:[eE][-+−]?[0-9]{1,2}(?![0-9]))?"  # of ten
TOKEN = re.compile(
    rf"\s*(?:((?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+){EXPONENT})|(\\frac|\\sqrt|[π()\[\]{{}}+*/^-]))"
)

Number = Fraction | float


@dataclass(frozen=True)
class Quantity:
    """A number with its unit, % among them; empty where it has none."""

    value: Number
    unit: str


def plain(text: str) -> str:
    """A text without LaTeX's spacing, styles, currencies and thousands separators."""
    for pattern, replacement in REPLACED:
        text = pattern.sub(replacement, text)
    return NAMED.sub("", text).strip().rstrip(".").strip()


def quantity(text: str) -> Quantity | None:
    """The value of a text that `plain` made; None where it is none."""
    if (value := number(text)) is not None:
        return Quantity(value, "")
    if match := WITH_UNIT.match(text):
        unit = match[2] or " ".join(match[3].casefold().split())
        if (value := number(match[1])) is not None:
            return Quantity(value, unit)
    return None


def number(text: str) -> Number | None:
    """The number that a formula of numbers alone has; None for anything else."""
    if len(text) > LONGEST:
        return None
    try:
        return _Formula(list(_tokens(text))).whole()
    except (ValueError, ZeroDivisionError, OverflowError):
        return None


def same_number(first: Number, second: Number) -> bool:
    """Equal exactly, or within rounding where a root or π makes one of them a float."""
    if isinstance(first, Fraction) and isinstance(second, Fraction):
        return first == second
    try:
        return math.isclose(first, second, rel_tol=TOLERANCE)
    except OverflowError:  # a fraction that is larger than any float
        return False


def _tokens(text: str) -> Iterator[str]:
    place = 0
    while place < len(text):
        match = TOKEN.match(text, place)
        if match is None:
            raise ValueError(f"{text[place:]!r} is no part of a formula")
        yield match[1] or match[2]
        place = match.end()


@dataclass
class _Formula:
    """The tokens of a formula, read from the left."""

    tokens: list[str]
    place: int = 0
    depth: int = field(default=0)

    def whole(self) -> Number:
        value = self._sum()
        if self._next():
            raise ValueError("text after the formula")
        return value

    def _next(self) -> str:
        return self.tokens[self.place] if self.place < len(self.tokens) else ""

    def _take(self, *tokens: str) -> str:
        """The next token if it is one of these, which is then read; else nothing."""
        if (token := self._next()) and token in tokens:
            self.place += 1
            return token
        return ""

    def _sum(self) -> Number:
        value = self._signed_product()
        while sign := self._take("+", "-"):
            other = self._signed_product()
            value = value + other if sign == "+" else value - other
        return value

    def _signed_product(self) -> Number:
        negative = self._take("+", "-") == "-"
        value = self._product()
        return -value if negative else value

    def _product(self) -> Number:
        value = self._power()
        while (sign := self._take("*", "/")) or self._next() in ("(", "π", "\\sqrt", "\\frac"):
            other = self._power()
            value = value / other if sign == "/" else value * other
        return value

    def _power(self) -> Number:
        base = self._atom()
        if not self._take("^"):
            return base
        exponent = -self._atom() if self._take("-") else self._atom()
        if abs(exponent) > LARGEST_EXPONENT:
            raise ValueError("too high a power")
        power = base**exponent
        if isinstance(power, complex):
            raise ValueError("not a real number")
        return power

    def _atom(self) -> Number:
        token = self._next()
        self.place += 1
        match token:
            case "(" | "{" | "[":
                return self._within({"(": ")", "{": "}", "[": "]"}[token])
            case "\\frac":
                return self._braced() / self._braced()
            case "\\sqrt":
                degree = self._within("]") if self._take("[") else SQUARE
                return _root(self._braced(), degree)
            case "π":
                return math.pi
        value = Fraction(token)  # raises ValueError where it is no number
        is_mixed = token.isdigit() and self._next() == "\\frac"  # as 3 1/2 is printed
        return value + self._atom() if is_mixed else value

    def _braced(self) -> Number:
        if not self._take("{"):
            raise ValueError("no argument")
        return self._within("}")

    def _within(self, end: str) -> Number:
        self.depth += 1
        if self.depth > DEEPEST:
            raise ValueError("too many brackets")
        value = self._sum()
        self.depth -= 1
        if not self._take(end):
            raise ValueError("a bracket that nothing closes")
        return value


def _root(value: Number, degree: Number) -> Number:
    """The root, as a fraction where it is the square root of one."""
    if degree == SQUARE and isinstance(value, Fraction) and value >= 0:
        roots = math.isqrt(value.numerator), math.isqrt(value.denominator)
        if Fraction(roots[0] ** 2, roots[1] ** 2) == value:
            return Fraction(*roots)
    root = float(value) ** (1 / float(degree))
    if isinstance(root, complex):
        raise ValueError("not a real number")
    return root
