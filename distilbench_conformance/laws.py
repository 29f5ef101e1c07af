"""The laws of a distillation loss, a function for each.

The first sentence of a docstring is what the law holds, the rest why it matters. A law raises
`Broken` where a loss breaks it and `NotAsked` where it doesn't apply; one that measures a
convention returns what the loss does.
"""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from distilbench_conformance.cases import Case, case, one_token, peaked
from distilbench_conformance.conventions import ends, temperature, weighted_side
from distilbench_conformance.subject import (
    NotAsked,
    Outcome,
    Subject,
    error,
    expected,
    outcome,
    require,
    require_equal,
)
from distilbench_conformance.vectors import golden_vectors

GOLDEN = 1e-4  # relative error, as the loss may compute in float32
HALF_PRECISION = 0.02  # bfloat16 itself rounds by 0.002


def zero_at_equality(subject: Subject) -> None:
    """A student equal to its teacher has no loss.

    Otherwise losses can't be compared across teachers, and a curve that ends at 2 nats says
    nothing of what is left to learn.
    """
    batch = case()
    at_equality = outcome(subject, replace(batch, student=batch.teacher)).mean
    require(at_equality.abs() < subject.tolerance, f"{at_equality:.4g} nats at equality")
    require(outcome(subject, batch).mean.abs() > 1e-3, "it is zero where the models differ, too")


def permuted_vocabulary(subject: Subject) -> None:
    """The order of the vocabulary means nothing.

    A loss that depends on it has confused positions with token ids, or breaks ties by them.
    """
    batch = case()
    order = torch.randperm(batch.student.shape[-1], generator=torch.Generator().manual_seed(5))
    permuted = replace(
        batch,
        student=batch.student[..., order],
        teacher=batch.teacher[..., order],
        ids=order.argsort()[batch.ids],
    )
    before, after = outcome(subject, batch), outcome(subject, permuted)
    right = Outcome(before.mean, before.student[..., order], before.teacher)
    require_equal(after, right, subject.tolerance)


def descent(subject: Subject) -> None:
    """A small step against the gradient lowers the loss.

    A gradient of another function trains towards something that no log shows.
    """
    batch = case()
    before = outcome(subject, batch)
    require(before.student.isfinite().all(), "the gradient is not finite")
    require(before.student.norm() > 1e-4, "the gradient is zero")
    step = 0.01 * before.student / before.student.norm()
    after = outcome(subject, replace(batch, student=batch.student - step)).mean
    require(after < before.mean, f"{before.mean:.6g} before the step, {after:.6g} after it")


def value_and_gradient(subject: Subject) -> None:
    """Value and gradient are those of the formula in float64.

    p and q exchanged, a mean over the vocabulary in place of a sum, or a detached term are
    found here and in no training curve.
    """
    batch = case()
    right = expected(subject, batch, subject.known_weight)
    require_equal(outcome(subject, batch), right, subject.tolerance)


def golden(subject: Subject) -> None:
    """The golden vectors come out, value and gradient.

    They hold pairs that random logits do not: equal, nearly equal and certain models.
    """
    _, weight = subject.reference, subject.known_weight
    rows = [
        row
        for row in golden_vectors()
        if row["divergence"] == subject.divergence and row["weight"] in (weight, None)
    ]
    if not rows:
        raise NotAsked(f"no vectors at weight {weight:g}")
    for row in rows:
        student, teacher = map(torch.tensor, (row["student_logits"], row["teacher_logits"]))
        measured = outcome(subject, one_token(student, teacher))
        known = measured.student.double().clone()
        if row["gradient"] is not None:
            known[0, 0] = torch.tensor(row["gradient"])
        right = Outcome(torch.tensor(row["value_nats"]), known, known)
        require_equal(measured, right, GOLDEN, f"vector {row['vector']}: ")


def token_mean(subject: Subject) -> None:
    """A batch's loss is the mean over all its response tokens.

    With a mean of each text's mean, a token of a short response weighs more, and what a text
    teaches depends on which texts it shares a batch with.
    """
    batch = case()
    texts = [batch.text(row) for row in range(len(batch.ids))]
    alone = [outcome(subject, text) for text in texts]
    shares = [text.tokens / batch.tokens for text in texts]
    mean = sum(share * each.mean for share, each in zip(shares, alone, strict=True))
    gradient = torch.cat([share * each.student for share, each in zip(shares, alone, strict=True)])
    measured = outcome(subject, batch)
    require_equal(measured, Outcome(torch.as_tensor(mean), gradient, gradient), subject.tolerance)


def micro_batches(subject: Subject) -> None:
    """Into which micro-batches a step is cut changes nothing.

    Otherwise the memory of a GPU, or their number, decides what is trained.
    """
    subject.needs("step_tokens")
    batch = case()
    whole = outcome(subject, batch)
    parts = [batch.text(row) for row in range(len(batch.ids))]
    cut = sum(outcome(subject, part, step_tokens=batch.tokens).mean for part in parts)
    off = error(torch.as_tensor(cut), whole.mean.double())
    require(off <= subject.tolerance, f"{whole.mean:.6g} whole, {cut:.6g} in {len(parts)} parts")


