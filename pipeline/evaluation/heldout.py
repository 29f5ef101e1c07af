"""Held-out measures of a checkpoint, all in one pass over the test split.

They are the likelihood of the references, calibration, and nearness to teachers.

Notation: q the student, p a teacher, both at T = 1; g the ground-truth next token.

    nll_nats            -log q(g)
    kl_to_teacher_nats  KL(p ‖ q)
    reverse_kl_nats     KL(q ‖ p)
    entropy_gap_nats    H(q) - H(p): above zero, the student is less sure than its teacher; of whole
                        distributions alone
    top1_agreement      whether both have the same most likely token
    top5_agreement      the share of the teacher's top five tokens that are among the student's

On a sparse support (the teacher's top K tokens and a bucket for all others) both divergences
are lower bounds of the dense ones. The entropies of K + 1 outcomes would say that a student who
spreads its probability over all tokens, most of them in the bucket, is sure of it. Top tokens of
both are those of their logits, never of rounded log-probabilities; of equally likely ones the
lowest id comes first.

Calibration: the tokens of an item by the probability of the most likely token, in 15 bins of equal
width as in C. Guo et al., 2017, On Calibration of Modern Neural Networks, arXiv:1706.04599.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from transformers import PreTrainedModel

from pipeline.artifacts import schemas
from pipeline.data.batch import Batch, Text, micro_batches
from pipeline.distributions import ranking
from pipeline.distributions.divergences import entropy, kl
from pipeline.distributions.log_probs import PerToken, TeacherSignal, log_probs_on, target_log_prob
from pipeline.distributions.ranking import RANKED
from pipeline.evaluation.records import EvaluationRecords, Metric, item_rows
from pipeline.models.language_model import Precision
from pipeline.models.teacher import LiveTeacher, Teacher
from pipeline.runtime.progress import ProgressLog

TASK = "heldout"
BINS = 15
POSITIONS = (1, 9, 33, 129)  # where slices of the tokens begin, counted from 1
SLICED = ("nll_nats", "kl_to_teacher_nats", "top1_agreement")
UNCERTAINTY = "uncertainty"  # of a teacher at a token: 1 - p(g)

# The metrics of each token of a batch, or of all texts, by name:
#   text           index of the text that the token belongs to
#   position       in the response, from 1
#   nll            -log q(g)
#   confidence     of the most likely token
#   correct        whether that one is the ground truth
#   TEACHER/NAME   a metric against a teacher, or its uncertainty
TokenMetrics = Mapping[str, np.ndarray]


def measure(
    model: PreTrainedModel,
    texts: Sequence[Text],
    teachers: Mapping[str, Teacher],
    max_tokens: int,
) -> EvaluationRecords:
    """Every measure of every text, read in batches of at most `max_tokens` positions."""
    tokens = read(model, texts, teachers, max_tokens)
    return measures(tokens, [text.example_id for text in texts], by_position=True)


@torch.no_grad()
def read(
    model: PreTrainedModel,
    texts: Sequence[Text],
    teachers: Mapping[str, Teacher],
    max_tokens: int,
    precision: Precision = "auto",
) -> TokenMetrics:
    """The metrics of each token of the texts; batches hold at most `max_tokens` positions.

    The model reads in the precision that its teachers have read in; what follows is float32.
    """
    index_of = {text.example_id: index for index, text in enumerate(texts)}
    progress, parts = ProgressLog(TASK, len(texts)), []
    for batch in micro_batches(texts, max_tokens, model.device):
        parts.append(_tokens(LiveTeacher(model, precision), batch, teachers, index_of))
        progress.step(len(batch.texts))
    return _concatenate(parts)


def measures(tokens: TokenMetrics, ids: Sequence[str], by_position: bool) -> EvaluationRecords:
    """Every measure of every text, of these ids.

    Slices by the position of tokens are left out for a model whose tokens are not the others'.
    """
    items = _items(tokens, ids, _positions(tokens["position"]) if by_position else {})
    return EvaluationRecords(items=items, calibration=calibration(tokens, ids))


def save(path: Path, tokens: TokenMetrics) -> None:
    """Writes the metrics to a file of NumPy's."""
    columns: dict[str, Any] = {**tokens}  # the signature has keywords of other types, too
    np.savez(path, **columns)


def load(path: Path) -> TokenMetrics:
    """The metrics that were written to a file."""
    with np.load(path) as file:
        return dict(file)


def join(parts: Iterable[TokenMetrics], sizes: Sequence[int]) -> TokenMetrics:
    """The metrics of the texts of all parts, one part after the other; `sizes` counts the texts."""
    firsts = [0, *accumulate(sizes)][:-1]
    placed = [
        {**part, "text": part["text"] + first} for part, first in zip(parts, firsts, strict=True)
    ]
    return _concatenate(placed)


def _tokens(
    model: LiveTeacher,
    batch: Batch,
    teachers: Mapping[str, Teacher],
    index_of: Mapping[str, int],
) -> TokenMetrics:
    logits = model.logits(batch)
    total = logits.logsumexp(-1)  # all log-probabilities would take as long again
    student_top = ranking.top_tokens(logits, RANKED)
    greatest = target_log_prob(logits, student_top[:, 0])
    against = {
        f"{name}/{metric}": values
        for name, teacher in teachers.items()
        for metric, values in _compare(teacher.signal(batch), logits, student_top).items()
    }
    lengths = [text.target_count for text in batch.texts]
    return {
        "text": np.repeat([index_of[text.example_id] for text in batch.texts], lengths),
        "position": np.concatenate([np.arange(1, length + 1) for length in lengths]),
        "nll": _array(total - target_log_prob(logits, batch.next_ids)),
        "confidence": _array((greatest - total).exp()),
        "correct": _array(student_top[:, 0] == batch.next_ids),
        **{name: _array(values) for name, values in against.items()},
    }


