"""A model in shares over two ranks gets the scores of a whole one."""

from dataclasses import replace
from pathlib import Path

import pytest
import test_evaluate
from gang import on_ranks

from pipeline.artifacts.artifact import MANIFEST, Job, read_json
from pipeline.settings.evaluation import EvaluationJob, EvaluationTask, GenerationSettings
from pipeline.settings.generation import Sampling
from pipeline.stages import evaluate
from pipeline.stages.options import EvaluateOptions

GREEDY = GenerationSettings(sampling=Sampling(temperature=0), decoding_seeds=[0], max_new_tokens=4)

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("ranks")]


def test_scores_in_shares_are_those_of_a_whole_model(tmp_path: Path) -> None:
    test_evaluate.inputs(tmp_path)
    tasks = [
        EvaluationTask(name="heldout", generation=None),
        EvaluationTask(name="responses", generation=GREEDY),
    ]
    settings = EvaluationJob(tasks=tasks, items=None, seed=0).model_dump()
    options = EvaluateOptions(
        job=Job("tiny", "x", settings),
        out=tmp_path / "out",
        model=tmp_path / "model",
        data=tmp_path / "data",
        tokens=tmp_path / "tokens",
        state=tmp_path / "state",
    )
    shares = replace(options, sharded=True, out=tmp_path / "of two", state=tmp_path / "state-2")
    evaluate.run(options)
    on_ranks(2, lambda _ranks: evaluate.run(shares))
    for name in ("items.parquet", "calibration.parquet", "outputs.parquet"):
        assert (options.out / name).read_bytes() == (shares.out / name).read_bytes(), name
    assert read_json(shares.out / MANIFEST)["ranks"] == 2
