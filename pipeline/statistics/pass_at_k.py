"""pass@k: the chance that k responses to an item have a correct one among them.

M. Chen et al., 2021, Evaluating Large Language Models Trained on Code, arXiv:2107.03374,
equation 1: of an item with c correct ones among n responses, 1 − C(n − c, k) / C(n, k), which has
no bias. It is not linear in c, so that it is computed for each item from all of its responses; a
score is the mean over items. What sampling adds to an item is a part of how much items scatter.
"""

from math import comb

import numpy as np


def ks_of(responses: int) -> list[int]:
    """The numbers of responses that pass@k is told for: powers of 2 above 1, and all."""
    powers = [2**power for power in range(1, responses.bit_length())]
    return sorted({*powers, responses} - {1})


def pass_at_k(responses: int, correct: np.ndarray, k: int) -> np.ndarray:
    """The share of the choices of k of an item's responses that have a correct one, by item."""
    choices = comb(responses, k)
    return np.array([1 - comb(responses - int(count), k) / choices for count in correct])
