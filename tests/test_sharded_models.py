"""What a model in shares writes and saves is that of the whole model."""

import copy
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from gang import on_ranks
from safetensors.torch import load_file
from sharded_models import (
    ALIBI,
    CONFIGS,
    CPU,
    TEXTS,
    TIED,
    BothInOne,
    adamw,
    largest_difference,
    model,
    packed,
    step,
)
from transformers import PreTrainedModel

from pipeline.data.batch import Text
from pipeline.generation import generate, sampler
from pipeline.models.lora import save as save_adapters
from pipeline.models.sharding import (
    in_company,
    load_optimizer,
    mesh_of,
    shard,
    to_first_rank,
    whole_state,
)
from pipeline.models.trainable import learned_state, load_learned_state
from pipeline.runtime.ranks import Ranks
from pipeline.settings.generation import Sampling


def stepped_twice(student: PreTrainedModel, ranks: Ranks, saved: bytes | None = None) -> bytes:
    """A student's and its optimizer's state after one step and after two, from a saved one on."""
    optimizer, states = adamw(student), []
    if saved is not None:
        state = unpacked(saved)[0]
        load_learned_state(student, state["weights"])
        load_optimizer(optimizer, state["optimizer"])
    for _ in range(2 if saved is None else 1):
        norm = step(student, optimizer, ranks)
        state = {"weights": learned_state(student), "optimizer": optimizer.state_dict()}
        states.append(copy.deepcopy(whole_state(state)) | {"norm": norm})
    return packed(states)


def unpacked(value: bytes) -> list[dict[str, Any]]:
    return torch.load(io.BytesIO(value))


def test_a_state_goes_on_with_more_ranks_and_with_fewer() -> None:
    both = BothInOne()

    def in_shares(saved: bytes | None) -> bytes:
        def work(ranks: Ranks) -> bytes:
            student = model(TIED)
            shard(student, mesh_of(ranks, CPU))
            return stepped_twice(student, ranks, saved)

        return on_ranks(2, work)[0]

    sharded, whole_steps = in_shares(None), stepped_twice(model(TIED), both)
    assert abs(len(sharded) - len(whole_steps)) < 4096  # a tied weight is saved once
    for resumed in (stepped_twice(model(TIED), both, sharded), in_shares(whole_steps)):
        (last,), expected = unpacked(resumed), unpacked(whole_steps)[1]
        assert abs(last["norm"] - expected["norm"]) < 1e-13
        assert largest_difference(expected["weights"], last["weights"]) < 1e-12
        for index, moments in expected["optimizer"]["state"].items():
            assert largest_difference(moments, last["optimizer"]["state"][index]) < 1e-13


@pytest.mark.parametrize("lora", [False, True])
def test_what_is_written_and_saved_is_the_whole_model(lora: bool, tmp_path: Path) -> None:
    config, greedy = TIED, sampler(Sampling(temperature=0))

    def texts_of(student: PreTrainedModel, count: int) -> list[list[int]]:
        written = generate(TEXTS[:count], [student], greedy, 5, 0, "student")
        return [list(text.response_ids) for text in written]

    def work(ranks: Ranks) -> list[list[list[int]]]:
        student = model(config, lora)
        shard(student, mesh_of(ranks, CPU))
        before = texts_of(student, 4 * (1 + ranks.rank))  # no rank waits for another
        step(student, adamw(student), ranks)
        after = texts_of(student, 4)
        saved = to_first_rank(student)
        if ranks.is_first:
            save(saved, tmp_path / "sharded", lora)
        return [before[:4], after]

    alone = model(config, lora)
    before = texts_of(alone, 4)
    step(alone, adamw(alone), BothInOne())
    first, second = on_ranks(2, work)
    assert first == second == [before, texts_of(alone, 4)]
    save(alone, tmp_path / "alone", lora)
    files = sorted(path.name for path in (tmp_path / "alone").iterdir())
    assert files == sorted(path.name for path in (tmp_path / "sharded").iterdir())
    for name in files:
        expected, actual = (tmp_path / folder / name for folder in ("alone", "sharded"))
        if name.endswith(".safetensors"):
            assert load_file(expected).keys() == load_file(actual).keys()
            assert largest_difference(load_file(expected), load_file(actual)) < 1e-12
        else:
            assert expected.read_text() == actual.read_text()


def save(student: PreTrainedModel, folder: Path, lora: bool) -> None:
    if lora:
        save_adapters(student, folder, "base")
    else:
        student.save_pretrained(folder)


@pytest.mark.parametrize("name", [*CONFIGS, "a family for the plain loop"])
def test_ranks_write_texts_of_their_own_with_shares_of_a_model(name: str) -> None:
    config, choose = (CONFIGS | {"a family for the plain loop": ALIBI})[name], sampler(Sampling())

    def written(teacher: PreTrainedModel, texts: Sequence[Text]) -> list[tuple[Any, ...]]:
        responses = generate(texts, [teacher], choose, 20, 5, "teacher")
        return [(text.response_ids, text.log_probs) for text in responses]

    def work(ranks: Ranks) -> list[tuple[Any, ...]]:
        teacher = model(config).requires_grad_(False)
        shard(teacher, mesh_of(ranks, CPU))
        with in_company(teacher, ranks):
            return written(teacher, TEXTS[: 2 + 4 * ranks.rank])

    expected = written(model(config), TEXTS)
    for actual in on_ranks(2, work):
        for (ids, log_probs), (expected_ids, expected_log_probs) in zip(
            actual, expected, strict=False
        ):
            assert ids == expected_ids
            # weights are float64, log-probabilities of written tokens float32
            assert log_probs == pytest.approx(expected_log_probs, abs=2e-6)
