"""The stage that evaluates a checkpoint, a kill in its midst, and the excess error on own text."""

import signal
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from small_tasks import ITEMS, QUESTIONS, WORDS, gathered, lines, lm_eval_job, model, scores
from snaking import ROOT
from stage_commands import job_file

from pipeline.artifacts import artifact, schemas
from pipeline.data.batch import Text
from pipeline.distributions.divergences import kl
from pipeline.evaluation import exposure_bias
from pipeline.models import vocabulary
from pipeline.reporting.analysis.item_sums import sum_by_item
from pipeline.settings.evaluation import EvaluationJob, EvaluationTask, TaskJob
from pipeline.settings.generation import Sampling

PROMPTS = [
    Text(f"text-{index}", WORDS.encode(item["prompt"]), []) for index, item in enumerate(ITEMS)
]


def test_the_excess_error_is_that_of_both_models_own_texts():
    student, teacher, length = model(1), model(2), 12
    records = exposure_bias.measure(
        student, teacher, "t", PROMPTS, max_new_tokens=length, seed=3, max_tokens=100
    )
    totals = {}
    for writer in (student, teacher):
        choose = exposure_bias.sampler(Sampling(temperature=1.0))
        texts = exposure_bias.generate(PROMPTS, [writer], choose, length, 3, "student")
        total = 0.0
        for text in texts:
            ids = torch.tensor([[*text.prompt_ids, *text.response_ids]])
            with torch.no_grad():
                p, q = (
                    reader(ids).logits[0, len(text.prompt_ids) - 1 : -1].double().log_softmax(-1)
                    for reader in (teacher, student)
                )
            total += kl(p, q).sum().item()
        totals[writer is student] = total
    expected = 100 * (totals[True] - totals[False]) / totals[False]
    assert scores(records)["", "excess_error_percent"] == pytest.approx(expected, rel=1e-4)


def test_a_student_that_is_its_teacher_has_no_divergence_anywhere():
    same, places = model(1), {text.example_id: index for index, text in enumerate(PROMPTS)}
    texts = exposure_bias.generate(
        PROMPTS, [same], exposure_bias.sampler(Sampling(temperature=1.0)), 6, 0, "student"
    )
    distances = exposure_bias.divergences(same, same, texts, places, 6, 100)
    assert np.abs(distances).max() < 1e-6


def test_the_excess_error_of_a_student_that_is_its_teacher_is_not_defined():
    same = model(1)
    records = exposure_bias.measure(
        same, same, "t", PROMPTS, max_new_tokens=6, seed=0, max_tokens=100
    )
    items = records.items.to_pandas().set_index("metric")
    assert items.loc["excess_error_percent", "value"].isna().all()
    assert (items.loc["excess_error_percent", "weight"] == 0).all()
    measured = set(sum_by_item(records.items.to_pandas().assign(eval_id="tiny"))["metric"])
    assert measured == {"kl_on_own_text_nats", "kl_on_teacher_text_nats"}


def stage(folder: Path, job: EvaluationJob, task: Path) -> list[str]:
    """The command that evaluates a tiny model on its test split and a task."""
    file = job_file(folder / "job.json", "tiny", job.model_dump(), "x")
    command = [sys.executable, "-m", "pipeline", "evaluate", "--job", str(file)]
    for role in ("model", "data", "tokens", "state"):
        command += [f"--{role}", str(folder / role)]
    return [*command, "--task", str(task), "--out", str(folder / "out")]


def inputs(folder: Path) -> None:
    """A model, and test examples as text and as tokens."""
    made = model(1)
    made.save_pretrained(folder / "model/model")
    WORDS.save_pretrained(folder / "model/model")
    names = ("instruction", "input", "source")
    examples = {name: ["x"] * len(ITEMS) for name in names}
    examples |= {name: [item[name] for item in ITEMS] for name in ITEMS[0]}
    ids = [WORDS.encode(item["responses"][0], add_special_tokens=False) for item in ITEMS]
    tokens = {
        "example_id": examples["example_id"],
        "prompt_ids": [WORDS.encode(item["prompt"]) for item in ITEMS],
        "response_ids": [[*response, WORDS.eos_token_id] for response in ids],
    }
    for role, columns, schema in (
        ("data", examples, schemas.EXAMPLES),
        ("tokens", tokens, schemas.TOKENS),
    ):
        (folder / role).mkdir()
        schemas.write(folder / role / "test.parquet", columns, schema)
    WORDS.save_pretrained(folder / "tokens/model")
    facts = asdict(vocabulary.conventions_of_model(folder / "tokens"))
    artifact.write_json(folder / "tokens/manifest.json", {"id": "tokens", **facts})


def task_artifact(folder: Path, path: Path) -> Path:
    gathered(folder, "arc_easy", path)
    job = TaskJob(task=lm_eval_job("arc_easy", path)).task
    card = {"task": job.task, "digest": "0", "lm_eval_task": job.lm_eval_task, "shots": None}
    artifact.write_json(folder / "task.json", card)
    return folder


@pytest.mark.slow
def test_a_killed_evaluation_goes_on_with_what_is_not_done(tmp_path: Path):
    inputs(tmp_path)
    task = task_artifact(tmp_path / "arc", lines(tmp_path / "test.jsonl", QUESTIONS))
    asked = [EvaluationTask(name=name, generation=None) for name in ("heldout", "arc_easy")]
    command = stage(tmp_path, EvaluationJob(tasks=asked, items=None, seed=0), task)
    begun = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    assert begun.stderr is not None
    for line in begun.stderr:
        if line.startswith("arc_easy: started"):
            begun.send_signal(signal.SIGKILL)
    begun.wait()
    begun.stderr.close()
    assert not (tmp_path / "out").exists()

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "heldout: started" not in done.stderr
    items = pd.read_parquet(tmp_path / "out/items.parquet")
    assert set(items["task"]) == {"heldout", "arc_easy"}
    assert not (tmp_path / "state").exists()
