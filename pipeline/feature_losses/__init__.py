"""Losses on hidden states, one a file, each with a frozen dataclass `Loss`: a term beside another.

`Loss()(models)` gives the term at each token, which the training loop adds, `feature_weight` times,
to the loss on distributions. Projectors between the two widths are trained with the student, at a
rate of their own and without weight decay; they are saved with the state of a training, never with
the student. All files have these hyperparameters:

    feature_weight    what the term is multiplied with
    projector_rate    the projectors' learning rate, on the schedule of the student's
    layers            which layers are compared: "last" or, with a live teacher, "uniform"

The last hidden state is the one that the head reads, behind the final norm. Those of layers inside
are before it, as a layer leaves them: no layer inside is ever paired with the last.
"""

import importlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.distributions.log_probs import Logits, PerToken, TokenContext
from pipeline.methods.ranges import LayerMap

Layers = Float[Tensor, "tokens layers width"]


@dataclass(frozen=True)
class Sizes:
    """What the two models measure, as far as projectors and their cost depend on it."""

    student: int  # width
    teacher: int
    pairs: int  # of layers that are compared
    vocabulary: int  # of the student
    teacher_vocabulary: int


@dataclass(frozen=True)
class ModelView:
    """One of the two models at some tokens: its hidden states, and its way on to logits."""

    layers: Layers  # the last of them is what the head reads
    logits: Logits  # up to a constant at each token
    head: Callable[[Float[Tensor, "tokens width"]], Logits]  # whose weights get no gradient

    @property
    def last(self) -> Float[Tensor, "tokens width"]:
        """The last hidden state."""
        return self.layers[:, -1]


@dataclass(frozen=True)
class BothModels:
    """Student and teacher at the same tokens, and what is learnt between them."""

    projectors: torch.nn.ModuleDict
    student: ModelView
    teacher: ModelView  # gets no gradient
    tokens: TokenContext

    @property
    def projected(self) -> Float[Tensor, "tokens layers teacher_width"]:
        """The student's layers in the teacher's width: W h_s."""
        layers = enumerate(self.projectors.values())
        return torch.stack([linear(self.student.layers[:, pair]) for pair, linear in layers], dim=1)


@runtime_checkable
class FeatureLoss(Protocol):
    """A loss on hidden states."""

    @property
    def feature_weight(self) -> float:
        """What it is multiplied with before it is added."""
        ...

    @property
    def projector_rate(self) -> float:
        """The learning rate of projectors."""
        ...

    @property
    def layers(self) -> LayerMap:
        """Which layers it compares."""
        ...

    def projectors(self, sizes: Sizes, rng: torch.Generator) -> torch.nn.ModuleDict:
        """What is learnt beside the student, before the first step; empty if nothing is."""
        ...

    def multiplications(self, sizes: Sizes, tokens: int) -> int:
        """Multiplications in the matrix products of a step on a text of `tokens` tokens."""
        ...

    def __call__(self, models: BothModels) -> PerToken:
        """The term at each token."""
        ...


@runtime_checkable
class FitsHeads(Protocol):
    """A loss whose projectors begin with what the heads of both models say."""

    def fit_heads(
        self,
        projectors: torch.nn.ModuleDict,
        student: Float[Tensor, "width common"],
        teacher: Float[Tensor, "teacher_width common"],
    ) -> None:
        """Sets the projectors from the heads' weights of the tokens that both models have."""
        ...


def inner_pairs(layers: LayerMap, student: int, teacher: int) -> list[tuple[int, int]]:
    """The layers inside that are compared, of the student and of the teacher, counted from 1.

    "uniform" maps layer l of L to layer l L' / L of the teacher's L', rounded. The last layers make
    a pair of their own under either map, so that none inside is compared with a last one.
    """
    if layers == "last" or teacher == 1:
        return []
    scaled = ((layer, math.floor(layer * teacher / student + 0.5)) for layer in range(1, student))
    return [(layer, min(max(other, 1), teacher - 1)) for layer, other in scaled]


def projector(inputs: int, outputs: int, rng: torch.Generator) -> torch.nn.Linear:
    """A linear map without bias: the identity between equal widths, else drawn as Xavier's."""
    linear = torch.nn.Linear(inputs, outputs, bias=False)
    if inputs == outputs:
        torch.nn.init.eye_(linear.weight)
    else:
        torch.nn.init.xavier_uniform_(linear.weight, generator=rng)
    return linear


def no_projectors(_sizes: Sizes, _rng: torch.Generator) -> torch.nn.ModuleDict:
    """None: what is compared doesn't depend on the width."""
    return torch.nn.ModuleDict()


def projector_of_each_pair(sizes: Sizes, rng: torch.Generator) -> torch.nn.ModuleDict:
    """W, from the student's width to the teacher's, for each pair of layers."""
    maps = (projector(sizes.student, sizes.teacher, rng) for _ in range(sizes.pairs))
    return torch.nn.ModuleDict({f"pair_{number}": linear for number, linear in enumerate(maps)})


def work_of_each_pair(sizes: Sizes, tokens: int) -> int:
    """The multiplications of each W: forward, and backward for its input and for itself."""
    return 3 * tokens * sizes.pairs * sizes.student * sizes.teacher


def build_feature_loss(name: str, hyperparameters: Mapping[str, object]) -> FeatureLoss:
    """The loss in `pipeline/feature_losses/{name}.py`."""
    return importlib.import_module(f"pipeline.feature_losses.{name}").Loss(**hyperparameters)
