"""Means over training seeds of rows that don't all have the same seeds."""

import numpy as np


def balanced_means(scores: np.ndarray) -> np.ndarray:
    """Each row's mean as if it had every seed; scores [rows, seeds], NaN where a row lacks a seed.

    By least squares each score is a row's mean plus what its seed adds to all rows, which is zero
    on average over seeds. A row with all seeds keeps its mean, and rows with equal seeds differ by
    as much as their means do. Rows that no chain of shared seeds joins aren't adjusted to each
    other.
    """
    known = (~np.isnan(scores)).astype(np.float64)
    counts = known.sum(axis=1)
    means = np.nansum(scores, axis=1) / counts
    residuals = np.where(known > 0, scores - means[:, None], 0.0).sum(axis=0)
    # the normal equations of the seeds, once the rows' means are eliminated
    equations = np.diag(known.sum(axis=0)) - (known.T / counts) @ known
    of_seeds = np.linalg.pinv(equations, hermitian=True) @ residuals
    return means - known @ of_seeds / counts
