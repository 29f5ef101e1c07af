"""Random numbers that follow from a name alone, not from what else is drawn or in which order."""

import hashlib

import numpy as np
from jaxtyping import Float


def uniform(name: str, *shape: int) -> Float[np.ndarray, "..."]:
    """Numbers in [0, 1) of a name such as a seed and an example's id."""
    digest = hashlib.blake2b(name.encode(), digest_size=8).digest()
    return np.random.default_rng(int.from_bytes(digest)).random(shape)
