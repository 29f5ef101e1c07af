"""Exposure bias: how errors grow as a student continues its own text, as MiniLLM measures it.

    R = E_{y ~ q} Σ_t KL(p ‖ q)(y_<t)      on the student's own text
    ε = E_{y ~ p} Σ_t KL(p ‖ q)(y_<t)      on the teacher's
    excess_error_percent = 100 (R - ε) / ε

Y. Gu et al., 2023, MiniLLM, arXiv:2306.08543, section 3.3, ExAccErr, after K. Arora et al., 2022,
Why Exposure Bias Matters, arXiv:2204.01171. As in MiniLLM's code the sums run over the tokens of a
text that are there: after EOS nothing is added. p is the teacher, q the student, both dense
and drawn from at temperature 1; a prompt has one text of each. As items: (R_i - ε_i) / ε_i of a
prompt, weighted by ε_i, so that their weighted mean is the ratio of the sums.

Of a student that is its teacher both sums are rounding errors, and their ratio is not defined: the
items are NaN and weigh nothing.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import torch
from transformers import PreTrainedModel

from pipeline.data.batch import Author, Text, micro_batches
from pipeline.distributions.divergences import kl
from pipeline.distributions.log_probs import Support, log_probs_on
from pipeline.evaluation.records import EvaluationRecords, Metric, item_rows
from pipeline.generation import generate, sampler
from pipeline.models.teacher import LiveTeacher
from pipeline.runtime.progress import ProgressLog
from pipeline.settings.generation import Sampling

TASK = "exposure"
PREFIXES = (16, 64, 256)  # tokens of a response that slices sum over
# nats a token: a KL of two equal models in float32 is below it, one of two trained apart far above
ROUNDING_ERROR = 1e-6


def measure(
    model: PreTrainedModel,
    teacher: PreTrainedModel,
    name: str,
    prompts: Sequence[Text],
    *,
    max_new_tokens: int,
    seed: int,
    max_tokens: int,
) -> EvaluationRecords:
    """The excess error and both of its sums, on one text of each model for every prompt."""
    progress = ProgressLog(f"{TASK}, texts", 2 * len(prompts), "texts")

    def sample(author_model: PreTrainedModel, author: Author) -> list[Text]:
        """One sampled response of a model to each prompt."""
        token_sampler = sampler(Sampling(temperature=1.0))
        models = [author_model]
        return generate(prompts, models, token_sampler, max_new_tokens, seed, author, progress)

    student_texts, teacher_texts = sample(model, "student"), sample(teacher, "teacher")
    rows = {text.example_id: row for row, text in enumerate(prompts)}
    regret, oracle = (
        divergences(model, teacher, texts, rows, max_new_tokens, max_tokens)
        for texts in (student_texts, teacher_texts)
    )
    ids = list(rows)
    tables = [
        _per_token("kl_on_own_text_nats", name, ids, regret, student_texts),
        _per_token("kl_on_teacher_text_nats", name, ids, oracle, teacher_texts),
        _excess_error(name, ids, regret, oracle),
    ]
    for length in PREFIXES:
        if length < max_new_tokens:
            prefix = regret[:, :length], oracle[:, :length]
            tables.append(_excess_error(name, ids, *prefix, slice=f"tokens 1-{length}"))
    return EvaluationRecords(pa.concat_tables(tables))


@torch.no_grad()
def divergences(
    model: PreTrainedModel,
    teacher: PreTrainedModel,
    texts: Sequence[Text],
    rows: Mapping[str, int],
    length: int,
    max_tokens: int,
) -> np.ndarray:
    """KL(p ‖ q) at each token of each text, and 0 after its end: [texts, length]."""
    values = np.zeros((len(texts), length))
    p_model, q_model, progress = (
        LiveTeacher(teacher),
        LiveTeacher(model),
        ProgressLog(TASK, len(texts)),
    )
    for batch in micro_batches(texts, max_tokens, model.device):
        support = Support(batch.next_ids)
        p = log_probs_on(p_model.logits(batch), support)
        q = log_probs_on(q_model.logits(batch), support)
        counts = [len(text.response_ids) for text in batch.texts]
        by_text = kl(p, q).double().cpu().split(counts)
        for text, text_values in zip(batch.texts, by_text, strict=True):
            values[rows[text.example_id], : len(text_values)] = text_values.numpy()
        progress.step(len(counts))
    return values


def _per_token(
    metric: str, teacher: str, ids: Sequence[str], values: np.ndarray, texts: Sequence[Text]
) -> pa.Table:
    counts = np.array([len(text.response_ids) for text in texts])
    return item_rows(Metric(TASK, metric, teacher=teacher), ids, values.sum(-1) / counts, counts)


def _excess_error(
    teacher: str, ids: Sequence[str], regret: np.ndarray, oracle: np.ndarray, slice: str = ""
) -> pa.Table:
    weights, student_sums = oracle.sum(-1), regret.sum(-1)
    if weights.sum() < ROUNDING_ERROR * np.count_nonzero(oracle):
        weights = np.zeros_like(weights)
    defined = weights > 0
    excess = np.full_like(weights, np.nan)
    excess[defined] = 100 * (student_sums[defined] - weights[defined]) / weights[defined]
    weights = np.where(defined, weights, 0.0)
    metric = Metric(TASK, "excess_error_percent", slice=slice, teacher=teacher)
    return item_rows(metric, ids, excess, weights)
