"""Sums whose answers are checked, from a file of the user's to the tables of the report."""

import json
import random
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from small_tasks import lines
from snaking import TINY, edited, fresh_copy

from pipeline.tasks.answers import is_correct

pytestmark = pytest.mark.slow
SAMPLES = 4


def configuration(folder: Path) -> dict[str, Any]:
    draw = random.Random(0)
    sums = draw.sample([(a, b) for a in range(40) for b in range(40)], 90)
    train = [
        {"question": f"What is {a} plus {b}?", "answer": f"{a} and {b} make\n#### {a + b}"}
        for a, b in sums
    ]
    other = [
        {"problem": f"What is {a} times 0?", "answer": draw.choice([0, r"\boxed{0}"])}
        for a in range(8)
    ]
    lines(folder / "sums.jsonl", train)
    lines(folder / "others.jsonl", other)
    columns = {"instruction": "question", "input": None, "response": "answer"}
    changes = {
        "data.examples.train": str(folder / "sums.jsonl"),
        "data.examples.columns": columns,
        "tokenizer.vocabulary_size": 300,
        "teachers.large.training.steps": 4,
        "methods": {"sft": None},
        "initial_sft": None,
        "evaluation": {
            "tasks": ["answers", "math_500"],
            "data": {"math_500": str(folder / "others.jsonl")},
            "sampling": {"temperature": 1.0},
            "decoding_seeds": list(range(SAMPLES)),
            "max_new_tokens": 8,
            "few_shot": 2,
        },
        "report": {"primary": ["answers/correct", "answers/pass_at_2"]},
    }
    return edited({**TINY, "experiment": "sums"}, changes)


def pass_at_2(verdicts: pd.Series) -> float:
    return float(np.mean([any(pair) for pair in combinations(verdicts, 2)]))


def test_a_file_of_sums_becomes_avg_at_k_pass_at_k_and_what_was_forgotten(tmp_path: Path):
    copy = fresh_copy(tmp_path / "project")
    done = copy.snakemake(configuration(tmp_path), "--cores", "2", preloaded=True)
    assert done.returncode == 0, done.stdout + done.stderr + copy.logs()
    results = copy.folder / "results"
    report = results / "sums/report"
    scores = pd.read_parquet(report / "scores.parquet").query("slice == ''")
    shown = scores.set_index(["id", "task", "metric"])["value"].groupby(level=[0, 1, 2]).first()
    for id in set(scores["id"]):
        outputs = pd.read_parquet(results / "evals" / id / "outputs.parquet")
        verdicts = [is_correct(row.output, list(row.references)) for row in outputs.itertuples()]
        assert outputs["is_correct"].tolist() == verdicts
        for task, rows in outputs.groupby("task"):
            items = rows.groupby("example_id")["is_correct"]
            assert set(items.size()) == {SAMPLES}
            assert shown[id, task, "correct"] == pytest.approx(rows["is_correct"].mean())
            assert shown[id, task, "pass_at_2"] == pytest.approx(items.apply(pass_at_2).mean())
            assert shown[id, task, "pass_at_4"] == pytest.approx(items.any().mean())

    changes = pd.read_csv(report / "tables/retention.csv").set_index(["task", "metric"])
    assert {task for task, _ in changes.index} == {"math_500"}
    by_method = scores.set_index(["method", "task", "metric"])["value"]
    before, after = (by_method[method, "math_500", "correct"] for method in ("untrained", "sft"))
    assert changes["value"]["math_500", "correct"] == pytest.approx(after - before)
    assert "pass@4" in (report / "index.html").read_text()
    card = next((results / "tasks").glob("answers-*/task.json"))
    assert json.loads(card.read_text())["scored_by"] == "answers"
    assert len(json.loads(card.read_text())["few_shot"]) == 2
