"""Integrals over what an estimated variance may be."""

import numpy as np
from scipy import special

LEFT_OUT = 1e-13  # probability at each end


def log_chi_squared(degrees: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Places and probabilities [values, count] over the logarithm of χ², evenly spaced."""
    half = degrees[:, None] / 2
    lowest, highest = special.gammaincinv(half, LEFT_OUT), special.gammainccinv(half, LEFT_OUT)
    nodes = np.linspace(np.log(2 * lowest[:, 0]), np.log(2 * highest[:, 0]), count, axis=1)
    logarithms = half * nodes - np.exp(nodes) / 2
    weights = np.exp(logarithms - logarithms.max(axis=1, keepdims=True))
    return nodes, weights / weights.sum(axis=1, keepdims=True)
