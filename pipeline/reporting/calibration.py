"""The expected calibration error: how far confidence is from accuracy, over bins of confidence.

    ECE = Σ_b |C_b - F_b| / N

for the N tokens of all items, in bin b C_b correct predictions and the sum F_b of their confidence:
C. Guo et al., 2017, On Calibration of Modern Neural Networks, arXiv:1706.04599, equation 3. It is
biased upwards by about what the bins' noise amounts to, so few tokens make it large.

Its standard error is by the delta method over items. With the sign s_b of C_b - F_b, the error is a
ratio of sums, Σ_i Σ_b s_b (c_ib - f_ib) / Σ_i n_i, and small changes of the items leave the signs.
"""

import numpy as np
import pandas as pd

from pipeline.reporting.sums import Key, Sums

KEY = Key(task="heldout", slice="", metric="ece", teacher="")


def sums_of(table: pd.DataFrame) -> dict[Key, Sums]:
    """The error's numerator and the tokens of each item, in the order of their ids."""
    if table.empty:  # an evaluation without held-out measures
        return {}
    gap = (table["correct"] - table["confidence"]).to_numpy()
    signs = np.sign(np.bincount(table["bin"], weights=gap))
    items, names = pd.factorize(table["example_id"], sort=True)
    weighted = np.bincount(items, weights=signs[table["bin"]] * gap)
    tokens = np.bincount(items, weights=table["tokens"])
    return {KEY: Sums(weighted, tokens, hash("\n".join(names)))}
