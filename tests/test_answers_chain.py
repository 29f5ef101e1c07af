"""Sums whose answers are checked, from a file of the user's to the tables of the report."""

import hashlib
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
from task_folders import FILES, SOUNDS, write_tasks

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
            "tasks": ["answers", "math_500", "sounds_written"],
            "task_folder": str(write_tasks(folder / "my_tasks")),
            "data": {"math_500": str(folder / "others.jsonl")},
            "sampling": {"temperature": 1.0},
            "decoding_seeds": list(range(SAMPLES)),
            "max_new_tokens": 8,
            "few_shot": 2,
        },
        "report": {"primary": ["answers/correct", "sounds_written/length_error"]},
    }
    return edited({**TINY, "experiment": "sums"}, changes)


def pass_at_2(verdicts: pd.Series) -> float:
    return float(np.mean([any(pair) for pair in combinations(verdicts, 2)]))


def test_a_file_of_sums_becomes_avg_at_k_pass_at_k_and_what_was_forgotten_beside_an_own_task(
    tmp_path: Path,
):
    copy = fresh_copy(tmp_path / "project")
    done = copy.snakemake(configuration(tmp_path), "--cores", "2", preloaded=True)
    assert done.returncode == 0, done.stdout + done.stderr + copy.logs()
    results = copy.folder / "results"
    report = results / "sums/report"
    scores = pd.read_parquet(report / "scores.parquet").query("slice == ''")
    shown = scores.set_index(["id", "task", "metric"])["value"].groupby(level=[0, 1, 2]).first()
    for id in set(scores["id"]):
        outputs = pd.read_parquet(results / "evals" / id / "outputs.parquet")
        is_own = outputs["task"] == "sounds_written"
        errors = [len(row.references[0]) - len(row.output) for row in outputs[is_own].itertuples()]
        assert len(errors) == len(SOUNDS)
        mean = shown[id, "sounds_written", "length_error"]
        assert mean == pytest.approx(np.mean(np.abs(errors)))
        outputs = outputs[~is_own]
        verdicts = [is_correct(row.output, list(row.references)) for row in outputs.itertuples()]
        assert outputs["is_correct"].tolist() == verdicts
        for task, rows in outputs.groupby("task"):
            items = rows.groupby("example_id")["is_correct"]
            assert set(items.size()) == {SAMPLES}
            assert shown[id, task, "correct"] == pytest.approx(rows["is_correct"].mean())
            assert shown[id, task, "pass_at_2"] == pytest.approx(items.apply(pass_at_2).mean())
            assert shown[id, task, "pass_at_4"] == pytest.approx(items.any().mean())

    changes = pd.read_csv(report / "tables/retention.csv").set_index(["task", "metric"])
    assert {task for task, _ in changes.index} == {"math_500", "sounds_written"}
    by_method = scores.set_index(["method", "task", "metric"])["value"]
    before, after = (by_method[method, "math_500", "correct"] for method in ("untrained", "sft"))
    assert changes["value"]["math_500", "correct"] == pytest.approx(after - before)
    page = (report / "index.html").read_text()
    assert "pass@4" in page
    measures = pd.read_csv(report / "tables/measures.csv").set_index(["task", "metric"])
    assert measures["better"]["sounds_written", "length_error"] == "lower"
    digest = hashlib.sha256(FILES["written.yaml"].encode()).hexdigest()[:16]
    assert f"<code>written.yaml</code> {digest}" in page  # the task can be made again
    card = next((results / "tasks").glob("answers-*/task.json"))
    assert json.loads(card.read_text())["scored_by"] == "answers"
    assert len(json.loads(card.read_text())["few_shot"]) == 2
