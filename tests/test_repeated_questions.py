"""Items that ask the same: each has a response, a length and an end of its own."""

from pathlib import Path

import pyarrow.compute as pc
from small_tasks import model
from test_evaluate import inputs

from pipeline.artifacts import artifact, schemas
from pipeline.artifacts.artifact import Job
from pipeline.evaluation import written_responses
from pipeline.settings.evaluation import EvaluationJob, EvaluationTask, GenerationSettings
from pipeline.settings.generation import Sampling
from pipeline.stages.evaluator import Evaluator
from pipeline.stages.options import EvaluateOptions

COPIES = 4


def repeat_first_question(folder: Path) -> None:
    """Makes a test split of copies of its first example, each with an id of its own."""
    for role, schema in (("data", schemas.EXAMPLES), ("tokens", schemas.TOKENS)):
        path = folder / role / "test.parquet"
        (row, *_) = schemas.read(path, schema).to_pylist()
        columns = {name: [value] * COPIES for name, value in row.items()}
        columns["example_id"] = [f"copy-{number}" for number in range(COPIES)]
        schemas.write(path, columns, schema)


def test_copies_of_a_question_have_the_lengths_of_their_own_responses(tmp_path: Path) -> None:
    inputs(tmp_path)
    repeat_first_question(tmp_path)
    generation = GenerationSettings(
        sampling=Sampling(temperature=1.0), decoding_seeds=[7, 8], max_new_tokens=24
    )
    task = EvaluationTask(name="responses", generation=generation)
    options = EvaluateOptions(
        job=Job("tiny", "x", {}, {}),
        out=tmp_path / "out",
        model=tmp_path / "model",
        data=tmp_path / "data",
        tokens=tmp_path / "tokens",
        state=tmp_path / "state",
    )
    settings = EvaluationJob(tasks=[task], items=None, seed=0)
    evaluator = Evaluator(options, settings, model(1), {})
    folders = []
    for piece in evaluator.pieces(task):
        folders.append(tmp_path / piece.name)
        folders[-1].mkdir()
        piece.work(folders[-1])
    measured = evaluator.records(task, folders)

    assert measured.outputs.to_pandas()["output"].nunique() == 2 * COPIES  # each drawn by itself
    names = pc.field("metric").isin(["response_tokens", "ended"])
    items = measured.items.filter(names).to_pandas()
    values = items.set_index(["metric", "decoding_seed", "example_id"])["value"]
    for seed, folder in zip((7, 8), folders, strict=True):
        for row in artifact.read_json(folder / written_responses.FILE)["responses"]:
            key = seed, f"copy-{row['place']}"
            assert values["response_tokens", *key] == len(row["response_ids"])
            assert values["ended", *key] == row["ended"]
    assert values["response_tokens"].nunique() > 1
