"""How errors grow as a student writes on from its own text: exposure bias, as MiniLLM measures it.

    R = E_{y ~ q} Σ_t KL(p ‖ q)(y_<t)      on the student's own text
    ε = E_{y ~ p} Σ_t KL(p ‖ q)(y_<t)      on the teacher's
    excess_error_percent = 100 (R - ε) / ε

Y. Gu et al., 2023, MiniLLM, arXiv:2306.08543, section 3.3, ExAccErr, after K. Arora et al., 2022,
Why Exposure Bias Matters, arXiv:2204.01171. As in MiniLLM's code the sums run over the tokens of a
text that are there: one that has ended adds nothing. p is the teacher, q the student, both dense
and drawn from at temperature 1; a prompt has one text of each. As items: (R_i - ε_i) / ε_i of a
prompt, weighted by ε_i, so that their weighted mean is the ratio of the sums.

Of a student that is its teacher both sums are rounding errors, and their ratio is not defined: the
items are NaN and weigh nothing.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import torch
from transformers import PreTrainedModel

from pipeline.data.batch import Text, micro_batches
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
NOTHING = 1e-6


def measure(
    model: PreTrainedModel,
    teacher: PreTrainedModel,
    name: str,
    prompts: Sequence[Text],
    *,
    max_new_tokens: int,
    seed: int,
    budget: int,
) -> EvaluationRecords:
    """The excess error and what it is made of, on one text by each for every prompt."""
    choose = sampler(Sampling(temperature=1.0))
    pace = ProgressLog(f"{TASK}, texts", 2 * len(prompts), "texts")
    own = generate(prompts, [model], choose, max_new_tokens, seed, "student", pace)
    ideal = generate(prompts, [teacher], choose, max_new_tokens, seed, "teacher", pace)
    places = {text.example_id: at for at, text in enumerate(prompts)}
    regret = divergences(model, teacher, own, places, max_new_tokens, budget)
    oracle = divergences(model, teacher, ideal, places, max_new_tokens, budget)
    ids = [text.example_id for text in prompts]
    found = [_per_token("kl_on_own_text_nats", name, ids, regret, own)]
    found.append(_per_token("kl_on_teacher_text_nats", name, ids, oracle, ideal))
    found += [
        _excess(name, ids, regret[:, :length], oracle[:, :length], part)
        for length, part in [(None, ""), *((one, f"tokens 1-{one}") for one in PREFIXES)]
        if length is None or length < max_new_tokens
    ]
    return EvaluationRecords(pa.concat_tables(found))


@torch.no_grad()
def divergences(
    model: PreTrainedModel,
    teacher: PreTrainedModel,
    texts: Sequence[Text],
    places: dict[str, int],
    length: int,
    budget: int,
) -> np.ndarray:
    """KL(p ‖ q) at each token of each text, and 0 behind its end: [texts, length]."""
    found, live, pace = (
        np.zeros((len(texts), length)),
        LiveTeacher(teacher),
        ProgressLog(TASK, len(texts)),
    )
    for batch in micro_batches(texts, budget, model.device):
        p, q = (
            log_probs_on(one.logits(batch), Support(batch.next_ids))
            for one in (live, LiveTeacher(model))
        )
        counts = [len(text.response_ids) for text in batch.texts]
        parts = kl(p, q).double().cpu().split(counts)
        for text, part in zip(batch.texts, parts, strict=True):
            found[places[text.example_id], : len(part)] = part.numpy()
        pace.step(len(counts))
    return found


def _per_token(
    metric: str, teacher: str, ids: Sequence[str], values: np.ndarray, texts: Sequence[Text]
) -> pa.Table:
    counts = np.array([len(text.response_ids) for text in texts])
    return item_rows(Metric(TASK, metric, teacher=teacher), ids, values.sum(-1) / counts, counts)


def _excess(
    teacher: str, ids: Sequence[str], regret: np.ndarray, oracle: np.ndarray, part: str
) -> pa.Table:
    weights, own = oracle.sum(-1), regret.sum(-1)
    if weights.sum() < NOTHING * np.count_nonzero(oracle):
        weights = np.zeros_like(weights)
    defined = weights > 0
    excess = np.full_like(weights, np.nan)
    excess[defined] = 100 * (own[defined] - weights[defined]) / weights[defined]
    weights = np.where(defined, weights, 0.0)
    metric = Metric(TASK, "excess_error_percent", slice=part, teacher=teacher)
    return item_rows(metric, ids, excess, weights)
