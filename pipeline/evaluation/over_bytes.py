"""Held-out measures that compare checkpoints of different vocabularies: by bytes, over spans.

Notation: a and b the log-likelihoods of a span's text under teacher and student.

    bits_per_byte            NLL of a response with its end, over the bytes of its text
    span_kl_nats_per_byte    Σ KL of span or not span, e^a from e^b, over the bytes: by the
                             data-processing inequality a lower bound on the divergence of whole
                             distributions, but for what each tokenizer may put behind a span
    span_top1_agreement      whether the most likely tokens of both agree where a span begins: the
                             bytes of one begin with those of the other, or both are special and
                             meet in a span of some text, as two EOS do; a column that pads the
                             teacher's head agrees with nothing
"""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa
import torch
from transformers import PreTrainedModel

from pipeline.data.batch import Batch, Text, collate, micro_batches
from pipeline.distributions.log_probs import log_probs_on, target_log_prob
from pipeline.distributions.spans import PerSpan
from pipeline.evaluation.heldout import TASK
from pipeline.evaluation.records import EvaluationRecords, Metric, item_rows
from pipeline.models.language_model import Precision
from pipeline.models.teacher import LiveTeacher
from pipeline.tokenizer_alignment.teacher import AlignedTeacher
from pipeline.tokenizer_alignment.token_bytes import MARKER

Bytes = Sequence[bytes]  # of each token of a vocabulary


@torch.no_grad()
def measure(
    model: PreTrainedModel,
    texts: Sequence[Text],
    vocabulary: Bytes,
    teachers: Mapping[str, AlignedTeacher],
    max_tokens: int,
    precision: Precision = "auto",
) -> EvaluationRecords:
    """Bits per byte of every text that has any, and the spans of those that are aligned."""
    reader, parts = LiveTeacher(model, precision), []
    specials = {
        name: counterparts(texts, teacher, vocabulary) for name, teacher in teachers.items()
    }
    long_enough = [text for text in texts if _byte_count(text, vocabulary)]
    for batch in micro_batches(long_enough, max_tokens, model.device):
        logits = reader.logits(batch)[:, : len(vocabulary)]
        parts.append(_bits_per_byte(batch, logits, vocabulary))
        for name, teacher in teachers.items():
            parts += _over_spans(batch, logits, vocabulary, name, teacher, specials[name])
    return EvaluationRecords(items=pa.concat_tables(parts))


def counterparts(
    texts: Sequence[Text], teacher: AlignedTeacher, student: Bytes
) -> set[tuple[int, int]]:
    """The special tokens of teacher and student that stand in the same place of a text."""
    pairs = set()
    for text in texts:
        if aligned := teacher.alignment.texts.get(text.example_id):
            ends = zip(aligned.ends.teacher, aligned.ends.student, strict=True)
            theirs, ours = aligned.teacher.target_ids, text.target_ids
            pairs.update((theirs[first - 1], ours[second - 1]) for first, second in ends)
    return {pair for pair in pairs if student[pair[1]] == MARKER}  # so is the other, by the bytes


def _byte_count(text: Text, vocabulary: Bytes) -> int:
    return sum(len(vocabulary[token]) for token in text.target_ids)


def _bits_per_byte(batch: Batch, logits: torch.Tensor, vocabulary: Bytes) -> pa.Table:
    nll = logits.logsumexp(-1) - target_log_prob(logits, batch.next_ids)
    sums = _by_text(nll, batch.sequence, len(batch.texts))
    sizes = np.array([_byte_count(text, vocabulary) for text in batch.texts])
    ids = [text.example_id for text in batch.texts]
    return item_rows(Metric(TASK, "bits_per_byte"), ids, sums / math.log(2) / sizes, sizes)


def _over_spans(
    batch: Batch,
    logits: torch.Tensor,
    vocabulary: Bytes,
    name: str,
    teacher: AlignedTeacher,
    specials: Collection[tuple[int, int]],
) -> Iterator[pa.Table]:
    """The measures against a teacher, on those of the texts that are aligned."""
    is_aligned = [text.example_id in teacher.alignment.texts for text in batch.texts]
    if not any(is_aligned):
        return
    chosen = [text for text, is_so in zip(batch.texts, is_aligned, strict=True) if is_so]
    rows = torch.tensor(is_aligned, device=logits.device)[batch.sequence]
    aligned = collate(chosen, logits.device)
    signal = teacher.signal(aligned)
    spans = signal.spans
    assert spans is not None
    student = log_probs_on(logits[rows], signal.support)
    text_of_span = aligned.sequence[spans.student_first]
    ids = [text.example_id for text in aligned.texts]

    a = spans.teacher_sums(target_log_prob(signal.log_probs, spans.teacher_target))
    b = spans.student_sums(target_log_prob(student, signal.support.target))
    sizes = np.array([_byte_count(text, vocabulary) for text in aligned.texts])
    divergence = _by_text(_span_or_not(a, b), text_of_span, len(ids)) / sizes
    yield item_rows(Metric(TASK, "span_kl_nats_per_byte", teacher=name), ids, divergence, sizes)

    if signal.top_ids is not None:
        tops = signal.top_ids[spans.teacher_first, 0], student.argmax(-1)[spans.student_first]
        agree = agreement(*tops, teacher.alignment.teacher_bytes, vocabulary, specials)
        counts = _by_text(torch.ones_like(agree), text_of_span, len(ids))
        shares = _by_text(agree, text_of_span, len(ids)) / counts
        yield item_rows(Metric(TASK, "span_top1_agreement", teacher=name), ids, shares, counts)


def _span_or_not(a: PerSpan, b: PerSpan) -> PerSpan:
    """KL of two binary outcomes of these log-likelihoods, which are below zero."""
    a, b = (value.double().clamp(max=-1e-12) for value in (a, b))
    rest_a, rest_b = (torch.log(-torch.expm1(value)) for value in (a, b))
    return a.exp() * (a - b) + rest_a.exp() * (rest_a - rest_b)


def agreement(
    teacher_ids: torch.Tensor,
    student_ids: torch.Tensor,
    teacher: Bytes,
    student: Bytes,
    specials: Collection[tuple[int, int]],
) -> torch.Tensor:
    """1 where two most likely tokens agree, 0 elsewhere."""
    pairs = zip(teacher_ids.tolist(), student_ids.tolist(), strict=True)
    agree = [
        mine < len(teacher)
        and ((mine, yours) in specials or _begins(teacher[mine], student[yours]))
        for mine, yours in pairs
    ]
    return torch.tensor(agree, device=teacher_ids.device).double()


def _begins(first: bytes, second: bytes) -> bool:
    if MARKER in (first, second):
        return False
    return first.startswith(second) or second.startswith(first)


def _by_text(values: torch.Tensor, text: torch.Tensor, count: int) -> np.ndarray:
    return np.bincount(text.cpu().numpy(), weights=values.double().cpu().numpy(), minlength=count)
