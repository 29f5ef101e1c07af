"""A loss under test, what it makes of a batch, and what the reference makes of it."""

import inspect
import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from distilbench_conformance.cases import Case, Loss
from distilbench_conformance.references import DIVERGENCES, Divergence, softmax

SMALLEST = 0.01  # below it errors are counted against it: equal models have a value of zero


class Broken(AssertionError):
    """A law that a loss breaks; the message has the numbers."""


class NotAsked(Exception):
    """A law that does not apply to a loss; the message says why."""


@dataclass(frozen=True)
class Subject:
    """A loss under test, and what it is meant to be."""

    loss: Loss
    divergence: str | None = None  # a name in DIVERGENCES; None: a loss of another kind
    weight: float | None = None  # of the divergence, when the loss is called without keywords
    tolerance: float = 1e-5  # relative; a loss that computes in float32 stays below it

    @cached_property
    def keywords(self) -> set[str]:
        """The keywords that the loss takes beside its four tensors."""
        return set(list(inspect.signature(self.loss).parameters)[4:])

    @property
    def reference(self) -> Divergence:
        """The divergence that the loss is meant to be."""
        if self.divergence is None:
            raise NotAsked("no divergence named")
        return DIVERGENCES[self.divergence]

    @property
    def known_weight(self) -> float:
        """The weight that the reference is asked for; unused by divergences without one."""
        return (*self.reference.weights, 0.0)[0] if self.weight is None else self.weight

    def needs(self, keyword: str) -> None:
        """Raises NotAsked unless the loss takes a keyword."""
        if keyword not in self.keywords:
            raise NotAsked(f"takes no `{keyword}`")


@dataclass(frozen=True)
class Outcome:
    """The mean loss of a batch, and its gradients by both models' logits."""

    mean: Tensor
    student: Tensor
    teacher: Tensor


def outcome(subject: Subject, batch: Case, **keywords: float) -> Outcome:
    """What a loss makes of a batch."""
    student, teacher = (
        each.clone().requires_grad_(True) for each in (batch.student, batch.teacher)
    )
    losses = subject.loss(student, teacher, batch.labels, batch.mask, **keywords)
    if losses.dim():  # a loss of each token, which its user masks
        if not batch.tokens:
            raise NotAsked("its user takes the mean")
        losses = losses[batch.mask[:, 1:]].mean()
    gradients = torch.autograd.grad(
        losses, (student, teacher), allow_unused=True, materialize_grads=True
    )
    return Outcome(losses.detach(), *gradients)


def expected(subject: Subject, batch: Case, weight: float, temperature: float = 1.0) -> Outcome:
    """What the float64 reference makes of a batch."""
    gradient, total = torch.zeros_like(batch.student, dtype=torch.float64), 0.0
    for row, time in batch.predicting.nonzero().tolist():
        p, q = (
            softmax(each[row, time].double().numpy() / temperature)
            for each in (batch.teacher, batch.student)
        )
        total += subject.reference.value(p, q, weight)
        gradient[row, time] = torch.from_numpy(subject.reference.gradient(p, q, weight))
    gradient /= batch.tokens * temperature
    return Outcome(torch.tensor(total / batch.tokens), gradient, torch.zeros_like(gradient))


def require(holds: bool | Tensor, message: str) -> None:
    """Raises Broken with the message unless the claim holds."""
    if not holds:
        raise Broken(message)


def error(measured: Tensor, right: Tensor) -> float:
    """The largest error, relative to the largest right number; NaN counts as infinite."""
    scale = max(right.abs().max().item(), SMALLEST)
    largest = ((measured.double() - right).abs().max() / scale).item()
    return math.inf if math.isnan(largest) else largest


def require_equal(measured: Outcome, right: Outcome, tolerance: float, where: str = "") -> None:
    """Raises Broken unless the mean and the student's gradient are right."""
    value = error(measured.mean, right.mean.double())
    gradient = error(measured.student, right.student.double())
    aside = "" if gradient > tolerance else "; the gradient is right"
    require(value <= tolerance, f"{where}{measured.mean:.6g} instead of {right.mean:.6g}{aside}")
    require(gradient <= tolerance, f"{where}the gradient is off by {gradient:.2g}, relative")
