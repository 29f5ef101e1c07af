"""AdamW with moments in 8 bits: near AdamW, resumed to the same bits, smaller by the estimate."""

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from players import Setup, llama, run
from snaking import edited

from pipeline.training import checkpoint
from pipeline.training.loop import train
from pipeline.training.state import TrainingRun, TrainingState, initial_state
from workflow.config.config_file import ConfigError
from workflow.config.validate import validate
from workflow.grid.grid import Grid
from workflow.resources.estimates import workload_of

is_installed = find_spec("bitsandbytes") is not None
needs_it = pytest.mark.skipif(not is_installed, reason="pip install distilbench[bitsandbytes]")


def setup(states: str) -> TrainingRun:
    chosen = run(Setup("forward_kl", training={"optimizer_states": states, "steps": 12}))
    return replace(chosen, student=llama(1, width=64, spread=0.05))  # matrices of 4,096 weights


def losses(of: TrainingRun, state: TrainingState, last: int) -> list[float | None]:
    for _ in train(of, state):
        if state.step == last:
            break
    return [row["loss_nats"] for row in state.rows]


@needs_it
def test_moments_in_8_bits_train_nearly_as_those_in_float32() -> None:
    small, whole = setup("8bit"), setup("float32")
    state = initial_state(small)
    ours, expected = losses(small, state, 12), losses(whole, initial_state(whole), 12)
    assert ours != expected
    assert ours == pytest.approx(expected, rel=0.05)
    kinds = {
        moment.dtype
        for moments in state.optimizer.state.values()
        for name, moment in moments.items()
        if name in ("state1", "state2")
    }
    assert torch.uint8 in kinds


@needs_it
def test_a_killed_run_resumes_to_the_same_bits(tmp_path: Path) -> None:
    unbroken, killed, resumed = (setup("8bit") for _ in range(3))
    expected = losses(unbroken, initial_state(unbroken), 12)
    state = initial_state(killed)
    losses(killed, state, 5)
    checkpoint.save(tmp_path, killed, state, "job")
    again = initial_state(resumed)
    assert checkpoint.resume(tmp_path, resumed, again, "job")
    assert again.step == 5
    assert losses(resumed, again, 12) == expected
    for first, second in zip(*(of.student.parameters() for of in (unbroken, resumed)), strict=True):
        assert torch.equal(first, second)


def test_it_is_another_student_that_needs_less_memory_and_is_refused_without_the_library(
    tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = edited(tiny, {"methods.jsd": {"training": {"optimizer_states": "8bit"}}})
    monkeypatch.setattr("workflow.config.training_checks.find_spec", lambda _: None)
    with pytest.raises(
        ConfigError, match=r"methods\.jsd\.training\.optimizer_states: '8bit' needs"
    ):
        validate(config)
    monkeypatch.setattr("workflow.config.training_checks.find_spec", lambda name: name)
    small, whole = Grid(validate(config)), Grid(validate(tiny))
    students = [grid.student("jsd", "small", "large", 1) for grid in (small, whole)]
    assert students[0].id != students[1].id
    held = [
        workload_of(grid, student).resident
        for grid, student in zip((small, whole), students, strict=True)
    ]
    assert held[0] < held[1]
