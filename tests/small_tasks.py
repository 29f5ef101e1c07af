"""Small tasks that tests share: their files, their jobs, and what a tiny model does on them."""

import json
from pathlib import Path
from typing import Any

from snaking import ROOT

from pipeline.evaluation import lm_eval_results
from pipeline.evaluation.lm_eval_model import CheckpointLM
from pipeline.evaluation.records import EvaluationRecords
from pipeline.models.reconcile import reconcile_tokenizer
from pipeline.settings.evaluation import Evaluation, InstructionJob, LmEvalJob
from pipeline.settings.models import Shape, Tokenizer
from pipeline.stages.prepare_model import from_shape
from pipeline.stages.train_tokenizer import train
from pipeline.tasks import lm_eval_documents, lm_eval_tasks
from workflow.grid import evaluations
from workflow.grid.artifact import Artifact

DATA = ROOT.parent / "shared" / "data"
QUESTIONS = [  # as AI2 publishes ARC
    {
        "id": f"question-{index}",
        "question": {
            "stem": f"Which animal says {sound}?",
            "choices": [
                {"text": animal, "label": label}
                for label, animal in zip("ABCD", ["cat", "dog", "cow", "owl"], strict=True)
            ],
        },
        "answerKey": "ABCD"[index % 4],
    }
    for index, sound in enumerate(["meow", "woof", "moo", "hoot", "purr", "bark"])
]
PROSE = [text for row in QUESTIONS for text in (row["question"]["stem"], "cat dog cow owl")]
WORDS = train(
    [*PROSE, "Question: Answer: the and of to in is a The A B C D"] * 3,
    Tokenizer(vocabulary_size=300),
)
SHAPE = Shape(source="shape", layers=2, width=32, heads=2, initializer_range=0.3)
BUDGET = 2000
ITEMS = [
    {"example_id": "a", "prompt": "Where is the cat?", "responses": ["In the barn.", "Here."]},
    {"example_id": "b", "prompt": "And the owl?", "responses": ["It " + "sleeps " * 12]},
]


def lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def lm_eval_job(task: str, *files: Path, **changes: Any) -> LmEvalJob:
    """The job that the workflow would make of a definition with local files."""
    settings = Evaluation(tasks=[task], data={task: [str(file) for file in files]})
    (artifact,) = evaluations.tasks(settings, Artifact.of("data", "files", {}))
    job = LmEvalJob.model_validate(artifact.settings["task"])
    return job.model_copy(update=changes)


def instruction_job(task: str, path: Path) -> InstructionJob:
    settings = Evaluation(tasks=[task], data={task: str(path)})
    (artifact,) = evaluations.tasks(settings, Artifact.of("data", "files", {}))
    return InstructionJob.model_validate(artifact.settings["task"])


def model(seed: int):
    made = from_shape(SHAPE, WORDS, seed).eval()
    reconcile_tokenizer(made, WORDS)
    return made


def gathered(folder: Path, task: str, *files: Path, **changes: Any) -> Path:
    """The documents of a task as its artifact keeps them."""
    folder.mkdir()
    lm_eval_documents.gather(lm_eval_job(task, *files, **changes), [], folder)
    return folder


def evaluated(
    folder: Path, task: str, seed: int = 1, items: int | None = None, shots: int | None = None
) -> EvaluationRecords:
    """What a model of that seed does on the documents in a folder."""
    tasks = lm_eval_tasks.load(task, lm_eval_tasks.stored(folder), shots, "a test")
    checkpoint = CheckpointLM(model(seed), WORDS, BUDGET)
    results = lm_eval_results.evaluate_tasks(checkpoint, tasks, items, seed=0)
    return lm_eval_results.lm_eval_records(task, task, tasks, results)


def scores(records: EvaluationRecords) -> dict[tuple[str, str], float]:
    """Weighted means by slice and metric."""
    items = records.items.to_pandas()
    items["weighted"] = items["value"] * items["weight"]
    sums = items.groupby(["slice", "metric"])[["weighted", "weight"]].sum()
    return (sums["weighted"] / sums["weight"]).to_dict()
