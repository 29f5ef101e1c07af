"""Win rates as they would be if both responses were equally long.

Y. Dubois et al., 2024, Length-Controlled AlpacaEval, arXiv:2404.04475, equation 1: a logistic
regression of the preference, whose term for the lengths is then left out,

    P(win_i) = σ(θ + φ tanh(Δ_i / s))        length-controlled win rate = σ(θ)

with Δ_i the characters that the judged response is longer and s their standard deviation. Two
things differ: the paper's term for an item's difficulty needs many models on the same items and is
left out, and φ has a normal prior of standard deviation 1, without which a judge that always
prefers the longer response would have no finite estimate.
"""

import numpy as np
from scipy.special import expit

STEPS = 100  # Newton's method takes fewer than ten
CONVERGED = 1e-10


def length_controlled(wins: np.ndarray, longer: np.ndarray) -> np.ndarray:
    """A value for each item, whose mean is the length-controlled win rate.

    `wins` are shares from 0 to 1, `longer` differences of length. An item's value is the rate and
    the item's influence on it, so that intervals and paired tests over items hold to first order.
    """
    if len(wins) < 2 or np.ptp(wins) == 0:  # no length explains what is the same for all
        return wins.astype(np.float64)
    spread = longer.std()
    lengths = np.tanh(longer / spread) if spread else np.zeros(len(wins))
    design = np.stack([np.ones(len(wins)), lengths], axis=1)
    penalty = np.diag([0.0, 1.0])
    parameters = np.zeros(2)
    for _ in range(STEPS):
        slopes, hessian = _derivatives(design, wins, parameters, penalty)
        step = np.linalg.solve(hessian, slopes.sum(axis=0))
        parameters += step
        if np.abs(step).max() < CONVERGED:
            break
    slopes, hessian = _derivatives(design, wins, parameters, penalty)
    rate = expit(parameters[0])
    influence = slopes @ np.linalg.inv(hessian)[:, 0]  # on θ
    return rate + len(wins) * rate * (1 - rate) * influence


def _derivatives(
    design: np.ndarray, wins: np.ndarray, parameters: np.ndarray, penalty: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Each item's gradient of the log-posterior, with its share of the prior's, and −Hessian."""
    rates = expit(design @ parameters)
    slopes = (wins - rates)[:, None] * design - penalty @ parameters / len(wins)
    return slopes, design.T @ (design * (rates * (1 - rates))[:, None]) + penalty
