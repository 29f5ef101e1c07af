"""Answers that are checked: found in texts, compared as values, and counted over samples."""

import json
import math
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pytest
from small_tasks import DATA, instruction_job, lines

from pipeline.statistics import bootstrap
from pipeline.statistics.items import contributions, influence_products
from pipeline.statistics.pass_at_k import ks_of, pass_at_k
from pipeline.tasks import instruction_items
from pipeline.tasks.answers import equal, is_correct, reference_answer, response_answer
from pipeline.tasks.values import plain, quantity

EQUAL = [
    ("1/2", r"\frac{1}{2}"),
    ("0.5", r"\dfrac12"),
    ("1,234", "1234"),
    ("1200", "1,200.00"),
    ("10{,}000", "10,000"),
    (r"\$42", "42"),
    ("42", r"\text{42}"),
    ("5 cm", r"5\text{ cm}"),
    ("5", "5 dollars"),
    ("50", "50%"),
    ("0.5", r"50\%"),
    (r"2\sqrt{3}", r"\sqrt{12}"),
    (r"\sqrt{\frac{9}{4}}", "1.5"),
    (r"\sqrt[3]{8}", "2"),
    (r"2\pi", r"\pi \cdot 2"),
    (r"3\frac{1}{2}", "7/2"),
    ("3 1/2", "3.5"),
    (r"-1\frac12", "-1.5"),
    ("2^{10}", "1024"),
    ("-3", "\N{MINUS SIGN}3"),
    ("x = 5", "5"),
    (r"90^\circ", "90"),
    ("(1, 2)", "( 1,2 )"),
    (r"\left(0, \frac{1}{2}\right)", "(0,0.5)"),
    ("1, -2", "-2,1"),
    (r"\{1,2\}", r"\{2, 1\}"),
    ("x^2+1", "x^{2} + 1"),
    ("(C)", "c"),
    ("Paris", r"\text{paris}."),
    ("5e-05", "0.00005"),
    ("1e+16", "10000000000000000"),
    ("1.5E3", "1500"),
    (r"5\times 10^{-5}", "5e-5"),
]
UNEQUAL = [
    ("1", "1e5"),
    ("1.5", "1.5e3"),
    (r"\pi", "(9^{64})^{64}"),
    ("1/3", "0.333"),
    (r"\pi", "3.14"),
    ("2", "2x"),
    ("5 cm", "5 m"),
    ("50%", "0.05"),
    ("(1, 2)", "(2, 1)"),
    ("[0,1)", "[0,1]"),
    ("1,2", "1,2,3"),
    ("12", "1 2"),
    ("Paris", "London"),
    ("", "0"),
]
RESPONSES = [
    (r"It is \boxed{\frac{1}{2}}, not 3.", r"\frac{1}{2}"),
    (r"\boxed{1} or rather \boxed{2}", "2"),
    (r"\boxed{\text{a} + {b}}", r"\text{a} + {b}"),
    ("1,000 + 200\n#### 1,200", "1,200"),
    ("The answer is 42 apples. There were 7 of them.", "42 apples"),
    ("So the final answer is: **7**", "7"),
    ("**Answer:** $3.50", "$3.50"),
    ("3 + 4 = 7.", "7"),
    ("It costs $1,250.50 in 2024", "2024"),
    ("a half, 1/2", "1/2"),
    (r"cut off in \boxed{4", "4"),
    ("about 1.5e3 or 2e-5 of them", "2e-5"),
    ("one 3e", "3"),
    ("- 5", "5"),
    ("it is\n1 1/2", "1 1/2"),
    ("I do not know.", None),
    ("", None),
]
REFERENCES = [
    *dict.fromkeys(text for pair in (*EQUAL, *UNEQUAL) for text in pair if text),
    *("2024-01-02", "10/12/2020", "555-1234", "12 m^2", "3 or 4", "5 - 3", "12:30", "1.000,50"),
]


@pytest.mark.parametrize("reference", REFERENCES)
def test_a_response_that_is_its_reference_is_correct(reference: str):
    assert is_correct(reference, [reference])
    assert is_correct(f"Let me count: 1, 2, 3.\n{reference}\n", [reference])


@pytest.mark.parametrize(("expected", "answer"), EQUAL)
def test_answers_with_one_value_are_equal_both_ways(expected: str, answer: str):
    assert equal(expected, answer)
    assert equal(answer, expected)


@pytest.mark.parametrize(("expected", "answer"), UNEQUAL)
def test_answers_with_two_values_are_not(expected: str, answer: str):
    assert not equal(expected, answer)
    assert not equal(answer, expected)


@pytest.mark.parametrize(("response", "answer"), RESPONSES)
def test_the_answer_is_taken_from_a_box_a_mark_words_or_the_last_number(
    response: str, answer: str | None
):
    assert response_answer(response, "#### 5") == answer


def test_an_answer_in_words_is_the_last_line_where_nothing_marks_one():
    assert response_answer("Let me think.\nParis\n", "Paris") == "Paris"
    assert is_correct("The answer is Paris.", ["Rome", "Paris"])
    assert not is_correct("Paris or London", ["Paris"])


