"""ROUGE-L of a student's greedy responses to held-out prompts, while it is trained."""

from collections.abc import Sequence

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pipeline.data.batch import Text
from pipeline.evaluation.rouge import rouge_l
from pipeline.generation import generate, sampler
from pipeline.runtime.ranks import ALONE, Ranks
from pipeline.settings.generation import Sampling
from pipeline.training.rewards import decoded


@torch.no_grad()
def validation_rouge_l(
    student: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[Text],
    max_new_tokens: int,
    ranks: Ranks = ALONE,
) -> float:
    """Mean ROUGE-L, 0 to 100, of greedy responses to the prompts of `texts`."""
    choose = sampler(Sampling(temperature=0))
    responses = generate(texts, [student], choose, max_new_tokens, 0, "student", ranks=ranks)
    scores = [
        rouge_l(decoded(tokenizer, response), [decoded(tokenizer, text)])
        for response, text in zip(responses, texts, strict=True)
    ]
    return sum(scores) / len(scores)
