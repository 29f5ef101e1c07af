"""Numbers and names as texts for people."""

from collections.abc import Mapping

from pipeline.reporting.analysis.scores import Pair


def amount(number: float) -> str:
    """A count with at most three digits: 512, 1.5k, 124M."""
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g}{letter}"
    return f"{number:.0f}"


def duration(seconds: float) -> str:
    """Seconds, with a decimal below a hundred."""
    return f"{seconds:,.0f}" if seconds >= 100 else f"{seconds:.1f}"


def operations(flops: float) -> str:
    """FLOPs with three digits."""
    return f"{flops:.2e}"


def nats(value: float) -> str:
    """Nats with three decimals."""
    return f"{value:.3f}"


def percent(share: float) -> str:
    """A share in whole per cent, without the sign; zero is never negative."""
    return f"{100 * share:z.0f}"


def p_text(p_value: float) -> str:
    """A p-value with two digits, and a bound where it is tiny."""
    return "< 0.0001" if p_value < 1e-4 else f"{p_value:.2g}"


def sized(name: str, sizes: Mapping[str, int]) -> str:
    """A model's name with its number of parameters."""
    return f"{name} ({amount(sizes[name])})" if name in sizes else name


def pair_title(pair: Pair, sizes: Mapping[str, int]) -> str:
    """The teacher and the student with their numbers of parameters."""
    named = (("Teacher", pair.teacher), ("student", pair.student))
    return ", ".join(f"{role} {sized(name, sizes)}" for role, name in named if name)


def short_title(pair: Pair) -> str:
    """The teacher and the student where space is short."""
    return f"{pair.teacher} → {pair.student}" if pair.teacher else pair.student
