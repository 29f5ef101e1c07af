"""How much memory jobs take at a time, where they can choose; the workflow's estimates count on it.

Imports no library, so that a plan is made without them.
"""

BATCH_TOKENS = 16_384  # prompt and response positions held in the KV cache at once, on a CPU
KV_CACHE_SHARE = 0.1  # of a GPU's memory, for KV caches and distributions

CONTEXT_MB = 1_500  # of a GPU's memory, for any process on it

CACHE_READER_BYTES = 512 << 20  # of decoded texts; the index and the compressed files come on top

# Each chunk of logits casts the whole lm_head once and adds once to its gradient, which a GPU feels
# sooner than a CPU; but 40 bytes a logit, beside a live teacher's, are 11 GB of the largest chunks.
# They are used where what is trained, at 16 bytes a parameter, leaves half of a large GPU free.
CPU_LOGITS, SMALL_GPU_LOGITS, LARGE_GPU_LOGITS = 2**25, 2**26, 2**28
LARGE_GPU_BYTES, ROOMY_BYTES = 60 * 10**9, 32


def max_logits_on_gpu(memory: int, parameters: int) -> int:
    """The most logits of a chunk on a GPU with `memory` bytes, where that many parameters train."""
    is_roomy = memory >= max(LARGE_GPU_BYTES, ROOMY_BYTES * parameters)
    return LARGE_GPU_LOGITS if is_roomy else SMALL_GPU_LOGITS
