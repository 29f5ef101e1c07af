"""Held-out measures: likelihoods as lm-evaluation-harness has them, and nearness to a teacher."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from lm_eval.api.instance import Instance
from transformers import PreTrainedModel

from pipeline.data.batch import Text, collate
from pipeline.evaluation.heldout import BINS, measure
from pipeline.evaluation.lm_eval_model import CheckpointLM
from pipeline.evaluation.records import EvaluationRecords
from pipeline.models.language_model import response_logits
from pipeline.models.reconcile import reconcile_tokenizer
from pipeline.models.teacher import LiveTeacher, Teacher
from pipeline.reporting.analysis.item_sums import ItemMatrix, sum_calibration
from pipeline.settings.data import TokensSettings
from pipeline.settings.models import Shape, Tokenizer
from pipeline.settings.teacher import CacheJob
from pipeline.stages import cache_teacher as stage
from pipeline.stages.prepare_model import from_shape
from pipeline.stages.tokenize import encode
from pipeline.stages.train_tokenizer import END, train
from pipeline.teacher_cache import lm_head, writer
from pipeline.teacher_cache.capture import Capture
from pipeline.teacher_cache.format import HEAD
from pipeline.teacher_cache.reader import open_cache

PAIRS = [  # no white space at the end of a prompt: the harness would count it as of the response
    ("Where is the cat?", "In the barn."),
    ("Where does the blue dog run?", "Over the wide green field, far from the barn."),
    ("And the owl?", "It sleeps."),
]
WORDS = train([part for pair in PAIRS for part in pair] * 3, Tokenizer(vocabulary_size=300))
SHAPE = Shape(source="shape", layers=2, width=32, heads=2, initializer_range=0.3)
ROWS = [
    {"example_id": str(index), "prompt": prompt, "responses": [response]}
    for index, (prompt, response) in enumerate(PAIRS)
]
BUDGET = 64  # positions: two micro-batches
AGREE = ("top1_agreement", "top5_agreement")


@dataclass(frozen=True)
class Item:
    value: float
    weight: float


def model(seed: int):
    made = from_shape(SHAPE, WORDS, seed).eval()
    reconcile_tokenizer(made, WORDS)
    return made


def texts() -> list[Text]:
    columns = encode(ROWS, WORDS, TokensSettings()).columns
    return [Text(*row) for row in zip(*columns.values(), strict=True)]


def run(seed: int, **teachers: Teacher) -> EvaluationRecords:
    return measure(model(seed), texts(), teachers, BUDGET)


def measured(seed: int, **teachers: Teacher) -> dict[tuple[str, str, str, str], Item]:
    """Each item by metric, slice, teacher and example."""
    names = ("metric", "slice", "teacher", "example_id")
    return {
        tuple(row[name] for name in names): Item(row["value"], row["weight"])
        for row in run(seed, **teachers).items.to_pylist()
    }


@torch.no_grad()
def probabilities(seed: int, text: Text) -> np.ndarray:
    """What a model gives each token of the vocabulary, at each token of a response."""
    student = model(seed)
    return response_logits(student, collate([text], student.device)).double().softmax(-1).numpy()


def test_the_nll_is_the_likelihood_that_the_harness_computes():
    requests = [
        Instance("loglikelihood", {}, (prompt, response + END), 0) for prompt, response in PAIRS
    ]
    likelihoods = CheckpointLM(model(1), WORDS, BUDGET).loglikelihood(requests)
    records = measured(1)
    for index, (log_probability, _) in enumerate(likelihoods):
        item = records["nll_nats", "", "", str(index)]
        # float32 sums over batches that are padded differently
        assert item.value * item.weight == pytest.approx(-log_probability, rel=1e-5)


def test_every_token_of_a_response_counts_and_its_end_too():
    records = measured(1)
    weights = [records["nll_nats", "", "", str(index)].weight for index in range(len(PAIRS))]
    assert weights == [
        len(WORDS.encode(response, add_special_tokens=False)) + 1 for _, response in PAIRS
    ]


@pytest.mark.parametrize("k", [None, 8])
def test_a_teacher_agrees_with_itself_in_everything(k: int | None):
    records = measured(1, me=LiveTeacher(model(1), k=k))
    zeros = ["kl_to_teacher_nats", "reverse_kl_nats"]
    zeros += ["entropy_gap_nats"] if k is None else []  # of whole distributions alone
    for index in range(len(PAIRS)):
        for zero in zeros:
            assert records[zero, "", "me", str(index)].value == pytest.approx(0, abs=1e-6)
        for metric in AGREE:
            assert records[metric, "", "me", str(index)].value == 1


def test_the_measures_are_those_of_the_two_distributions():
    records = measured(1, other=LiveTeacher(model(2)))
    for text in texts():
        q, p = probabilities(1, text), probabilities(2, text)
        best = [np.argsort(logits, axis=-1)[:, -5:] for logits in (p, q)]
        five = [len({*a} & {*b}) / 5 for a, b in zip(*best, strict=True)]
        expected = {
            "kl_to_teacher_nats": (p * np.log(p / q)).sum(-1).mean(),
            "reverse_kl_nats": (q * np.log(q / p)).sum(-1).mean(),
            "entropy_gap_nats": ((p * np.log(p)).sum(-1) - (q * np.log(q)).sum(-1)).mean(),
            "top1_agreement": (p.argmax(-1) == q.argmax(-1)).mean(),
            "top5_agreement": np.mean(five),
        }
        for metric, value in expected.items():
            measured_value = records[metric, "", "other", text.example_id].value
            assert measured_value == pytest.approx(value, abs=1e-5)  # float32 against float64


def test_a_distance_on_few_tokens_is_a_lower_bound_that_grows_with_them():
    teachers = {str(k): LiveTeacher(model(2), k=k) for k in (4, 64, None)}
    records = measured(1, **teachers)
    for metric in ("kl_to_teacher_nats", "reverse_kl_nats"):
        for index in range(len(PAIRS)):
            few, many, dense = (
                records[metric, "", name, str(index)].value for name in ("4", "64", "None")
            )
            assert 0 < few <= many + 1e-6
            assert many <= dense + 1e-6


def test_how_sure_a_model_is_is_not_told_where_the_support_hides_most_tokens():
    """In the bucket of all others, a student who knows nothing would be surer than its teacher."""
    few, whole = LiveTeacher(model(2), k=8), LiveTeacher(model(2))
    items = measure(weak(model(1)), texts(), {"few": few, "whole": whole}, BUDGET).items.to_pylist()
    gaps = [(row["teacher"], row["value"]) for row in items if row["metric"] == "entropy_gap_nats"]
    assert {teacher for teacher, _ in gaps} == {"whole"}
    assert all(gap > 0 for _, gap in gaps)


def test_agreement_is_the_same_on_few_tokens_as_on_all():
    records = measured(1, few=LiveTeacher(model(2), k=6), all=LiveTeacher(model(2)))
    for metric in AGREE:
        for index in range(len(PAIRS)):
            few, dense = (records[metric, "", name, str(index)].value for name in ("few", "all"))
            assert few == dense


@dataclass(frozen=True)
class OnDisk:
    """A model's cache, and where it is."""

    folder: Path

    def of(self, made: PreTrainedModel, settings: dict) -> Teacher:
        job, file = CacheJob(**settings), "test-00000.parquet"
        facts = stage.cache_metadata(made, job, [file])
        writer.write(self.folder / file, list(Capture(made, job, 40).batches(texts())), facts)
        lm_head.save(made, self.folder / HEAD)
        return open_cache(self.folder, ["test"], facts)


