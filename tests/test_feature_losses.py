"""Losses on hidden states: their formulas, their laws, and projectors as trained state."""

from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from players import CPU, Setup, llama, run, schooled, texts, trained
from test_cache_tiers import cached
from torch.utils.flop_counter import FlopCounterMode

from pipeline.data.batch import collate
from pipeline.feature_losses import (
    BothModels,
    FeatureLoss,
    ModelView,
    Sizes,
    build_feature_loss,
    dskd_v2,
    inner_pairs,
    projector_of_each_pair,
)
from pipeline.methods import components
from pipeline.methods.catalogue import METHODS
from pipeline.methods.method import resolve
from pipeline.models.language_model import response_layers
from pipeline.models.teacher import LiveTeacher
from pipeline.settings.teacher import CacheJob
from pipeline.training import checkpoint
from pipeline.training.features import feature_term, head_of, head_of_teacher, with_layers
from pipeline.training.loop import student_layers, train
from pipeline.training.schedule import learning_rate
from pipeline.training.state import TrainingRun, initial_state

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


def transposed(views: Views) -> None:
    """The projectors' matrices read the other way round: only of equal widths."""
    for each in views.projectors.values():
        each.weight = torch.nn.Parameter(each.weight.T.contiguous())


def shifted(views: Views) -> None:
    """The teacher's states of the token before."""
    views.teacher = views.teacher.roll(1, 0)


def exchanged(views: Views) -> None:
    """Each pair compared with the other pair's layer."""
    views.teacher = views.teacher.flip(1)


def other_texts(views: Views) -> None:
    """Tokens said to belong to other texts."""
    lengths = views.tokens.lengths.flip(0)
    sequence = torch.arange(len(lengths)).repeat_interleave(lengths)
    views.tokens = replace(views.tokens, lengths=lengths, sequence=sequence)


# what no reference can notice: these look at each token by itself
BY_ITSELF = ("hidden_mse", "hidden_cosine", "hidden_l2", "dskd", "dskd_v2")
BLIND = {(other_texts, name) for name in BY_ITSELF}
BLIND |= {(transposed, name) for name in ("hidden_cka", "hidden_relations")}  # of no projector


