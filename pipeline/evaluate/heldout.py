"""Held-out measures of a checkpoint, all in one pass over the test split.

They are the likelihood of the references, calibration, and nearness to teachers.

Notation: q the student, p a teacher, both at T = 1; g the token that really comes next.

    nll_nats            -log q(g)
    kl_to_teacher_nats  KL(p ‖ q)
    reverse_kl_nats     KL(q ‖ p)
    entropy_gap_nats    H(q) - H(p): above zero, the student is less sure than its teacher
    top1_agreement      whether both find the same token likeliest
    top5_agreement      the share of the teacher's five likeliest that are among the student's

On a sparse support (the teacher's K likeliest tokens and a bucket for all others) both divergences
are lower bounds of the dense ones, both entropies are those of K + 1 outcomes, and the likeliest
tokens are exact.

Calibration: the tokens of an item by the probability of the likeliest token, in 15 bins of equal
width as in C. Guo et al., 2017, On Calibration of Modern Neural Networks, arXiv:1706.04599.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch
from transformers import PreTrainedModel

from pipeline import schemas
from pipeline.divergences import entropy, kl
from pipeline.evaluate.measured import Measured, Metric, rows, table
from pipeline.pace import Pace
from pipeline.signal import PerToken, Signal, of_target, on_support
from pipeline.teachers import LiveTeacher, Teacher
from pipeline.texts import Batch, Text, micro_batches

TASK = "heldout"
TOP = 5
BINS = 15
POSITIONS = (1, 9, 33, 129)  # where slices of the tokens begin, counted from 1
SLICED = ("nll_nats", "kl_to_teacher_nats", "top1_agreement")


@dataclass(frozen=True)
class PerTeacher:
    """What is measured against one teacher, a value for each token of a batch or of all texts."""

    metrics: Mapping[str, np.ndarray]
    uncertainty: np.ndarray  # 1 - p(g)


@dataclass(frozen=True)
class Tokens:
    """What is measured at the tokens of a batch, or of all texts."""

    text: np.ndarray  # which of the texts a token belongs to
    position: np.ndarray  # in the response, from 1
    nll: np.ndarray
    confidence: np.ndarray  # of the likeliest token
    correct: np.ndarray  # whether that one really comes next
    teachers: Mapping[str, PerTeacher]


@torch.no_grad()
def measure(
    model: PreTrainedModel,
    texts: Sequence[Text],
    teachers: Mapping[str, Teacher],
    budget: int,
) -> Measured:
    """Every measure of every text, in float32; batches hold `budget` positions."""
    places = {text.example_id: at for at, text in enumerate(texts)}
    pace, parts = Pace(TASK, len(texts)), []
    for batch in micro_batches(texts, budget, model.device):
        parts.append(_tokens(model, batch, teachers, places))
        pace.step(len(batch.texts))
    tokens = _joined(parts)
    ids = [text.example_id for text in texts]
    return Measured(items=_items(tokens, ids), calibration=calibration(tokens, ids))


def _tokens(
    model: PreTrainedModel,
    batch: Batch,
    teachers: Mapping[str, Teacher],
    places: Mapping[str, int],
) -> Tokens:
    logits = LiveTeacher(model).logits(batch)  # in the precision that teachers are read in
    total = logits.logsumexp(-1)  # all log-probabilities would take as long again
    likeliest = logits.topk(min(TOP, logits.shape[-1]))
    compared = {
        name: _compared(teacher.signal(batch), logits, likeliest.indices)
        for name, teacher in teachers.items()
    }
    lengths = [len(text.response_ids) for text in batch.texts]
    return Tokens(
        text=np.repeat([places[text.example_id] for text in batch.texts], lengths),
        position=np.concatenate([np.arange(1, length + 1) for length in lengths]),
        nll=_array(total - of_target(logits, batch.next_ids)),
        confidence=_array((likeliest.values[:, 0] - total).exp()),
        correct=_array(likeliest.indices[:, 0] == batch.next_ids),
        teachers=compared,
    )


def _compared(signal: Signal, logits: torch.Tensor, likeliest: torch.Tensor) -> PerTeacher:
    p, q = signal.log_probs, on_support(logits, signal.support)
    best = ranked(signal, TOP)
    metrics: dict[str, PerToken] = {
        "kl_to_teacher_nats": kl(p, q),
        "reverse_kl_nats": kl(q, p),
        "entropy_gap_nats": entropy(q) - entropy(p),
    }
    if best.shape[-1]:
        metrics["top1_agreement"] = best[:, 0] == likeliest[:, 0]
    if best.shape[-1] == TOP:
        shared = (best[:, :, None] == likeliest[:, None, :]).any(-1)
        metrics[f"top{TOP}_agreement"] = shared.float().mean(-1)
    unsure = -torch.expm1(of_target(p, signal.support.target))
    return PerTeacher({name: _array(one) for name, one in metrics.items()}, _array(unsure))


def ranked(signal: Signal, count: int) -> torch.Tensor:
    """The teacher's likeliest tokens in order, fewer than `count` where the support knows fewer.

    The bucket is no token. The last place of a support may be taken by the token that really comes
    next, whatever its rank: of K places, K - 1 are sure to be the likeliest.
    """
    ids = signal.support.ids
    if ids is None:
        return signal.log_probs.topk(min(count, signal.log_probs.shape[-1])).indices
    k = ids.shape[-1]
    order = signal.log_probs[:, :k].topk(min(count, k - 1)).indices
    return ids.gather(-1, order)


def _array(values: torch.Tensor) -> np.ndarray:
    return values.double().cpu().numpy()


def _joined(parts: Sequence[Tokens]) -> Tokens:
    first = parts[0]
    teachers = {
        name: PerTeacher(
            {
                metric: np.concatenate([part.teachers[name].metrics[metric] for part in parts])
                for metric in one.metrics
            },
            np.concatenate([part.teachers[name].uncertainty for part in parts]),
        )
        for name, one in first.teachers.items()
    }
    names = ("text", "position", "nll", "confidence", "correct")
    columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    return Tokens(**columns, teachers=teachers)


def _items(tokens: Tokens, ids: Sequence[str]) -> pa.Table:
    """The means of the tokens of each text: of all of them, and of the slices that there are."""
    everything = np.ones(len(tokens.nll), dtype=bool)
    by_position = _positions(tokens.position)
    found = []

    def add(name: str, values: np.ndarray, teacher: str, slices: Mapping[str, np.ndarray]) -> None:
        for part, chosen in ({"": everything} | dict(slices)).items():
            metric = Metric(TASK, name, slice=part, teacher=teacher)
            found.append(_means(metric, values, chosen, tokens.text, ids))

    add("nll_nats", tokens.nll, "", by_position)
    for teacher, one in tokens.teachers.items():
        by_difficulty = _difficulty(one.uncertainty)
        for part, chosen in by_difficulty.items():
            metric = Metric(TASK, "nll_nats", slice=part, teacher=teacher)
            found.append(_means(metric, tokens.nll, chosen, tokens.text, ids))
        for name, values in one.metrics.items():
            add(name, values, teacher, by_difficulty | by_position if name in SLICED else {})
    return pa.concat_tables(found)


def _positions(position: np.ndarray) -> dict[str, np.ndarray]:
    """Tokens by where they stand in the response; nothing for responses of one slice's length."""
    ends = [*(first - 1 for first in POSITIONS[1:]), None]
    found = {}
    for first, last in zip(POSITIONS, ends, strict=True):
        chosen = (position >= first) & (position <= (last or np.inf))
        if chosen.any():
            found[f"tokens {first}-{last or ''}"] = chosen
    return found


def _difficulty(uncertainty: np.ndarray) -> dict[str, np.ndarray]:
    """Hard tokens are those of which the teacher is at least as unsure as of the median token.

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
    there = np.flatnonzero(counts)
    return rows(metric, [ids[at] for at in there], sums[there] / counts[there], counts[there])


def calibration(tokens: Tokens, ids: Sequence[str]) -> pa.Table:
    """Rows of CALIBRATION: sums over the tokens of each text in each bin that it has."""
    bins = np.minimum((tokens.confidence * BINS).astype(np.int64), BINS - 1)
    places = tokens.text * BINS + bins
    size = len(ids) * BINS
    counts = np.bincount(places, minlength=size)
    there = np.flatnonzero(counts)
    columns = {
        "example_id": [ids[at] for at in there // BINS],
        "bin": (there % BINS).astype(np.int32),
        "tokens": counts[there],
        "confidence": np.bincount(places, weights=tokens.confidence, minlength=size)[there],
        "correct": np.bincount(places, weights=tokens.correct, minlength=size)[there].astype(int),
    }
    return table(schemas.CALIBRATION, columns)