TIERS = [{"k": 8}, {"k": 64}, {"tier": "hidden"}]


@pytest.mark.parametrize("settings", TIERS)
def test_a_nearly_uniform_teacher_agrees_with_itself_everywhere(settings: dict, tmp_path: Path):
    teacher = weak(model(1))
    items = measure(weak(model(1)), texts(), {"me": OnDisk(tmp_path).of(teacher, settings)}, BUDGET)
    rows = items.items.to_pylist()
    agreed = [row["value"] for row in rows if row["metric"] in AGREE]
    assert len(agreed) >= 2 * len(PAIRS)
    assert set(agreed) == {1.0}


def weak(made: PreTrainedModel) -> PreTrainedModel:
    """All its logits are within a few hundredths of a nat, less than a step of a cache."""
    with torch.no_grad():
        made.model.norm.weight.mul_(0.01)
    return made


@pytest.mark.parametrize("settings", TIERS)
def test_agreement_with_a_cache_is_that_of_an_independent_forward_pass(
    settings: dict, tmp_path: Path
):
    teacher = OnDisk(tmp_path).of(weak(model(2)), settings)
    rows = measure(weak(model(1)), texts(), {"other": teacher}, BUDGET).items.to_pylist()
    values = {(row["metric"], row["slice"], row["example_id"]): row["value"] for row in rows}
    for text in texts():
        ids = torch.tensor([[*text.prompt_ids, *text.response_ids]])
        with torch.no_grad():  # transformers' own forward, one text at a time
            q, p = (
                weak(model(seed))(input_ids=ids).logits[0, len(text.prompt_ids) - 1 : -1].numpy()
                for seed in (1, 2)
            )
        best = [np.argsort(-logits, axis=-1, kind="stable")[:, :5] for logits in (p, q)]
        five = np.mean([len({*a} & {*b}) / 5 for a, b in zip(*best, strict=True)])
        top = (best[0][:, 0] == best[1][:, 0]).mean()
        assert values["top1_agreement", "", text.example_id] == pytest.approx(top, abs=1e-12)
        assert values["top5_agreement", "", text.example_id] == pytest.approx(five, abs=1e-7)


