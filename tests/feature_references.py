"""Every loss on hidden states once more, in NumPy, and views of two models to try it on."""

from collections.abc import Callable

import numpy as np
import tiny
import torch

from pipeline.feature_losses import BothModels, FeatureLoss, ModelView, Sizes, build_feature_loss
from pipeline.methods import components

NAMES = components.names("feature_losses")
SIZES = Sizes(student=5, teacher=7, pairs=2, vocabulary=11, teacher_vocabulary=11)
Reference = Callable[["Views"], np.ndarray]


class Views:
    """Both models at the tokens of `tiny.case()`, in float64, and a projector for each pair."""

    def __init__(self, name: str, sizes: Sizes = SIZES, seed: int = 3):
        draw = torch.Generator().manual_seed(seed)
        case, count = tiny.case(), sum(tiny.TEXT_LENGTHS)
        shapes = ((count, sizes.pairs, width) for width in (sizes.student, sizes.teacher))
        heads = (
            torch.randn(width, sizes.vocabulary, generator=draw, dtype=torch.float64)
            for width in (sizes.student, sizes.teacher)
        )
        student, teacher = (
            torch.randn(shape, generator=draw, dtype=torch.float64) for shape in shapes
        )
        self.heads = tuple(heads)
        self.loss: FeatureLoss = build_feature_loss(name, {"feature_weight": 1.0})
        self.projectors = self.loss.projectors(sizes, draw).double()
        self.student, self.teacher = student.requires_grad_(), teacher
        self.tokens = case.tokens({})

    def views(self) -> tuple[ModelView, ModelView]:
        pairs = zip((self.student, self.teacher), self.heads, strict=True)
        return tuple(
            ModelView(layers, layers[:, -1] @ head, lambda hidden, head=head: hidden @ head)
            for layers, head in pairs
        )

    def losses(self) -> torch.Tensor:
        return self.loss(BothModels(self.projectors, *self.views(), self.tokens))

    def sides(self) -> tuple[np.ndarray, np.ndarray]:
        """The student's layers in the teacher's width, and the teacher's, [pair, token, width]."""
        maps = [each.weight.detach().numpy() for each in self.projectors.values()]
        student = self.student.detach().numpy()
        ours = [student[:, pair] @ weight.T for pair, weight in enumerate(maps)]
        return np.stack(ours), self.teacher.numpy().transpose(1, 0, 2)


def mean_square(views: Views) -> np.ndarray:
    ours, theirs = views.sides()
    return ((ours - theirs) ** 2).mean(-1).mean(0)


def cosine(views: Views) -> np.ndarray:
    ours, theirs = views.sides()
    lengths = np.linalg.norm(ours, axis=-1) * np.linalg.norm(theirs, axis=-1)
    return (1 - (ours * theirs).sum(-1) / lengths).mean(0)


def normalised(views: Views) -> np.ndarray:
    ours, theirs = views.sides()
    return (((ours - theirs) ** 2).sum(-1) / (theirs**2).sum(-1)).mean(0)


def cka(views: Views) -> np.ndarray:
    """By the covariances, where the code takes the products of tokens."""
    values, first = [], 0
    for length in tiny.TEXT_LENGTHS:
        rows, of_pairs = slice(first, first + length), []
        for pair in range(SIZES.pairs):
            x, y = (side[rows, pair].detach().numpy() for side in (views.student, views.teacher))
            x, y = x - x.mean(0), y - y.mean(0)
            norms = [np.linalg.norm(each) for each in (y.T @ x, x.T @ x, y.T @ y)]
            of_pairs.append(1 - norms[0] ** 2 / (norms[1] * norms[2]) if length > 1 else 0.0)
        values += length * [np.mean(of_pairs)]
        first += length
    return np.array(values)


def shares(logits: np.ndarray) -> np.ndarray:
    raised = np.exp(logits - logits.max(-1, keepdims=True))
    return raised / raised.sum(-1, keepdims=True)


def divergence(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    return (p * np.log(p / q)).sum(-1)


def relations(views: Views) -> np.ndarray:
    """Text by text and head by head; the code has them side by side, filled up with zeros."""
    values, first = [], 0
    # fewer than the sixteen asked for
    heads = min(views.student.shape[-1], views.teacher.shape[-1])
    for length in tiny.TEXT_LENGTHS:
        of_heads = []
        for pair in range(SIZES.pairs):
            sides = []
            for side in (views.teacher, views.student):
                states = side.detach().numpy()[first : first + length, pair]
                units = states.shape[-1] / heads
                parts = np.array_split(states, heads, axis=-1)
                sides.append([shares(part @ part.T / np.sqrt(units)) for part in parts])
            of_heads += [divergence(p, q) for p, q in zip(*sides, strict=True)]
        values += list(np.mean(of_heads, axis=0))
        first += length
    return np.array(values)


def read_by_both_heads(views: Views) -> tuple[np.ndarray, ...]:
    """The distributions q, t2s, p and s2t."""
    maps = [each.weight.detach().numpy().T for each in views.projectors.values()]
    h_s, h_t = views.student.detach().numpy()[:, -1], views.teacher.detach().numpy()[:, -1]
    head_s, head_t = (head.numpy() for head in views.heads)
    states = (h_s @ head_s, h_t @ maps[0] @ head_s, h_t @ head_t, h_s @ maps[1] @ head_t)
    return tuple(shares(logits) for logits in states)


def dual_space(views: Views) -> np.ndarray:
    q, t2s, p, s2t = read_by_both_heads(views)
    likelihood = t2s[np.arange(len(q)), views.tokens.target.numpy()]
    return -np.log(likelihood) + divergence(t2s, q) + divergence(p, s2t)


def dual_space_where_both_agree(views: Views) -> np.ndarray:
    q, t2s, p, s2t = read_by_both_heads(views)
    values = []
    for row, top in enumerate(p.argmax(-1)):
        loss = -np.log(t2s[row, top]) + divergence(p[row], s2t[row])
        if t2s[row].argmax() == top:
            loss += divergence(t2s[row], q[row])
        values.append(loss)
    return np.array(values)


REFERENCES: dict[str, Reference] = {
    "hidden_mse": mean_square,
    "hidden_cosine": cosine,
    "hidden_l2": normalised,
    "hidden_cka": cka,
    "hidden_relations": relations,
    "dskd": dual_space,
    "dskd_v2": dual_space_where_both_agree,
}
