"""What a step says of how far student and teacher agree."""

import math

import pytest
import torch
from players import Setup, trained

from pipeline.distributions.log_probs import Support, TeacherSignal
from pipeline.distributions.spans import Spans
from pipeline.training.agreement import COLUMNS, Agreement, agreement


def test_the_measures_of_a_token_by_hand() -> None:
    # top 2 of the teacher: tokens 0 and 1; of the student: 0 and 3
    p = torch.tensor([[0.5, 0.25, 0.125, 0.125]], dtype=torch.float64)
    q = torch.tensor([[0.5, 0.125, 0.125, 0.25]], dtype=torch.float64)
    entropy = 0.5 * math.log(2) + 0.25 * math.log(4) + 2 * 0.125 * math.log(8)
    expected = [0.5, 0.5 + 0.125, 0.5 + 0.125, entropy, entropy]
    assert agreement(p.log(), q.log(), 2)[0].tolist() == pytest.approx(expected)


def test_a_mean_is_over_the_tokens_of_all_chunks() -> None:
    logits = torch.tensor([[2.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 2.0]])
    teacher = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]).log_softmax(-1)
    measured, targets = Agreement(top=1), torch.zeros(3, dtype=torch.long)
    for rows in (slice(0, 2), slice(2, 3)):
        measured.add(TeacherSignal(teacher[rows], Support(targets[rows])), logits[rows])
    means = dict(zip(COLUMNS, measured.means(3), strict=True))
    assert means["top_overlap"].item() == pytest.approx(2 / 3)
    likely, other = math.exp(2) / (math.exp(2) + 2), 1 / (math.exp(2) + 2)
    assert means["student_mass"].item() == pytest.approx((2 * likely + other) / 3)


def test_a_support_of_a_few_tokens_tells_too_little() -> None:
    measured = Agreement()
    support = Support(torch.zeros(1, dtype=torch.long), torch.tensor([[0, 1]]))
    measured.add(TeacherSignal(torch.zeros(1, 3), support), torch.zeros(1, 5))
    assert measured.means(1) == []


def test_rows_of_another_vocabulary_s_tokens_are_not_compared() -> None:
    # the same shapes by chance
    measured, every = Agreement(), torch.arange(3)
    spans = Spans(every, every, every, every, every, every, None, None)
    log_probs = torch.zeros(3, 5).log_softmax(-1)
    measured.add(TeacherSignal(log_probs, Support(every), spans=spans), torch.zeros(3, 5))
    assert measured.means(3) == []


@pytest.mark.slow
def test_steps_of_validations_have_them_and_their_length_and_no_other_step() -> None:
    setup = Setup("opd", steps=4, training={"validations": 2})
    _, state = trained(setup)
    for row in state.rows:
        is_measured = row["validation_nll_nats"] is not None
        assert all((row[name] is not None) == is_measured for name in COLUMNS)
        assert row["rollout_length"] == (row["generated_tokens"] or 0) / setup.batch_size
        assert row["reward"] is None
    last = {name: value or 0.0 for name, value in state.rows[-1].items()}
    assert 0 < last["top_overlap"] <= 1
    assert all(0 < last[name] <= 1 + 1e-6 for name in ("student_mass", "teacher_mass"))
    assert 0 < last["teacher_entropy_nats"] < math.log(32)


def test_a_method_without_a_teacher_has_none_of_them() -> None:
    _, state = trained(Setup("sft", steps=2, training={"validations": 2}))
    assert all(row[name] is None for row in state.rows for name in (*COLUMNS, "rollout_length"))


def test_draws_in_place_of_a_teacher_s_distributions_are_not_measured() -> None:
    _, state = trained(Setup("rs_kd_redrawn", steps=2, training={"validations": 2}))
    assert all(row["validation_nll_nats"] is not None for row in state.rows)
    assert all(row[name] is None for row in state.rows for name in COLUMNS)
