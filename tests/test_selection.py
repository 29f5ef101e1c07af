"""The texts that a training keeps by how likely teacher and student find them."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from players import Setup, llama, log_probs, run, trained
from test_cache_tiers import cached

from pipeline.data.batch import Text
from pipeline.data_policies import difference_sampling
from pipeline.methods.catalogue import METHODS
from pipeline.methods.method import resolve
from pipeline.models.teacher import LiveTeacher
from pipeline.settings.experiment import MethodChoice
from pipeline.settings.teacher import CacheJob
from pipeline.training import checkpoint, selection
from pipeline.training.batches import step_batch
from pipeline.training.loop import train
from pipeline.training.state import TrainingRun, initial_state
from workflow.config.method_checks import resolved_method
from workflow.config.validate import validate
from workflow.grid.grid import Grid
from workflow.resources.estimates import workload_of

MINIPLM = resolve(METHODS["miniplm"], {})


def nats_per_token(model: Any, text: Text) -> float:
    """One text at a time, a plain mean over its tokens."""
    ids = torch.tensor(text.response_ids)
    return -float(log_probs(model, text).gather(-1, ids[:, None]).mean())


def greatest_differences(made: TrainingRun, count: int) -> set[str]:
    """The texts of the greatest differences, by a sort of all of them."""
    student, teacher = made.student, made.teacher.model
    by_difference = sorted(
        made.train_set,
        key=lambda text: nats_per_token(teacher, text) - nats_per_token(student, text),
    )
    return {text.example_id for text in by_difference[:count]}


def drawn(made: TrainingRun, steps: int) -> list[list[str]]:
    state = initial_state(made)
    batches = [step_batch(made, state, step) for step in range(steps)]
    return [[text.example_id for text in batch.texts] for batch in batches]


@pytest.mark.parametrize(
    ("share", "kept"),
    [
        (1.0, [0, 1, 2, 3, 4]),
        (0.8, [0, 1, 3, 4]),
        (0.5, [1, 4]),
        (0.3, [1]),
        (0.01, [1]),  # one at least
    ],
)
def test_the_texts_that_the_teacher_likes_more_than_the_student_are_kept(share, kept) -> None:
    student, teacher = np.array([3.0, 4.0, 2.0, 1.0, 2.5]), np.array([2.0, 1.0, 2.5, 0.5, 1.0])
    # differences: 1, 3, -0.5, 0.5, 1.5
    assert difference_sampling.Policy(share).kept(student, teacher) == kept


def test_of_equal_differences_the_earlier_texts_are_kept() -> None:
    assert difference_sampling.Policy(0.5).kept(np.full(6, 1.0), np.full(6, 0.5)) == [0, 1, 2]


def test_a_training_draws_what_reading_text_by_text_selects() -> None:
    made = run(Setup(MINIPLM, steps=6, batch_size=4))
    expected = greatest_differences(made, len(made.train_set) // 2)
    ids = [name for batch in drawn(made, 5) for name in batch]
    assert set(ids) == expected
    assert all(ids.count(name) == 2 for name in expected)  # ten texts, twice, in five steps of four


@pytest.mark.parametrize("name", ["student", "teacher"])
def test_a_broken_model_selects_nothing(name: str) -> None:
    made = run(Setup(MINIPLM, steps=1))
    model = made.student if name == "student" else made.teacher.model
    with torch.no_grad():
        model.get_output_embeddings().weight[3] = float("nan")
    with pytest.raises(ValueError, match=f"the {name}'s log-probabilities are not numbers"):
        drawn(made, 1)


def test_likelihoods_do_not_depend_on_how_texts_are_read_together(monkeypatch) -> None:
    made = run(Setup(MINIPLM))
    whole = selection.mean_nats(made, made.teacher)
    expected = [nats_per_token(made.teacher.model, text) for text in made.train_set]
    np.testing.assert_allclose(whole, expected, rtol=1e-5, atol=1e-6)
    monkeypatch.setattr(selection, "READ_TOGETHER", 3)
    cut = selection.mean_nats(replace(made, max_tokens=16), made.teacher)
    np.testing.assert_allclose(cut, expected, rtol=1e-5, atol=1e-6)


def test_a_cache_of_a_few_tokens_says_what_the_live_teacher_does(tmp_path: Path) -> None:
    teacher = llama(7)  # which is sure of nothing
    made = replace(run(Setup(MINIPLM)), teacher=LiveTeacher(teacher))
    stored = replace(made, teacher=cached(tmp_path, CacheJob(k=2), teacher))
    nats = [selection.mean_nats(each, each.teacher) for each in (made, stored)]
    assert nats[0].min() > 1
    np.testing.assert_allclose(nats[1], nats[0], rtol=2**-10)  # half precision
    assert drawn(stored, 3) == drawn(made, 3)


def test_all_texts_kept_train_the_student_that_fixed_texts_do() -> None:
    kept = resolve(METHODS["miniplm"], {"kept_share": 1.0})
    selecting, plain = (trained(Setup(method))[0] for method in (kept, "sft"))
    pairs = zip(selecting.student.parameters(), plain.student.parameters(), strict=True)
    assert all(torch.equal(*pair) for pair in pairs)


def test_a_training_that_resumes_keeps_the_texts_of_its_start(tmp_path: Path) -> None:
    def after(made: TrainingRun, state: Any, last: int) -> None:
        for step in train(made, state):
            if step == last:
                break

    whole, cut, resumed = (run(Setup(MINIPLM, steps=6, learning_rate=0.05)) for _ in range(3))
    states = [initial_state(each) for each in (whole, cut, resumed)]
    after(whole, states[0], 6)
    after(cut, states[1], 3)
    checkpoint.save(tmp_path, cut, states[1], "job")
    assert checkpoint.resume(tmp_path, resumed, states[2], "job")
    # what the student has learnt would select others
    assert selection.selection(cut, cut.policy)["kept"] != states[2].policy["kept"]
    after(resumed, states[2], 6)
    assert states[2].policy == states[0].policy
    pairs = zip(whole.student.parameters(), resumed.student.parameters(), strict=True)
    assert all(torch.equal(*pair) for pair in pairs)


def steps_texts(made: TrainingRun, state: Any) -> list[Text]:
    steps = range(made.steps)
    return [text for step in steps for text in selection.drawn_texts(made, state, step)]


def test_both_readings_count_as_work_of_their_models() -> None:
    (selecting, state), (fixed, plain) = trained(Setup(MINIPLM)), trained(Setup("sft"))
    read = sum(text.length for text in selecting.train_set)
    assert state.teacher_work.positions == read  # once, and in no step
    kept = sum(batch.length for batch in steps_texts(selecting, state))
    plainly = sum(text.length for text in steps_texts(fixed, plain))
    more = state.student_work.positions - plain.student_work.positions
    assert more == read + kept - plainly


def test_the_card_counts_what_was_left_out() -> None:
    made, state = trained(Setup(MINIPLM, steps=2))
    card = selection.selection_card(made, state)
    assert json.loads(json.dumps(card)) == {"selection": {"kept_texts": 10, "left_out_texts": 10}}
    assert selection.selection_card(*trained(Setup("sft", steps=1))) == {}


def row(**keys: Any) -> Any:
    return resolved_method("row", MethodChoice.model_validate(keys))


@pytest.mark.parametrize(
    ("keys", "teacher"),
    [
        ({"policy": "difference_sampling", "loss": "cross_entropy"}, "cache"),
        ({"policy": "difference_sampling", "loss": "jsd"}, "cache"),
        ({"policy": "difference_sampling", "loss": "relational"}, "live"),
        ({"method": "miniplm", "teacher": "live"}, "live"),
        ({"method": "sft", "policy": "difference_sampling"}, "cache"),
    ],
)
def test_a_selection_needs_a_teacher_whatever_the_loss_reads(keys: Any, teacher: str) -> None:
    assert row(**keys).method.teacher == teacher


def test_a_student_that_teaches_itself_selects_nothing() -> None:
    with pytest.raises(ValueError, match=r"difference_sampling.*allowed: 'fixed'"):
        row(method="opsd", policy="difference_sampling")


def test_a_teacher_of_another_vocabulary_is_refused() -> None:
    fault = METHODS["miniplm"].vocabulary_fault
    assert fault is not None
    assert "difference_sampling" in fault


def test_a_plan_counts_the_reading_of_the_train_set(tiny: Any) -> None:
    rows = {"miniplm": None, "sft": None}
    grid = Grid(validate(tiny | {"methods": rows, "grid": [{"seeds": [1]}]}))
    selecting, plain = (workload_of(grid, grid.student(name, "small", "large", 1)) for name in rows)
    assert selecting.operations > plain.operations


def test_a_loss_that_compares_distributions_learns_on_the_kept_texts_alone() -> None:
    both = row(loss="forward_kl", policy={"name": "difference_sampling", "kept_share": 0.25})
    _, state = trained(Setup(both, steps=4))
    assert len(state.policy["kept"]) == 5
    assert state.rows[-1]["loss_nats"] < state.rows[0]["loss_nats"]
