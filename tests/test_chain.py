"""The whole chain on a tiny experiment, through Snakemake, to numbers that are computed anew."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from rouge_score.rouge_scorer import RougeScorer
from snaking import Copy
from torch import Tensor
from transformers import AutoModelForCausalLM

from pipeline.artifacts import schemas
from pipeline.artifacts.artifact import read_json
from workflow.config.validate import validate
from workflow.grid.grid import Grid

pytestmark = pytest.mark.xdist_group("chain")
SLICED = ("nll_nats", "kl_to_teacher_nats", "top1_agreement")
SLICES = ("hard", "easy", "tokens 1-8", "tokens 9-32")  # all responses are shorter than 32 tokens
HELD_OUT = (*SLICED, "reverse_kl_nats", "top5_agreement", "ece")
GENERATED = ("rouge_l", "response_tokens", "ended", "distinct_1", "distinct_2", "repetition_4")


def results(chain: Copy, *parts: str) -> Path:
    return chain.folder.joinpath("results", *parts)


def scores(chain: Copy) -> pd.DataFrame:
    return pd.read_parquet(results(chain, "tiny/report/scores.parquet"))


def score(chain: Copy, method: str, metric: str) -> float:
    values = scores(chain).query("slice == ''").set_index(["method", "metric"])["value"]
    return values[method, metric]


def items(chain: Copy, evaluation: str, metric: str) -> pd.Series:
    """The values of a metric by example."""
    table = pd.read_parquet(results(chain, "evals", evaluation, "items.parquet"))
    return table.query("slice == ''").set_index(["metric", "example_id"])["value"][metric]


@pytest.fixture(scope="module")
def grid(tiny: dict[str, Any]) -> Grid:
    return Grid(validate(tiny))


@torch.no_grad()
def log_probs(chain: Copy, path: str, tokens: dict[str, Any]) -> Tensor:
    """What a checkpoint gives each token of the vocabulary, at each response token of a text."""
    model = AutoModelForCausalLM.from_pretrained(chain.folder / path / "model")
    ids = torch.tensor([[*tokens["prompt_ids"], *tokens["response_ids"]]])
    logits = model(ids).logits[0, len(tokens["prompt_ids"]) - 1 : -1]
    return logits.double().log_softmax(-1)


def asked(chain: Copy, grid: Grid) -> list[dict[str, Any]]:
    return pq.read_table(chain.folder / grid.tokens().path / "test.parquet").to_pylist()


def test_the_report_is_complete(chain: Copy):
    report = results(chain, "tiny/report")
    files = {path.name for path in report.iterdir()}
    assert {"scores.parquet", "index.html", "manifest.json"} <= files
    tables = {path.name for path in (report / "tables").iterdir()}
    assert {"main.csv", "main.md", "main.parquet"} <= tables
    plots = {path.name for path in (report / "plots").iterdir()}
    assert {"scores_by_method.png", "scores_by_method.svg", "training_curves.png"} <= plots
    page = (report / "index.html").read_text()
    assert "http://" not in page.replace("http://www.w3.org", "")  # whole without a network


def test_every_cell_has_every_score_once(chain: Copy, grid: Grid):
    table = pq.read_table(results(chain, "tiny/report/scores.parquet"))
    assert table.schema.equals(schemas.SCORES)
    all_scores = scores(chain)
    cells = {(cell.teacher, cell.student, cell.method, cell.seed) for cell in grid.cells}
    assert len(cells) == 5  # the teacher, the untrained student, its warm start, and two methods
    measured = [
        *(("heldout", "", name) for name in HELD_OUT),
        *(("heldout", part, name) for name in SLICED for part in SLICES),
        *(("responses", "", name) for name in GENERATED),
        ("responses", "reference 6-10 words", "rouge_l"),  # they have 7 words each
    ]
    expected = {(*cell, *measure) for cell in cells for measure in measured}
    columns = ["teacher", "student", "method", "seed", "task", "slice", "metric"]
    rows = list(all_scores[columns].itertuples(index=False, name=None))
    assert set(rows) == expected
    assert len(rows) == len(expected)
    assert all_scores["value"].notna().all()
    assert set(all_scores.query("task == 'heldout' and slice == ''")["n"]) == {12}
    assert set(all_scores.query("task == 'responses'")["n"]) == {6}


def test_the_nll_is_that_of_a_plain_forward_pass(chain: Copy, grid: Grid):
    student = grid.student("sft", "small", "large", 1)
    measured = items(chain, grid.evaluations[student].id, "nll_nats")
    total, count = 0.0, 0
    for text in asked(chain, grid):
        expected = log_probs(chain, student.path, text)
        nll = -expected[torch.arange(len(expected)), torch.tensor(text["response_ids"])]
        # float32 logits on one side, and another padding
        assert measured[text["example_id"]] == pytest.approx(nll.mean().item(), abs=1e-4)
        total, count = total + nll.sum().item(), count + len(nll)
    assert score(chain, "sft", "nll_nats") == pytest.approx(total / count, abs=1e-4)


def test_nearness_to_the_teacher_is_that_of_the_two_models(chain: Copy, grid: Grid):
    student, teacher = grid.student("jsd", "small", "large", 1), grid.teacher("large")
    evaluation = grid.evaluations[student].id
    distance = items(chain, evaluation, "kl_to_teacher_nats")
    agreement = items(chain, evaluation, "top1_agreement")
    for text in asked(chain, grid):
        p, q = (log_probs(chain, artifact.path, text) for artifact in (teacher, student))
        dense = (p.exp() * (p - q)).sum(-1).mean().item()
        # the cache holds 16 tokens and a bucket: what it loses can only lower the KL
        assert 0 <= distance[text["example_id"]] <= dense + 1e-4
        same = (p.argmax(-1) == q.argmax(-1)).double().mean().item()
        assert agreement[text["example_id"]] == pytest.approx(same, abs=1e-6)


def test_a_teacher_is_at_no_distance_from_itself(chain: Copy):
    # half precision in the cache
    assert score(chain, "teacher", "kl_to_teacher_nats") == pytest.approx(0, abs=1e-5)
    assert score(chain, "teacher", "top1_agreement") == 1
    assert score(chain, "teacher", "top5_agreement") > 0.98  # half precision makes ties


def test_rouge_is_that_of_the_texts_that_were_written(chain: Copy, grid: Grid):
    evaluation = grid.evaluations[grid.teacher("large")].id
    outputs = pd.read_parquet(results(chain, "evals", evaluation, "outputs.parquet"))
    scorer = RougeScorer(["rougeL"], use_stemmer=True)
    values = [
        100 * scorer.score(row.references[0], row.output)["rougeL"].fmeasure
        for row in outputs.itertuples()
    ]
    assert score(chain, "teacher", "rouge_l") == pytest.approx(np.mean(values))
    assert np.mean(values) > 20  # it has learnt something: zeros would prove nothing
    measured = items(chain, evaluation, "rouge_l")
    assert measured[outputs["example_id"]].to_list() == pytest.approx(values)


def test_the_harness_leaves_its_own_results(chain: Copy, grid: Grid):
    evaluation = grid.evaluations[grid.student("jsd", "small", "large", 1)].id
    told = read_json(results(chain, "evals", evaluation, "results.json"))
    value = told["results"]["responses"]["rouge_l,none"]
    assert value == pytest.approx(score(chain, "jsd", "rouge_l"))


def test_an_artifact_says_what_it_was_made_of(chain: Copy, grid: Grid):
    student = grid.student("jsd", "small", "large", 1)
    manifest = read_json(chain.folder / student.path / "manifest.json")
    assert manifest["id"] == student.id
    assert manifest["settings"] == student.settings
    assert manifest["inputs"] == {role: artifact.id for role, artifact in student.inputs}


def test_every_training_step_is_told(chain: Copy, grid: Grid):
    steps = pd.read_parquet(
        chain.folder / grid.student("jsd", "small", "large", 1).path / "steps.parquet"
    )
    count = grid.experiment.training.steps
    assert steps["step"].to_list() == list(range(1, count + 1))
    assert steps["validation_nll_nats"].notna().sum() == grid.experiment.training.validations
    assert (steps["loss_nats"] > 0).all()
