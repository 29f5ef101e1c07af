"""The stage that trains, under several ranks: one of them writes, and all of them end alike."""

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gang import on_ranks
from players import llama
from shelf import put_all, put_model
from stage_commands import LONG

from pipeline.artifacts import schemas
from pipeline.methods.catalogue import METHODS
from pipeline.methods.method import resolve
from pipeline.runtime import costs
from pipeline.runtime.ranks import Ranks
from pipeline.settings.distill import DistillSettings, MethodSettings
from pipeline.settings.training import Training
from pipeline.stages import train
from pipeline.stages.options import TrainOptions

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("ranks")]

SUMS = ("trained_positions", "student_positions", "student_tokens", "teacher_positions", "flops")


def options_in(folder: Path, method: str = "gkd", steps: int = 4, **training: Any) -> TrainOptions:
    """A student's job on small files."""
    settings = DistillSettings(
        method=MethodSettings.model_validate(resolve(METHODS[method], {}).settings),
        training=Training(steps=steps, batch_size=6, learning_rate=1e-2, validations=2).model_copy(
            update=training
        ),
        max_new_tokens=6,
        seed=1,
    )
    options = put_all(folder)
    job = replace(options.job, settings=settings.model_dump(mode="json"))
    return replace(options, job=job, micro_batch_tokens=24)


def ended(options: TrainOptions, ranks: int, before: Callable[[Ranks], None] | None = None) -> Any:
    """How each rank ended: None, or its exit status."""

    def work(ranks: Ranks) -> Any:
        if before is not None:
            before(ranks)
        try:
            train.run(options)
        except SystemExit as leaving:
            return leaving.code
        return None

    return on_ranks(ranks, work)


def facts(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "manifest.json").read_bytes())


def column(folder: Path, name: str) -> np.ndarray:
    return np.array(schemas.read(folder / "steps.parquet", schemas.STEPS)[name].to_pylist(), float)


def test_two_ranks_write_one_artifact_whose_costs_are_of_both(tmp_path: Path) -> None:
    options = options_in(tmp_path, keep="best")
    alone, together = (replace(options, out=tmp_path / name) for name in ("alone", "together"))
    assert ended(alone, 1) == [None]
    assert ended(together, 2) == [None, None]
    assert ended(together, 2) == [0, 0]  # it is up to date, for all
    assert not options.state.exists()
    assert "ranks" not in facts(alone.out)
    assert facts(together.out)["ranks"] == 2
    of_one, of_two = (costs.read(each.out / costs.FILE).cost for each in (alone, together))
    assert [getattr(of_one, name) for name in SUMS] == [getattr(of_two, name) for name in SUMS]
    # float32: sums in another order
    for name in ("loss_nats", "validation_nll_nats", "gradient_norm"):
        np.testing.assert_allclose(
            column(together.out, name), column(alone.out, name), rtol=1e-4, atol=1e-6
        )


def test_a_request_to_stop_that_reaches_one_rank_stops_all_and_one_resumes(tmp_path: Path) -> None:
    options = replace(options_in(tmp_path, "sft", steps=60), save_seconds=0)

    def stop_the_second(ranks: Ranks) -> None:
        def stop() -> None:
            until = time.monotonic() + LONG
            while not list(options.state.glob("step-*/manifest.json")):
                assert time.monotonic() < until
                time.sleep(0.01)
            os.kill(os.getpid(), signal.SIGTERM)

        if not ranks.is_first:
            threading.Thread(target=stop, daemon=True).start()

    assert ended(options, 2, stop_the_second) == [os.EX_TEMPFAIL, os.EX_TEMPFAIL]
    assert not options.out.exists()
    assert list(options.state.glob("step-*/manifest.json"))
    assert ended(options, 1) == [None]
    assert "ranks" not in facts(options.out)
    assert len(column(options.out, "loss_nats")) == 60


def with_broken_start(options: TrainOptions) -> TrainOptions:
    model = llama(1)
    with torch.no_grad():
        next(model.parameters()).fill_(torch.nan)
    return replace(options, start=put_model(options.out.parent / "broken", model))


def test_a_loss_that_is_no_number_ends_all_ranks_with_the_words_of_one(tmp_path: Path) -> None:
    options = with_broken_start(options_in(tmp_path, "sft"))
    words = []
    for ranks in (1, 2):
        with pytest.raises(RuntimeError, match="the loss is nan at step 1") as caught:
            ended(options, ranks)
        words.append(
            {line for line in str(caught.value).splitlines() if "Diverged: the loss is nan" in line}
        )
    assert words[0] == words[1]
    assert ended(replace(options, may_diverge=True), 2) == [None, None]
    assert "the loss is nan" in facts(options.out)["diverged"]


def test_a_rank_that_fails_leaves_no_other_waiting(tmp_path: Path) -> None:
    options = options_in(tmp_path)

    def break_the_second(ranks: Ranks) -> None:
        def refuse(*_: object) -> None:
            raise ValueError("rank 1 has no more paper")

        if not ranks.is_first:
            train.run_checks.check_answers = refuse

    with pytest.raises(RuntimeError, match="rank 1 has no more paper") as caught:
        ended(options, 2, break_the_second)
    assert "another rank of this job has ended" in str(caught.value)
