"""The smallest difference that an experiment can be expected to detect."""

import numpy as np
from scipy import optimize, special

POWER = 0.8
NODES = 4000  # many: a test's decision is a step function of the variance
TAIL = 1e-13  # probability left out at each end of χ²


def min_detectable_difference(standard_error: float, degrees: float, alpha: float) -> float:
    """The true difference that a two-sided t-test at `alpha` detects in 80 % of experiments.

    The chance of finding the wrong sign is neglected.
    """
    critical = float(special.stdtrit(degrees, 1 - alpha / 2))
    (nodes,), (weights,) = log_chi_squared(np.array([degrees]), NODES)
    needed = critical * np.sqrt(np.exp(nodes) / degrees)  # given the estimated standard error

    def lacking_power(shift: float) -> float:
        return float(special.ndtr(shift - needed) @ weights) - POWER

    bracket = (0.0, 4 * critical + 4)
    shift = optimize.root_scalar(lacking_power, bracket=bracket, method="brentq").root
    return standard_error * float(shift)


def log_chi_squared(degrees: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and probabilities [values, count] of log χ², evenly spaced, for integrals over it."""
    half = degrees[:, None] / 2
    lowest, highest = special.gammaincinv(half, TAIL), special.gammainccinv(half, TAIL)
    nodes = np.linspace(np.log(2 * lowest[:, 0]), np.log(2 * highest[:, 0]), count, axis=1)
    log_density = half * nodes - np.exp(nodes) / 2
    weights = np.exp(log_density - log_density.max(axis=1, keepdims=True))
    return nodes, weights / weights.sum(axis=1, keepdims=True)
