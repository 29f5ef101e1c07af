"""Where functions are zero."""

from collections.abc import Callable

import numpy as np

STEPS = 20
CLOSE = 1e-9  # to zero


def root_of_falling(
    function: Callable[[np.ndarray], np.ndarray], one: np.ndarray, other: np.ndarray
) -> np.ndarray:
    """The roots of falling functions between two ends each, by false position.

    The value at an end that stays is halved, so that none stays for long (after the Illinois
    method; Dowell & Jarratt 1971, BIT 11:168).
    """
    low, high = np.minimum(one, other), np.maximum(one, other)
    above, below = np.maximum(function(low), 0.0), np.minimum(function(high), 0.0)
    middle = low
    for _ in range(STEPS):
        span = above - below
        middle = low + (high - low) * np.divide(
            above, span, out=np.zeros_like(span), where=span > 0
        )
        found = function(middle)
        if (np.abs(found) < CLOSE).all():
            break
        further = found > 0
        above, below = np.where(further, [found, below / 2], [above / 2, found])
        low, high = np.where(further, [middle, high], [low, middle])
    return middle
