"""Numbers and names as texts for people."""

from pipeline.statistics.tests import ALPHA

ALL_DIGITS = 17  # that a number may have


def amount(number: float) -> str:
    """A count with at most three digits: 512, 1.5k, 124M."""
    rounded = float(f"{number:.3g}")  # 999,600 is 1M
    for size, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if rounded >= size:
            return f"{rounded / size:.3g}{letter}"
    return f"{number:.0f}"


def duration(seconds: float) -> str:
    """Seconds, with a decimal below a hundred."""
    return f"{seconds:,.0f}" if seconds >= 100 else f"{seconds:.1f}"


def operations(flops: float) -> str:
    """FLOPs with three digits."""
    return f"{flops:.2e}"


def nats(value: float) -> str:
    """Nats with three decimals."""
    return f"{value:z.3f}"


def percent(share: float) -> str:
    """A share in whole per cent, without the sign; zero is never negative."""
    return f"{100 * share:z.0f}"


def tenths(share: float) -> str:
    """A share in per cent with a decimal, without the sign: of parts that may be small."""
    return f"{100 * share:z.1f}"


def p_text(p_value: float) -> str:
    """A p-value with two digits, more where they would put it on the other side of 5 %.

    A bound where it is tiny.
    """
    if p_value < 1e-4:
        return "< 0.0001"
    texts = (f"{p_value:.{digits}g}" for digits in range(2, ALL_DIGITS + 1))
    return next(text for text in texts if (float(text) < ALPHA) == (p_value < ALPHA))


def counted(number: int, thing: str) -> str:
    """A count with its noun in singular or plural."""
    return f"{number} {thing}" + ("" if number == 1 else "s")