@pytest.mark.parametrize("name", NAMES)
def test_a_loss_is_what_its_formula_gives(name: str) -> None:
    views = Views(name)
    losses, expected = views.losses().detach().numpy(), REFERENCES[name](views)
    # where it is zero, 1 - 1 may leave a unit in the last place
    np.testing.assert_allclose(losses, expected, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("fault", [transposed, shifted, exchanged, other_texts])
def test_a_faulty_view_is_noticed(fault: Callable[[Views], None], name: str) -> None:
    sizes = replace(SIZES, student=SIZES.teacher)
    faulty, right = Views(name, sizes), Views(name, sizes)
    for views in (faulty, right):
        draw = torch.Generator().manual_seed(9)  # an identity would look the same transposed
        for weight in views.projectors.parameters():
            torch.nn.init.normal_(weight, generator=draw)
    fault(faulty)
    expected = REFERENCES[name](right)
    is_noticed = not np.allclose(faulty.losses().detach().numpy(), expected, rtol=1e-6)
    assert is_noticed == ((fault, name) not in BLIND)


@pytest.mark.parametrize(
    "name",
    [
        name
        for name in NAMES
        if components.class_constant("feature_losses", name, "zero_when_equal", True)
    ],
)
def test_equal_states_in_equal_widths_have_no_loss(name: str) -> None:
    views = Views(name, replace(SIZES, student=SIZES.teacher))
    assert views.losses().sum() > 0.1
    views.student, views.heads = views.teacher, (views.heads[1], views.heads[1])
    assert views.losses().abs().max() < 1e-9


@pytest.mark.parametrize("name", NAMES)
def test_a_step_along_the_gradient_lowers_the_loss_and_the_teacher_gets_none(name: str) -> None:
    views = Views(name)
    views.teacher.requires_grad_()
    before = views.losses().sum()
    learning = [views.student, *views.projectors.parameters()]
    gradients = torch.autograd.grad(before, learning, retain_graph=True)
    assert all(each.isfinite().all() and each.abs().sum() > 0 for each in gradients)
    with torch.no_grad():
        for value, gradient in zip(learning, gradients, strict=True):
            value -= 1e-4 * gradient
    assert views.losses().sum() < before


def test_cka_is_blind_to_rotation_and_scale() -> None:
    views = Views("hidden_cka")
    before = views.losses()
    rotation = torch.linalg.qr(torch.randn(7, 7, dtype=torch.float64)).Q
    views.teacher = 3 * views.teacher @ rotation
    torch.testing.assert_close(views.losses(), before)


def test_cka_of_large_states_does_not_overflow_float32() -> None:
    views = Views("hidden_cka")
    before = views.losses()
    views.student, views.teacher = (1e3 * views.student).float(), (1e7 * views.teacher).float()
    views.heads = tuple(head.float() for head in views.heads)
    torch.testing.assert_close(views.losses().double(), before, rtol=1e-4, atol=1e-6)


def test_a_projector_starts_as_the_identity_between_equal_widths() -> None:
    draw = torch.Generator().manual_seed(0)
    (same,) = projector_of_each_pair(Sizes(4, 4, 1, 9, 9), draw).parameters()
    (other,) = projector_of_each_pair(Sizes(4, 6, 1, 9, 9), draw).parameters()
    assert same.equal(torch.eye(4))
    assert other.shape == (6, 4)
    assert 0 < other.abs().max() <= (6 / 10) ** 0.5  # Xavier's bound


def test_projectors_of_two_heads_keep_the_logits_of_common_tokens() -> None:
    draw = torch.Generator().manual_seed(2)
    student, turn = torch.randn(4, 30, generator=draw), torch.randn(6, 4, generator=draw)
    teacher = turn @ student  # all that it says can be said in the student's width
    loss = dskd_v2.Loss()
    projectors = loss.projectors(Sizes(4, 6, 1, 30, 30), draw)
    loss.fit_heads(projectors, student, teacher)
    hidden, other = torch.randn(5, 6, generator=draw), torch.randn(5, 4, generator=draw)
    there, back = projectors["to_student"](hidden), projectors["to_teacher"](other)
    torch.testing.assert_close(there @ student, hidden @ teacher, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(back @ teacher, other @ student, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("layers", [1, 3])
def test_the_last_state_is_what_the_head_reads_and_those_inside_are_before_the_norm(layers: int):
    model, batch = llama(0, layers=layers), collate(texts(4), CPU)
    inner = list(range(1, layers))
    states = response_layers(model, batch, inner)
    logits = model(batch.input_ids).logits.flatten(0, 1)[batch.response_positions]
    torch.testing.assert_close(head_of(model)(states[:, -1]), logits)

    decoded = []
    for layer in model.model.layers:
        layer.register_forward_hook(lambda _layer, _inputs, output: decoded.append(output))
    response_layers(model, batch)
    for column, layer in enumerate(inner):
        left = decoded[layer - 1].flatten(0, 1)[batch.response_positions]
        assert states[:, column].equal(left)
        assert not states[:, column].allclose(model.model.norm(left), atol=1e-3)


@pytest.mark.parametrize(
    ("student", "teacher", "pairs"),
    [
        (2, 4, [(1, 2)]),
        (4, 2, [(1, 1), (2, 1), (3, 1)]),  # none is the teacher's last
        (3, 3, [(1, 1), (2, 2)]),
        (3, 8, [(1, 3), (2, 5)]),
        (1, 8, []),
        (3, 1, []),
    ],
)
def test_a_uniform_map_takes_layers_in_proportion(student, teacher, pairs):
    assert inner_pairs("uniform", student, teacher) == pairs
    assert inner_pairs("last", student, teacher) == []


def test_layers_inside_of_a_live_teacher_are_learnt_too():
    resolved = resolve(METHODS["hidden_l2"], {"layers": "uniform", "projector_rate": 0.02})
    made, student = run(Setup(resolved, steps=20)), llama(1, layers=2)
    teacher = LiveTeacher(llama(0, width=32, layers=4).requires_grad_(False))
    features = feature_term(made.settings, student, teacher)
    teacher = with_layers(teacher, features)
    made = replace(made, student=student, teacher=teacher, features=features)
    assert features.inner_layers == [(1, 2)]
    assert teacher.inner_layers == [2]

    batch = collate(made.train_set[:8], CPU)

    def apart() -> torch.Tensor:
        """The distance of each pair."""
        ours = student_layers(made, batch)
        theirs = teacher.distributions(batch).chunk(slice(None)).layers
        maps = enumerate(features.projectors.values())
        projected = torch.stack([linear(ours[:, pair]) for pair, linear in maps], dim=1)
        difference = projected - theirs
        return (difference.square().sum(-1) / theirs.square().sum(-1)).mean(0).detach()

    before = apart()
    list(train(made, initial_state(made)))
    assert before.shape == (2,)
    assert (apart() < 0.9 * before).all()


def test_a_cache_of_hidden_states_gives_those_of_the_live_teacher(tmp_path: Path) -> None:
    model, batch = llama(7), collate(texts(20), CPU)
    stored = cached(tmp_path, CacheJob(tier="hidden"), model)
    layers = stored.distributions(batch).chunk(slice(None)).layers
    live = LiveTeacher(model).distributions(batch).chunk(slice(None)).layers
    torch.testing.assert_close(layers, live, rtol=2**-10, atol=1e-6)  # half precision
    assert head_of_teacher(stored).linear.weight.equal(model.lm_head.weight)


def test_a_teacher_without_hidden_states_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"live.*teacher_cache\.tier = 'hidden'"):
        head_of_teacher(cached(tmp_path, CacheJob(k=4)))


@pytest.mark.parametrize("name", NAMES)
def test_how_a_step_is_cut_changes_no_gradient(name: str) -> None:
    def gradients(max_tokens: int) -> list[Any]:
        made = replace(run(Setup(name, steps=1)), max_tokens=max_tokens)
        weights = [*made.student.parameters(), *made.features.weights]
        before = [weight.detach().clone() for weight in weights]
        list(train(made, replace(initial_state(made), optimizer=torch.optim.SGD(weights, lr=1.0))))
        return [old - new.detach() for old, new in zip(before, weights, strict=True)]

    for whole, cut in zip(gradients(10_000), gradients(16), strict=True):
        torch.testing.assert_close(cut, whole, rtol=1e-4, atol=1e-3 * whole.abs().max().item())


def test_projectors_have_a_rate_of_their_own_on_the_student_s_schedule_and_no_decay() -> None:
    training = {"schedule": "cosine", "weight_decay": 0.1, "warmup_ratio": 0.5}
    made = run(Setup("hidden_mse", steps=6, learning_rate=5e-3, training=training))
    state = initial_state(made)
    for step in train(made, state):
        student, projectors = state.optimizer.param_groups[0], state.optimizer.param_groups[-1]
        rate = learning_rate(made.settings.training, step - 1, made.steps)
        assert student["lr"] == rate
        assert projectors["lr"] == pytest.approx(1e-3 * rate / 5e-3)
    assert [group["weight_decay"] for group in (student, projectors)] == [0.1, 0.0]


def test_projectors_are_saved_with_the_state_and_not_with_the_student(tmp_path: Path) -> None:
    made = run(Setup("hidden_mse"))
    state, fresh = initial_state(made), made.features.weights[0].detach().clone()
    list(islice(train(made, state), 3))
    checkpoint.save(tmp_path / "state", made, state, "job")
    made.student.save_pretrained(tmp_path / "model")

    (learnt,) = made.features.weights
    assert not learnt.equal(fresh)
    resumed = run(Setup("hidden_mse"))
    assert checkpoint.resume(tmp_path / "state", resumed, initial_state(resumed), "job")
    assert resumed.features.weights[0].equal(learnt)
    saved = type(made.student).from_pretrained(tmp_path / "model")
    assert saved.state_dict().keys() == made.student.state_dict().keys()


def test_the_work_of_projectors_is_counted() -> None:
    def flops(made: TrainingRun) -> int:
        state = initial_state(made)
        list(train(made, state))
        return state.student_work.flops

    (with_features, state), without = trained(Setup("hidden_mse")), run(Setup("forward_kl"))
    tokens = sum(row["response_tokens"] for row in state.rows)
    assert with_features.features.sizes.teacher == schooled().config.hidden_size
    extra = state.student_work.flops - flops(without)
    assert extra == 6 * tokens * 16 * 32  # twice a multiplication, forward and two for it backward


@pytest.mark.parametrize("name", NAMES)
def test_work_is_that_of_the_matrix_products_forward_and_backward(name: str) -> None:
    views = Views(name)
    count = len(views.tokens.target)
    views.tokens = replace(
        views.tokens,
        sequence=torch.zeros(count, dtype=torch.long),
        lengths=torch.tensor([count]),
        offsets=torch.arange(count),
    )
    student, teacher = (replace(view, logits=view.logits.detach()) for view in views.views())
    learning = [views.student, *views.projectors.parameters()]
    with FlopCounterMode(display=False) as counter:
        losses = views.loss(BothModels(views.projectors, student, teacher, views.tokens))
        torch.autograd.grad(losses.sum(), learning)
    assert 2 * views.loss.multiplications(SIZES, count) == counter.get_total_flops()
