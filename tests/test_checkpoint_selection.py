"""`keep: best` ends a training with the weights of its best validation."""

import math
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from players import END, Setup, run, texts
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from pipeline.settings.training import Training
from pipeline.training import checkpoint
from pipeline.training.checkpoint_selection import BestWeights, better
from pipeline.training.loop import train, validation_nll
from pipeline.training.state import TrainingRun, initial_state
from pipeline.training.validation_rouge import validation_rouge_l
from workflow.config.validate import ConfigError, validate
from workflow.grid.grid import Grid

STEPS = 12
# at this rate the student learns, then falls back
SETUP = Setup(
    "sft",
    steps=STEPS,
    learning_rate=0.15,
    training={"keep": "best", "validations": STEPS, "schedule": "constant"},
)


def counting_tokenizer() -> PreTrainedTokenizerFast:
    words = {f"w{token}": token for token in range(32)} | {"<end>": END}
    vocabulary = {word: token for word, token in words.items() if word == "<end>" or token != END}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<end>"))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>")


def copy_of(run: TrainingRun) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in run.student.state_dict().items()}


def by_hand() -> tuple[int, dict[str, torch.Tensor]]:
    """Step and weights of the lowest validation NLL, looked at after every step."""
    player = run(SETUP)
    state = initial_state(player)
    seen = [(validation_nll(player), step, copy_of(player)) for step in train(player, state)]
    _, step, weights = min(seen, key=lambda look: look[0])
    return step, weights


def equal(best: BestWeights | None, weights: dict[str, torch.Tensor]) -> bool:
    assert best is not None
    return all(torch.equal(best.weights[name], value) for name, value in weights.items())


def test_the_best_weights_are_those_that_a_look_at_every_step_picks() -> None:
    step, weights = by_hand()
    assert step < STEPS  # else nothing would be chosen
    player = run(SETUP)
    state = initial_state(player)
    for _ in train(player, state):
        pass
    assert state.best is not None
    assert state.best.step == step
    assert equal(state.best, weights)


def test_weights_whose_score_is_no_number_are_kept_before_no_others() -> None:
    student = run(SETUP).student
    first = better(None, student, 1, math.nan)
    second = better(first, student, 2, -3.0)
    assert [each.step for each in (first, second, better(second, student, 3, math.nan))] == [
        1,
        2,
        2,
    ]


def test_a_killed_and_resumed_run_keeps_the_same_weights(tmp_path: Path) -> None:
    step, weights = by_hand()
    killed = run(SETUP)
    state = initial_state(killed)
    for _ in islice(train(killed, state), step + 1):  # the best step is behind it
        pass
    checkpoint.save(tmp_path, killed, state, "job")

    resumed = run(SETUP)
    later = initial_state(resumed)
    assert checkpoint.resume(tmp_path, resumed, later, "job")
    for _ in train(resumed, later):
        pass
    assert later.best is not None
    assert later.best.step == step
    assert equal(later.best, weights)


def test_the_first_of_equal_validations_wins() -> None:
    player = run(SETUP)
    first = better(None, player.student, 3, 1.5)
    assert better(first, player.student, 6, 1.5) is first
    assert better(first, player.student, 6, 1.6).step == 6


@pytest.mark.slow
def test_rouge_of_a_student_that_repeats_its_references_is_100() -> None:
    player = run(SETUP)
    tokenizer, held_out = counting_tokenizer(), texts(12)
    before = validation_rouge_l(player.student, tokenizer, held_out, 8)
    schooled = run(Setup("sft", steps=150, batch_size=12, learning_rate=1e-2))
    for _ in train(schooled, initial_state(schooled)):
        pass
    after = validation_rouge_l(schooled.student, tokenizer, held_out, 8)
    assert 0 <= before < after <= 100
    assert after > 60


def test_weights_are_chosen_by_rouge_where_that_is_configured() -> None:
    training = {"keep": "best", "keep_by": "rouge_l", "validations": 4, "validation_texts": 6}
    player = run(Setup("sft", steps=8, learning_rate=1e-2, training=training))
    player = TrainingRun(**(vars(player) | {"tokenizer": counting_tokenizer()}))
    state = initial_state(player)
    for _ in train(player, state):
        pass
    measured = {
        row["step"]: row["validation_rouge_l"]
        for row in state.rows
        if row["validation_rouge_l"] is not None
    }
    assert list(measured) == [2, 4, 6, 8]
    assert state.best is not None
    assert measured[state.best.step] == max(measured.values()) == state.best.score


def test_a_training_that_keeps_its_last_weights_has_the_settings_of_before(
    tiny: dict[str, Any],
) -> None:
    job = Training(steps=3).for_job()
    assert not {"keep", "keep_by"} & set(job)
    assert Training.model_validate(job) == Training(steps=3)
    best = Training(steps=3, keep="best").for_job()
    assert (best["keep"], best["keep_by"]) == ("best", "nll")
    other = tiny | {"training": tiny["training"] | {"keep": "best"}}
    ids = [
        Grid(validate(config)).student("sft", "small", "large", 1).id for config in (tiny, other)
    ]
    assert ids[0] != ids[1]


def test_the_best_of_no_validations_is_refused(tiny: dict[str, Any]) -> None:
    training = tiny["training"] | {"keep": "best", "validations": 0}
    with pytest.raises(ConfigError, match=r"training.*keep = 'best' needs validations"):
        validate(tiny | {"training": training})
