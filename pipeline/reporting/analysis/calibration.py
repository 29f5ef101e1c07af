"""The expected calibration error: how far confidence is from accuracy, over bins of confidence.

    ECE = Σ_b |C_b - F_b| / N

for the N tokens of all items, in bin b C_b correct predictions and the sum F_b of their confidence:
C. Guo et al., 2017, On Calibration of Modern Neural Networks, arXiv:1706.04599, equation 3. It is
biased upwards by about what the bins' noise amounts to, so few tokens make it large.

Its standard error is by the delta method over items. With the sign s_b of C_b - F_b, the error is a
ratio of sums, Σ_i Σ_b s_b (c_ib - f_ib) / Σ_i n_i, and small changes of the items leave the signs.
"""

import numpy as np
import pyarrow as pa

from pipeline.reporting.analysis.item_sums import Key, Sums, digest, in_order

KEY = Key(task="heldout", slice="", metric="ece", teacher="")


def sums_of(table: pa.Table) -> dict[Key, Sums]:
    """The error's numerator and the tokens of each item, in the order of their ids."""
    if not len(table):  # an evaluation without held-out measures
        return {}
    bins, tokens = table["bin"].to_numpy(), table["tokens"].to_numpy()
    gap = table["correct"].to_numpy() - table["confidence"].to_numpy()
    signs = np.sign(np.bincount(bins, weights=gap))
    items, names = in_order(table["example_id"])
    weighted = np.bincount(items, weights=signs[bins] * gap)
    return {KEY: Sums(weighted, np.bincount(items, weights=tokens), digest(names))}
