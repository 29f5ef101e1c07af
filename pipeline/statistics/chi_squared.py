"""Integrals over what an estimated variance may be."""

import numpy as np
from scipy import special

LEFT_OUT = 1e-13  # probability at each end


def log_chi_squared(degrees: float, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Places and probabilities of `count` points over the logarithm of χ², evenly spaced."""
    half = degrees / 2
    ends = [special.gammaincinv(half, LEFT_OUT), special.gammainccinv(half, LEFT_OUT)]
    nodes = np.linspace(*np.log(2 * np.array(ends)), count)
    logarithms = half * nodes - np.exp(nodes) / 2
    weights = np.exp(logarithms - logarithms.max())
    return nodes, weights / weights.sum()
