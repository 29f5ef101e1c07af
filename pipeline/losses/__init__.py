"""Losses, one a file, each with a frozen dataclass `Loss` whose fields are its hyperparameters.

`Loss()(teacher, student, tokens)` gives the loss of each token in nats; the training loop alone
masks, sums and divides. Constants of the class say what the rest of the project must know of it.
They are read off the source without importing it (`pipeline.methods.components.class_constant`):

    needs_only_distributions    a divergence of two distributions: may serve inside another loss
    zero_when_equal             False: a student equal to the teacher still has a loss
    on_sparse_support           "lower" than on the whole vocabulary, "equal" to that, or "refused";
                                without it a sparse support may be off either way
    reads_teacher               False: it reads the text alone
    needs_sampled_texts         True: a policy gradient, on texts sampled with known probabilities
    needs_reference             True: it reads `tokens.reference_log_probs`, of the start
    needs_rewards               True: it reads `tokens.advantages`, of responses to one prompt
    needs_solutions             True: it reads `tokens.has_solution`, of texts whose teacher sees
                                another response, which is right
    needs_pairs                 True: it compares two responses to a prompt, of teacher and student
    over_spans                  True: it compares spans of text, so that teacher and student may
                                have different vocabularies; `tokens.spans` has them
"""

import importlib
from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from pipeline.distributions.log_probs import LogProbs, PerToken, TokenContext


@runtime_checkable
class Loss(Protocol):
    """A loss at each token."""

    def __call__(self, teacher: LogProbs, student: LogProbs, tokens: TokenContext) -> PerToken:
        """The loss of each token in nats; the teacher gets no gradient."""
        ...


@runtime_checkable
class StepStatisticLoss(Loss, Protocol):
    """A loss with a statistic over all tokens of the optimizer step: medians, ranks, whitening."""

    def step_statistic(
        self, teacher: LogProbs, student: LogProbs, tokens: TokenContext
    ) -> PerToken:
        """A number for each token, which `tokens.step_statistics` then holds for the whole step.

        It is computed without gradient.
        """
        ...


@runtime_checkable
class SpanLoss(Loss, Protocol):
    """A loss over spans: the teacher's rows are of its own tokens, the student's of all of its own.

    It puts the loss of a span on the last of the student's tokens in it.
    """

    over_spans: bool


@runtime_checkable
class TextLoss(Loss, Protocol):
    """A loss that reads the text alone, whatever teacher there is."""

    reads_teacher: bool


@runtime_checkable
class ReferenceLoss(Loss, Protocol):
    """A loss that compares with a reference, too: the student before its training."""

    needs_reference: bool


@runtime_checkable
class RewardedLoss(Loss, Protocol):
    """A loss that reinforces what is right, so that each rollout is given a reward."""

    needs_rewards: bool


@runtime_checkable
class AdaptiveLoss(Loss, Protocol):
    """A loss that carries a state from step to step, in `tokens.state`."""

    def initial_state(self) -> dict[str, float]:
        """The state before the first step."""
        ...

    def update_state(
        self, state: dict[str, float], loss_nats: float, progress: float
    ) -> dict[str, float]:
        """The state for the next step, from the mean loss of this one."""
        ...


def build_loss(name: str, hyperparameters: Mapping[str, object]) -> Loss:
    """The loss in `pipeline/losses/{name}.py`."""
    return importlib.import_module(f"pipeline.losses.{name}").Loss(**hyperparameters)


@runtime_checkable
class BuiltAround(Protocol):
    """A loss around a divergence D, with its own defaults."""

    @property
    def base(self) -> str:
        """The name of D."""
        ...


def base_divergence(loss: BuiltAround) -> Loss:
    """D of a loss, which keeps it as its `divergence`."""
    return build_loss(loss.base, {})


def initial_state(loss: Loss) -> dict[str, float]:
    """The initial state of a loss; empty unless it adapts."""
    return loss.initial_state() if isinstance(loss, AdaptiveLoss) else {}
