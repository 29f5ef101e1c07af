"""Held-out measures: likelihoods as lm-evaluation-harness has them, and nearness to a teacher."""

import pytest
from lm_eval.api.instance import Instance

from pipeline.checkpoint_lm import CheckpointLM
from pipeline.heldout import Item, measure
from pipeline.models import from_shape, settle
from pipeline.settings.data import TokensSettings
from pipeline.settings.models import Shape, Tokenizer
from pipeline.teachers import LiveTeacher, Teacher
from pipeline.texts import Text
from pipeline.tokenize import encode
from pipeline.tokenizer import END, train

PAIRS = [  # no white space at the end of a prompt: the harness would count it as of the response
    ("Where is the cat?", "In the barn."),
    ("Where does the blue dog run?", "Over the wide green field, far from the barn."),
    ("And the owl?", "It sleeps."),
]
WORDS = train([part for pair in PAIRS for part in pair] * 3, Tokenizer(vocabulary=300))
SHAPE = Shape(source="shape", layers=2, width=32, heads=2, initial_spread=0.3)
ROWS = [
    {"example_id": str(at), "prompt": prompt, "responses": [response]}
    for at, (prompt, response) in enumerate(PAIRS)
]
BUDGET = 64  # positions: two micro-batches


def model(seed: int):
    made = from_shape(SHAPE, WORDS, seed).eval()
    settle(made, WORDS)
    return made


def texts() -> list[Text]:
    columns = encode(ROWS, WORDS, TokensSettings()).columns
    return [Text(*row) for row in zip(*columns.values(), strict=True)]


def measured(seed: int, **teachers: Teacher) -> dict[tuple[str, str, str], Item]:
    items = measure(model(seed), texts(), teachers, BUDGET)
    return {(one.metric, one.teacher, one.example_id): one for one in items}


def test_the_nll_is_the_likelihood_that_the_harness_computes():
    requests = [
        Instance("loglikelihood", {}, (prompt, response + END), 0) for prompt, response in PAIRS
    ]
    likelihoods = CheckpointLM(model(1), WORDS, seed=0).loglikelihood(requests, disable_tqdm=True)
    found = measured(1)
    for at, (log_probability, _) in enumerate(likelihoods):
        item = found["nll_nats", "", str(at)]
        # float32 sums over batches that are padded differently
        assert item.value * item.weight == pytest.approx(-log_probability, rel=1e-5)


def test_every_token_of_a_response_counts_and_its_end_too():
    found = measured(1)
    weights = [found["nll_nats", "", str(at)].weight for at in range(len(PAIRS))]
    assert weights == [len(WORDS.encode(one, add_special_tokens=False)) + 1 for _, one in PAIRS]


@pytest.mark.parametrize("k", [None, 8])
def test_a_teacher_agrees_with_itself_in_everything(k: int | None):
    found = measured(1, me=LiveTeacher(model(1), k=k))
    for at in range(len(PAIRS)):
        assert found["kl_to_teacher_nats", "me", str(at)].value == pytest.approx(0, abs=1e-6)
        assert found["top1_agreement", "me", str(at)].value == 1


def test_a_distance_on_few_tokens_is_a_lower_bound_that_grows_with_them():
    teachers = {str(k): LiveTeacher(model(2), k=k) for k in (4, 64, None)}
    found = measured(1, **teachers)
    for at in range(len(PAIRS)):
        few, many, dense = (
            found["kl_to_teacher_nats", name, str(at)].value for name in ("4", "64", "None")
        )
        assert 0 < few <= many + 1e-6
        assert many <= dense + 1e-6


def test_agreement_is_the_same_on_few_tokens_as_on_all():
    found = measured(1, few=LiveTeacher(model(2), k=4), all=LiveTeacher(model(2)))
    for at in range(len(PAIRS)):
        few, dense = (found["top1_agreement", name, str(at)].value for name in ("few", "all"))
        assert few == dense
