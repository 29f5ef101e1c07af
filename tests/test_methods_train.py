"""Every method of the catalogue trains a tiny student; a resumed run ends as an unbroken one."""

import math
import tempfile
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from annotations import unchecked
from players import Setup, run, trained

from pipeline.methods import components
from pipeline.methods.catalogue import METHODS
from pipeline.methods.method import resolve
from pipeline.training import checkpoint
from pipeline.training.batches import with_teacher
from pipeline.training.loop import train, validation_nll
from pipeline.training.state import Row, TrainingRun, TrainingState, initial_state
from workflow.config.validate import ConfigError, validate

SAVED_STEP = 3
STEPS = 6  # of ten texts from a pool of twenty: two steps go once through the same texts
# no baseline: from a random start their loss is noise for some hundred steps
TOO_NOISY = {"opd", "opd_spans", "iw_opd", "g_opd", "exopd", "kl_k2", "kl_k3"}
# from a random start there is next to nothing to learn from a copy, and a large rate leads away
# from it: tests/test_self_teaching.py has a student that can learn from itself
SELF_TAUGHT = {name for name, method in METHODS.items() if method.teacher == "self"}
NEVER_RIGHT = {"sdpo"}  # a random student gives no right answer that its copy could be shown
MOVING_TARGET = {"taid"}  # it leaves the student for the teacher, so that the loss may well rise


def setup(method: str) -> Setup:
    return Setup(method, steps=STEPS, batch_size=10, learning_rate=3e-2)


@dataclass(frozen=True)
class Run:
    """A run after its last step, and the state that it has saved on the way."""

    made: TrainingRun
    state: TrainingState
    saved: tempfile.TemporaryDirectory[str]


@cache
def unbroken(method: str) -> Run:
    made, saved = run(setup(method)), tempfile.TemporaryDirectory()
    state = initial_state(made)
    for _ in train(made, state):
        if state.step == SAVED_STEP:
            checkpoint.save(Path(saved.name), made, state, "job")
    return Run(made, state, saved)


def without_seconds(rows: list[Row]) -> list[Row]:
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


@pytest.mark.parametrize("method", METHODS)
def test_no_two_parts_of_a_method_have_a_hyperparameter_of_the_same_name(method: str) -> None:
    names = [
        name
        for kind, file in METHODS[method].components
        for name in components.hyperparameters(kind, file)
    ]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("method", METHODS)
def test_the_defaults_of_a_method_are_hyperparameters_that_it_has(method: str) -> None:
    decided = resolve(METHODS[method], {}).hyperparameters
    assert METHODS[method].defaults.items() <= decided.items()


@pytest.mark.parametrize("method", METHODS)
def test_training_lowers_the_loss_and_all_numbers_stay_finite(method: str) -> None:
    made, state = unbroken(method).made, unbroken(method).state
    losses = [row["loss_nats"] for row in state.rows]
    assert len(losses) == STEPS
    assert all(math.isfinite(loss) for loss in losses)
    assert all(weight.isfinite().all() for weight in made.student.parameters())
    assert all((row["gradient_norm"] > 0) == (method not in NEVER_RIGHT) for row in state.rows)
    if method not in TOO_NOISY | MOVING_TARGET | SELF_TAUGHT:
        assert sum(losses[-2:]) < 0.97 * sum(losses[:2])
    if method in MOVING_TARGET:
        nll_nats = [row["validation_nll_nats"] for row in state.rows]
        assert nll_nats[-1] < 0.95 * validation_nll(run(setup(method)))


@pytest.mark.parametrize("method", METHODS)
def test_a_resumed_run_ends_with_the_same_bits(method: str) -> None:
    expected = unbroken(method)
    with unchecked():
        resumed = run(setup(method))
        state = initial_state(resumed)
        assert checkpoint.resume(Path(expected.saved.name), resumed, state, "job")
        assert state.step == SAVED_STEP
        for _ in train(resumed, state):
            pass
    assert without_seconds(state.rows) == without_seconds(expected.state.rows)
    weights = zip(resumed.student.parameters(), expected.made.student.parameters(), strict=True)
    assert all(torch.equal(weight, other) for weight, other in weights)


def test_steps_record_who_wrote_their_texts() -> None:
    fixed, own, together = (unbroken(method).state.rows for method in ("sft", "imitkd", "switch"))
    assert {(row["generated_tokens"], row["teacher_share"]) for row in fixed} == {(0, None)}
    assert all(row["generated_tokens"] == row["response_tokens"] for row in own)
    assert {row["teacher_share"] for row in own} == {0.0}
    assert all(0 < row["generated_tokens"] < row["response_tokens"] for row in together)
    assert 0 < sum(row["teacher_share"] for row in together) < STEPS
    assert all(0 <= row["eos_share"] <= 1 for row in (*own, *together))


def test_another_seed_gives_another_student() -> None:
    first = unbroken("gkd").made
    other, _ = trained(Setup("gkd", steps=2, seed=2))
    pairs = zip(first.student.parameters(), other.student.parameters(), strict=True)
    assert not any(torch.equal(*pair) for pair in pairs if pair[0].ndim > 1)


def test_a_term_on_plain_text_is_refused_without_any_unless_it_is_left_out(
    tiny: dict[str, Any],
) -> None:
    with pytest.raises(ConfigError, match=r"switch\.plain_text_weight: 0"):
        validate(tiny | {"methods": {"switch": None}})
    validate(tiny | {"methods": {"switch": {"plain_text_weight": 0}}})
    with pytest.raises(ConfigError, match="needs plain text"):
        validate(tiny | {"methods": {"sft": {"plain_text_weight": 0.5}}})


def test_draws_are_new_in_each_step_and_depend_on_no_other_text() -> None:
    made = run(setup("rs_kd_redrawn"))
    text, other = made.train_set[:2]

    def drawn(texts: list[Any], step: int) -> torch.Tensor:
        (micro_batch,) = with_teacher(replace(made, max_tokens=10_000), texts, step)
        rows = micro_batch.batch.sequence == micro_batch.batch.texts.index(text)
        return micro_batch.teacher.chunk(slice(None)).log_probs[rows]

    first, beside = drawn([text], 0), drawn([text, other], 0)
    # the teacher is nearly sure of most tokens, so some steps have equal draws
    assert any(not first.equal(drawn([text], step)) for step in range(1, 20))
    assert first.equal(beside)
    assert (first.exp().sum(-1) - 1).abs().max() < 1e-6
