"""Held-out measures of a checkpoint: likelihood of the references, and nearness to a teacher."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

from pipeline.divergences import kl
from pipeline.language_model import response_logits
from pipeline.signal import Signal, Support, of_target, on_support
from pipeline.teachers import Teacher
from pipeline.texts import Batch, Text, micro_batches


@dataclass(frozen=True)
class Item:
    """One measure of one example: the mean over its tokens, and how many there are."""

    example_id: str
    metric: str
    teacher: str  # id; empty where none is needed
    value: float
    weight: int


@torch.no_grad()
def measure(
    model: PreTrainedModel, texts: Sequence[Text], teachers: Mapping[str, Teacher], budget: int
) -> Iterator[Item]:
    """Every measure of every text, in float32. A KL on a sparse support is a lower bound."""
    for batch in micro_batches(texts, budget, model.device):
        logits = response_logits(model, batch).float()
        whole = Support(target=batch.next_ids)
        nll = -of_target(on_support(logits, whole), batch.next_ids)
        yield from _items(batch, "nll_nats", "", nll)
        for name, teacher in teachers.items():
            signal = teacher.signal(batch)
            distance = kl(signal.log_probs, on_support(logits, signal.support))
            yield from _items(batch, "kl_to_teacher_nats", name, distance)
            same = likeliest(signal) == logits.argmax(-1)
            yield from _items(batch, "top1_agreement", name, same.float())


def likeliest(signal: Signal) -> torch.Tensor:
    """The teacher's likeliest token; the bucket, which is no token, is not asked."""
    ids = signal.support.ids
    if ids is None:
        return signal.log_probs.argmax(-1)
    best = signal.log_probs[:, : ids.shape[-1]].argmax(-1, keepdim=True)
    return ids.gather(-1, best)[:, 0]


def _items(batch: Batch, metric: str, teacher: str, values: torch.Tensor) -> Iterator[Item]:
    counts = [len(text.response_ids) for text in batch.texts]
    for text, part in zip(batch.texts, values.split(counts), strict=True):
        yield Item(text.example_id, metric, teacher, part.mean().item(), len(part))
