"""Whole training jobs of the on-policy methods that need more than a teacher."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from players import Setup, llama
from players import run as built
from shelf import put_all

from pipeline.artifacts.artifact import Job
from pipeline.reporting.analysis.load import MEASURED_COLUMNS, _steps
from pipeline.stages import train, training_run
from pipeline.stages.options import TrainOptions


def job(folder: Path, method: str) -> TrainOptions:
    """A job of a few steps, the last of them measured."""
    settings = built(Setup(method, steps=3, training={"validations": 1})).settings
    files = put_all(folder)
    return replace(files, job=Job("students", "x", settings.model_dump(mode="json")))


@pytest.mark.slow
@pytest.mark.parametrize("method", ["exopd", "kdrl", "opd"])
def test_a_job_s_steps_are_read_by_the_report(method: str, tmp_path: Path) -> None:
    options = job(tmp_path, method)
    train.run(options)
    steps = _steps(options.out)
    assert all(math.isnan(steps["top_overlap"][place]) for place in (0, 1))
    for name in MEASURED_COLUMNS:
        is_known = name != "reward" or method == "kdrl"
        assert math.isfinite(steps[name][-1]) == is_known, name


def test_the_reference_is_the_start_and_stays_it(tmp_path: Path) -> None:
    options = job(tmp_path, "exopd")
    settings = built(Setup("exopd")).settings
    made = training_run.assemble(options, settings)
    assert made.reference is not None
    start = llama(1).state_dict()
    for name, weight in made.reference.model.state_dict().items():
        assert torch.equal(weight, start[name])
    assert not any(weight.requires_grad for weight in made.reference.model.parameters())
    assert made.reference.model is not made.student
    assert training_run.assemble(options, built(Setup("opd")).settings).reference is None