def test_agreement_on_five_is_not_told_where_the_support_does_not_know_the_fifth(tmp_path: Path):
    # the last of five places may be taken by the token that really comes next
    records = measured(1, few=OnDisk(tmp_path).of(model(2), {"k": 5}))
    assert ("top5_agreement", "", "few", "0") not in records
    assert ("top1_agreement", "", "few", "0") in records


def test_tokens_are_hard_where_the_teacher_is_as_unsure_as_at_the_median():
    records = measured(1, other=LiveTeacher(model(2)))
    by_text = {text.example_id: text for text in texts()}
    unsure = {
        name: 1 - probabilities(2, text)[range(len(text.response_ids)), text.response_ids]
        for name, text in by_text.items()
    }
    median = np.median(np.concatenate(list(unsure.values())))
    for name, values in unsure.items():
        hard = records.get(("nll_nats", "hard", "other", name))
        assert (hard.weight if hard else 0) == (values >= median).sum()


@pytest.mark.parametrize("parts", [("hard", "easy"), ("tokens 1-8", "tokens 9-32")])
def test_slices_of_the_tokens_make_up_the_whole(parts: tuple[str, str]):
    records = measured(1, other=LiveTeacher(model(2)))
    assert any(len(text.response_ids) > 8 for text in texts())
    for example_id in map(str, range(len(PAIRS))):
        whole = records["kl_to_teacher_nats", "", "other", example_id]
        pieces = [records.get(("kl_to_teacher_nats", part, "other", example_id)) for part in parts]
        there = [piece for piece in pieces if piece is not None]
        assert sum(piece.weight for piece in there) == whole.weight
        total = sum(row.weight * row.value for row in there)
        assert total == pytest.approx(whole.weight * whole.value)


def test_calibration_is_kept_as_sums_over_bins_of_confidence():
    table = run(1).calibration
    kept = table.to_pandas()
    confidence, correct = [], []
    for text in texts():
        q = probabilities(1, text)
        confidence.append(q.max(-1))
        correct.append(q.argmax(-1) == np.array(text.response_ids))
        own = kept[kept["example_id"] == text.example_id]
        assert own["tokens"].sum() == len(text.response_ids)
        assert own["confidence"].sum() == pytest.approx(q.max(-1).sum(), abs=1e-5)
        assert own["correct"].sum() == correct[-1].sum()

    all_confidence, all_correct = np.concatenate(confidence), np.concatenate(correct)
    bins = np.minimum((all_confidence * BINS).astype(int), BINS - 1)
    error = sum(
        abs(all_correct[bins == bin].sum() - all_confidence[bins == bin].sum()) for bin in set(bins)
    )
    sums = sum_calibration(table.to_pandas().assign(eval_id="tiny"))
    assert ItemMatrix.from_rows(sums).values[0] == pytest.approx(error / len(bins), abs=1e-6)