def test_a_long_reference_without_a_mark_has_no_answer():
    assert reference_answer("They had two.\nSo they sold it.") is None
    assert reference_answer("word " * 40) is None
    assert reference_answer("two apples") == "two apples"


def test_no_text_is_executed_and_none_takes_hours():
    hostile = [
        "__import__('os').abort()",
        "9^9^9^9",
        "9" * 299,
        "(" * 299,
        "-" * 299 + "1",
        r"\frac{" * 50,
        "1," * 149 + "1",
        "((1," * 70,
        r"\sqrt{-1}",
        "1/0",
    ]
    long = ["answer is" + " " * 50_000, r"\boxed{" * 9_000, "1," * 20_000, "#### " * 9_000]
    for text in hostile:
        assert not equal("1, 2, 3, 4, 5", text)
        assert not is_correct(rf"\boxed{{{text}}}", ["#### 17"])
    for text in long:
        assert not is_correct(text, ["#### 17"])


def test_every_answer_of_gsm8k_is_a_number_that_its_own_solution_gives():
    path = DATA / "gsm8k/test.jsonl"
    if not path.is_file():
        pytest.skip("../shared/data is not there")
    solutions = [json.loads(line)["answer"] for line in path.read_text().splitlines()]
    assert all(quantity(plain(reference_answer(text) or "")) for text in solutions)
    assert all(is_correct(text, [text]) for text in solutions)
    others = pairwise(solutions)
    assert np.mean([is_correct(solution, [other]) for solution, other in others]) < 0.1


def test_an_answer_may_be_a_number_and_one_that_is_missing_is_named_by_its_row(tmp_path: Path):
    rows = [{"problem": "1 + 1?", "answer": 2}, {"problem": "1 + 2?", "answer": "3"}]
    job = instruction_job("math_500", lines(tmp_path / "rows.jsonl", rows))
    assert instruction_items.gather(job, []).columns["responses"] == [["2"], ["3"]]
    for answer, text in ((0.00005, "0.00005"), (1e16, "10000000000000000"), (42.0, "42.0")):
        rows[1]["answer"] = answer
        job = instruction_job("math_500", lines(tmp_path / "rows.jsonl", rows))
        assert instruction_items.gather(job, []).columns["responses"] == [["2"], [text]]
    rows[1]["answer"] = math.nan
    job = instruction_job("math_500", lines(tmp_path / "rows.jsonl", rows))
    with pytest.raises(ValueError, match=r"rows\.jsonl:2: 'answer' holds nan, which is no answer"):
        instruction_items.gather(job, [])
    rows[1]["answer"] = "One and two.\nThat makes three."
    job = instruction_job("math_500", lines(tmp_path / "rows.jsonl", rows))
    with pytest.raises(ValueError, match=r"rows\.jsonl:2: no answer to be checked in 'One and"):
        instruction_items.gather(job, [])


@pytest.mark.parametrize(
    ("responses", "correct", "k"), [(5, 2, 2), (4, 0, 4), (6, 5, 2), (3, 1, 3)]
)
def test_pass_at_k_is_the_share_of_choices_with_a_correct_one(responses: int, correct: int, k: int):
    choices = list(combinations([True] * correct + [False] * (responses - correct), k))
    expected = np.mean([any(choice) for choice in choices])
    assert pass_at_k(responses, np.array([correct]), k) == pytest.approx([expected])


def test_pass_at_k_has_no_bias_where_the_share_of_all_correct_ones_has():
    rng, chance = np.random.default_rng(0), 0.2
    counts = rng.binomial(8, chance, size=40_000)
    truth = 1 - (1 - chance) ** 4
    assert pass_at_k(8, counts, 4).mean() == pytest.approx(truth, abs=0.005)
    assert (1 - (1 - counts / 8) ** 4).mean() < truth - 0.03


def test_pass_at_k_is_told_for_powers_of_two_and_all():
    assert [ks_of(count) for count in (1, 2, 5, 8, 10)] == [
        [],
        [2],
        [2, 4, 5],
        [2, 4, 8],
        [2, 4, 8, 10],
    ]


@pytest.mark.parametrize("k", [1, 4])
def test_intervals_hold_what_other_items_samples_and_seeds_would_give(k: int):
    rng, trials, held = np.random.default_rng(1), 40, 0
    truth = 1 - (1 - rng.beta(1, 3, size=200_000)) ** k
    for _ in range(trials):
        chances = rng.beta(1, 3, size=60)
        counts = rng.binomial(8, np.broadcast_to(chances, (2, 3, 60)))
        values = np.array([[pass_at_k(8, of_seed, k) for of_seed in row] for row in counts])
        items = contributions(values, np.ones_like(values))
        estimates = bootstrap.method_estimates(items.scores, influence_products(items.influences))
        held += abs(estimates.values[0] - truth.mean()) <= estimates.half_widths()[0]
    assert held / trials > 0.95 - 3.3 * np.sqrt(0.05 * 0.95 / trials)
