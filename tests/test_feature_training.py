"""Hidden states and projectors in training: what is read, learnt, saved and counted."""

from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from feature_references import NAMES
from players import CPU, Setup, llama, run, schooled, texts, trained
from test_cache_tiers import cached

from pipeline.data.batch import collate
from pipeline.feature_losses import inner_pairs
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