def _compare(
    signal: TeacherSignal, logits: torch.Tensor, student_top: torch.Tensor
) -> dict[str, PerToken]:
    """The metrics against one teacher, and its uncertainty."""
    p, q = signal.log_probs, log_probs_on(logits, signal.support)
    teacher_top = signal.top_ids
    metrics: dict[str, PerToken] = {
        UNCERTAINTY: -torch.expm1(target_log_prob(p, signal.support.target)),
        "kl_to_teacher_nats": kl(p, q),
        "reverse_kl_nats": kl(q, p),
    }
    if signal.support.ids is None:
        metrics["entropy_gap_nats"] = entropy(q) - entropy(p)
    if teacher_top is not None and teacher_top.shape[-1]:
        metrics["top1_agreement"] = teacher_top[:, 0] == student_top[:, 0]
    if teacher_top is not None and teacher_top.shape[-1] == RANKED:
        shared = (teacher_top[:, :, None] == student_top[:, None, :]).any(-1)
        metrics[f"top{RANKED}_agreement"] = shared.float().mean(-1)
    return metrics


def _array(values: torch.Tensor) -> np.ndarray:
    return values.double().cpu().numpy()


def _concatenate(parts: Sequence[TokenMetrics]) -> TokenMetrics:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _items(
    tokens: TokenMetrics, ids: Sequence[str], by_position: dict[str, np.ndarray]
) -> pa.Table:
    """The means of the tokens of each text: of all of them, and of the slices that there are."""
    everything = np.ones(len(tokens["nll"]), dtype=bool)
    tables = []

    def add(name: str, values: np.ndarray, teacher: str, slices: Mapping[str, np.ndarray]) -> None:
        """Appends the means of a metric over all tokens and over each slice."""
        for part, chosen in ({"": everything} | dict(slices)).items():
            metric = Metric(TASK, name, slice=part, teacher=teacher)
            tables.append(_means(metric, values, chosen, tokens["text"], ids))

    add("nll_nats", tokens["nll"], "", by_position)
    for teacher, metrics in _by_teacher(tokens).items():
        by_difficulty = _difficulty(metrics.pop(UNCERTAINTY))
        for part, chosen in by_difficulty.items():
            metric = Metric(TASK, "nll_nats", slice=part, teacher=teacher)
            tables.append(_means(metric, tokens["nll"], chosen, tokens["text"], ids))
        for name, values in metrics.items():
            add(name, values, teacher, by_difficulty | by_position if name in SLICED else {})
    return pa.concat_tables(tables)


def _by_teacher(tokens: TokenMetrics) -> dict[str, dict[str, np.ndarray]]:
    """The metrics against each teacher, by name."""
    by_teacher: dict[str, dict[str, np.ndarray]] = {}
    for name, values in tokens.items():
        teacher, slash, metric = name.rpartition("/")
        if slash:
            by_teacher.setdefault(teacher, {})[metric] = values
    return by_teacher


def _positions(position: np.ndarray) -> dict[str, np.ndarray]:
    """The tokens of each range of positions in the response that has any."""
    ends = [*(first - 1 for first in POSITIONS[1:]), None]
    slices = {}
    for first, last in zip(POSITIONS, ends, strict=True):
        chosen = (position >= first) & (position <= (last or np.inf))
        if chosen.any():
            slices[f"tokens {first}-{last or ''}"] = chosen
    return slices


def _difficulty(uncertainty: np.ndarray) -> dict[str, np.ndarray]:
    """Hard and easy tokens: the teacher is at least as unsure of hard ones as of the median.

    Q. Zhong et al., 2024, arXiv:2402.11890: uncertainty is 1 - p(g). They take the median of a
    batch in training; here it is that of the test split, so that all students share it.
    """
    hard = uncertainty >= np.median(uncertainty)
    return {name: chosen for name, chosen in (("hard", hard), ("easy", ~hard)) if chosen.any()}


def _means(
    metric: Metric,
    values: np.ndarray,
    chosen: np.ndarray,
    text: np.ndarray,
    ids: Sequence[str],
) -> pa.Table:
    counts = np.bincount(text[chosen], minlength=len(ids))
    sums = np.bincount(text[chosen], weights=values[chosen], minlength=len(ids))
    present = np.flatnonzero(counts)
    means = sums[present] / counts[present]
    return item_rows(metric, [ids[index] for index in present.tolist()], means, counts[present])


def calibration(tokens: TokenMetrics, ids: Sequence[str]) -> pa.Table:
    """Rows of CALIBRATION: sums over the tokens of each text in each bin that it has."""
    bins = np.minimum((tokens["confidence"] * BINS).astype(np.int64), BINS - 1)
    cells = tokens["text"] * BINS + bins
    size = len(ids) * BINS
    counts = np.bincount(cells, minlength=size)
    present = np.flatnonzero(counts)
    columns = {
        "example_id": [ids[index] for index in (present // BINS).tolist()],
        "bin": (present % BINS).astype(np.int32),
        "tokens": counts[present],
        "confidence": np.bincount(cells, weights=tokens["confidence"], minlength=size)[present],
        "correct": np.bincount(cells, weights=tokens["correct"], minlength=size)[present].astype(
            int
        ),
    }
    return pa.table(columns, schema=schemas.CALIBRATION)
