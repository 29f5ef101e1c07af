"""The smallest difference that an experiment can be expected to find."""

import numpy as np
from scipy import optimize, special

from pipeline.statistics.chi_squared import log_chi_squared

POWER = 0.8
NODES = 4000  # a test that needs much is a step in the variance


def resolvable(error: float, degrees: float, level: float) -> float:
    """The true difference that a two-sided t-test at `level` finds in 80 % of experiments.

    `error` is the difference's standard error. The chance to find the wrong sign is left out.
    """
    critical = float(special.stdtrit(degrees, 1 - level / 2))
    (nodes,), (weights,) = log_chi_squared(np.array([degrees]), NODES)
    needed = critical * np.sqrt(np.exp(nodes) / degrees)  # given the estimated error

    def lacking(shift: float) -> float:
        return float(special.ndtr(shift - needed) @ weights) - POWER

    return error * float(optimize.brentq(lacking, 0.0, 4 * critical + 4))
