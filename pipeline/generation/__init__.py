"""Text written token by token: one generator for students, teachers and those who interleave them.

`write` gives the prompts of texts new responses. All models that take part read the same tokens,
and a `Choose` decides what comes next. A text draws its randomness from (seed, example id) alone,
so that it does not depend on what else is written beside it.

    choices    how a token is chosen, from one model's distribution or several
    ends       what ends a text
    slots      texts side by side, each at a place of its own
    caches     their keys and values
    llama      reads them with our own arithmetic, where we know the family
    families   reads them with transformers' forward
    graphs     the step of a GPU, compiled and captured
    steps      a token more of each text, or several that were guessed
    decoder    all of these together: begins texts, writes on, gives them back
    room       how many texts a machine has room for
    lockstep   the plain loop, for every other model
    batching   which texts are written beside which, and who follows one that has ended
"""

from pipeline.generation.capacity import BATCH_TOKENS
from pipeline.generation.generate import generate
from pipeline.generation.sampling import (
    Logits,
    SampledTokens,
    SpeculativeSampler,
    TokenSampler,
    apply_top_k_top_p,
    sample,
    sampler,
    select_teacher_or_student,
)

__all__ = [
    "BATCH_TOKENS",
    "Logits",
    "SampledTokens",
    "SpeculativeSampler",
    "TokenSampler",
    "apply_top_k_top_p",
    "generate",
    "sample",
    "sampler",
    "select_teacher_or_student",
]