def prompts(subject: Subject) -> None:
    """Prompts take no part.

    A student that is trained on them learns to write users' questions, and its loss is a mean
    over other tokens than those that are evaluated.
    """
    batch = case()
    _unmoved_by(subject, batch, batch.disturbed(_before_responses(batch)))


def padding(subject: Subject) -> None:
    """Padding takes no part.

    Otherwise the longest text of a batch decides how much every other text counts.
    """
    batch = case()
    longer = outcome(subject, batch.padded(3))
    before = outcome(subject, batch)
    gradient = torch.cat([before.student, torch.zeros_like(before.student[:, :3])], dim=1)
    require_equal(longer, Outcome(before.mean, gradient, gradient), subject.tolerance)
    after_responses = ~batch.predicting & ~_before_responses(batch)
    after_responses[batch.mask] = False  # the last token of a response: the law of the shift
    _unmoved_by(subject, batch, batch.disturbed(after_responses))


def shift(subject: Subject) -> None:
    """Place t is compared where it predicts token t + 1.

    Unshifted, the first response token is never learnt, and the place after the last one is
    trained on what follows the end.
    """
    batch = case()
    touched = outcome(subject, batch).student.abs().sum(-1) > 0
    last = batch.mask & ~batch.predicting
    first = batch.predicting & ~batch.mask
    require(not touched[last].any(), "the place of a response's last token is trained")
    require(touched[first].all(), "the place that predicts the first token is not trained")


def _before_responses(batch: Case) -> Tensor:
    """The places of prompts that predict a token of the prompt."""
    return (batch.mask.cumsum(1) == 0) & ~batch.predicting & batch.mask.any(1)[:, None]


def _unmoved_by(subject: Subject, batch: Case, disturbed: Case) -> None:
    before, after = outcome(subject, batch).mean, outcome(subject, disturbed).mean
    off = error(after, before.double())
    require(off <= subject.tolerance, f"{before:.6g} becomes {after:.6g}")


def labels(subject: Subject) -> None:
    """Which tokens the responses hold plays no part in a divergence.

    A cross entropy or a label smoothing mixed in is another objective under the same name.
    """
    _ = subject.reference
    batch = case()
    other = replace(batch, ids=(batch.ids + 3) % batch.student.shape[-1])
    _unmoved_by(subject, batch, other)


def teacher(subject: Subject) -> None:
    """The teacher gets no gradient.

    With one, a teacher that shares parameters with the student is pulled towards it, and memory
    is spent on every step.
    """
    largest = outcome(subject, case()).teacher.abs().max()
    require(largest == 0, f"a gradient of up to {largest:.2g}")


def extremes(subject: Subject) -> None:
    """Logits of ±50 give a finite loss and gradient in float32.

    Trained models are that certain at many tokens, and one NaN ends a run.
    """
    for batch in peaked(case()):
        measured = outcome(subject, batch)
        require(measured.mean.isfinite(), f"a loss of {measured.mean}")
        require(measured.student.isfinite().all(), "the gradient is not finite")


def no_response(subject: Subject) -> None:
    """A batch without a response token gives zero, or an error.

    0 / 0 spreads NaN over all weights, by one text that was cut before its response.
    """
    batch = case()
    try:
        measured = outcome(subject, replace(batch, mask=torch.zeros_like(batch.mask)))
    except (ValueError, RuntimeError, ZeroDivisionError):
        return
    require(measured.mean == 0, f"a loss of {measured.mean}")
    require((measured.student == 0).all(), "a gradient that is not zero")


def half_precision(subject: Subject) -> None:
    """On bfloat16 logits value and gradient are within 2% of those on the same logits in float64.

    The vocabulary has 2,048 tokens. Sums in bfloat16 lose a long tail of small probabilities,
    which is what a teacher adds to labels.
    """
    wide = case(vocabulary=2048, spread=3.0)
    narrow = replace(wide, student=wide.student.bfloat16(), teacher=wide.teacher.bfloat16())
    exact = replace(narrow, student=narrow.student.double(), teacher=narrow.teacher.double())
    measured, right = outcome(subject, narrow), outcome(subject, exact)
    value = error(measured.mean, right.mean.double())
    apart = (measured.student.double() - right.student).norm() / right.student.norm()
    smooth = subject.divergence is None or subject.reference.smooth
    gradient = apart.item() if smooth else 0.0  # rounded logits have ties
    accurate = max(value, gradient) <= HALF_PRECISION
    require(accurate, f"value off by {value:.1%}, gradient by {gradient:.1%}")


Law = Callable[[Subject], str | None]
LAWS: tuple[Law, ...] = (
    value_and_gradient,
    golden,
    zero_at_equality,
    descent,
    permuted_vocabulary,
    token_mean,
    micro_batches,
    prompts,
    padding,
    shift,
    labels,
    teacher,
    extremes,
    no_response,
    half_precision,
    temperature,
    weighted_side,
    ends,
)
