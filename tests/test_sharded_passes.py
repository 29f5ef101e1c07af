"""What a model in shares computes in bfloat16, and what it keeps for its backward pass."""

import io
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache

import pytest
import torch
from gang import on_ranks
from sharded_models import CONFIGS, CPU, GEMMA, SIZES, TEXTS, TIED, average, by_name, model, packed
from torch import Tensor
from transformers import PreTrainedModel, Qwen2Config

from pipeline.data.batch import Text, collate
from pipeline.models.gradient_checkpointing import gradient_checkpointing
from pipeline.models.language_model import response_hidden, response_logits
from pipeline.models.matrices import halve_matrices
from pipeline.models.sharding import gather_head, in_company, mesh_of, shard, whole, writer
from pipeline.runtime.ranks import Ranks

BIASED = Qwen2Config(**SIZES, tie_word_embeddings=False)  # in queries, keys and values


@dataclass(frozen=True)
class Pass:
    """What a student computes under autocast, and keeps for its backward pass."""

    gradients: dict[str, Tensor]
    hidden: Tensor
    kept_matrices: int  # in bfloat16


def passed(student: PreTrainedModel) -> Pass:
    shapes = {tuple(weight.shape) for weight in student.parameters() if weight.ndim == 2}
    shapes |= {(columns, rows) for rows, columns in shapes}
    matrices, batch = [], collate(TEXTS[:4], CPU)

    def keep(tensor: Tensor) -> Tensor:
        if tensor.dtype == torch.bfloat16 and tuple(tensor.shape) in shapes:
            matrices.append(tensor)
        return tensor

    # other shapes than those of a matrix: a text has as many positions as no layer has units
    with (
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        torch.autocast("cpu", torch.bfloat16),
    ):
        hidden = response_hidden(student, batch)
    hidden.float().square().sum().backward()
    grads = {name: whole(grad) for name, grad in by_name(student).items()}
    return Pass(grads, hidden.detach(), len(matrices))


PASSING = {"llama": TIED, "qwen2": BIASED, "gemma": GEMMA}


def pass_of(ranks: Ranks, name: str, recomputed: bool) -> bytes:
    student = model(PASSING[name]).float()
    if ranks.size > 1:
        shard(student, mesh_of(ranks, CPU))
        average(student)  # both ranks read the same texts
    with gradient_checkpointing(student) if recomputed else nullcontext():
        return packed(vars(passed(student)))


@cache
def passes_in_shares() -> list[dict[tuple[str, bool], bytes]]:
    """Those of every case on two ranks, which are forked once."""
    cases = [(name, recomputed) for name in PASSING for recomputed in (False, True)]
    return on_ranks(2, lambda ranks: {case: pass_of(ranks, *case) for case in cases})


@pytest.mark.parametrize("recomputed", [False, True])
@pytest.mark.parametrize("name", PASSING)
def test_shares_keep_no_matrix_in_bfloat16_and_have_the_numbers_of_autocast(
    name: str, recomputed: bool
) -> None:
    in_shares = passes_in_shares()
    expected = torch.load(io.BytesIO(pass_of(Ranks(), name, recomputed)))
    assert expected["kept_matrices"] > 0 or recomputed
    for of_rank in in_shares:
        actual = torch.load(io.BytesIO(of_rank[name, recomputed]))
        assert actual["kept_matrices"] == 0
        assert actual["hidden"].equal(expected["hidden"])
        for weight, grad in expected["gradients"].items():
            assert actual["gradients"][weight].equal(grad), weight


def halved() -> PreTrainedModel:
    teacher = model(CONFIGS["an untied Llama"]).float().requires_grad_(False)
    halve_matrices(teacher)
    return teacher


def test_matrices_in_bfloat16_stay_so_and_give_the_same_logits() -> None:
    def logits(teacher: PreTrainedModel) -> bytes:
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            return packed(response_logits(teacher, collate(TEXTS, CPU)))

    def work(ranks: Ranks) -> tuple[bytes, set[torch.dtype], set[torch.dtype]]:
        teacher = halved()
        shard(teacher, mesh_of(ranks, CPU))
        in_full = writer(teacher)
        return (logits(teacher), *map(dtypes, (teacher, in_full)))

    mixed = {torch.float32, torch.bfloat16}
    assert on_ranks(2, work) == [(logits(halved()), mixed, mixed)] * 2


def dtypes(teacher: PreTrainedModel) -> set[torch.dtype]:
    return {weight.dtype for weight in teacher.parameters()}


def test_ranks_may_make_different_numbers_of_passes() -> None:
    config = TIED

    def work(ranks: Ranks) -> list[bytes]:
        teacher = model(config).requires_grad_(False)
        shard(teacher, mesh_of(ranks, CPU))
        with in_company(teacher, ranks):
            own = [logits_of(teacher, text) for text in TEXTS[: 1 + 4 * ranks.rank]]
        with in_company(teacher, ranks):
            if ranks.is_first:
                gather_head(teacher)
                own.append(packed(dict(teacher.get_output_embeddings().named_parameters())))
        return own

    teacher = model(config)
    expected = [logits_of(teacher, text) for text in TEXTS]
    first, second = on_ranks(2, work)
    assert first[:-1] == expected[:1]
    assert second == expected[:5]
    (weight,) = torch.load(io.BytesIO(first[-1])).values()
    assert torch.equal(weight, teacher.get_output_embeddings().weight)


def test_a_rank_that_has_ended_joins_in_with_matrices_in_bfloat16() -> None:
    def read(teacher: PreTrainedModel, texts: Sequence[Text]) -> list[bytes]:
        with torch.autocast("cpu", torch.bfloat16):
            return [logits_of(teacher, text) for text in texts]

    def work(ranks: Ranks) -> list[bytes]:
        teacher = halved()
        shard(teacher, mesh_of(ranks, CPU))
        with in_company(teacher, ranks):
            return read(teacher, TEXTS[: 1 + 2 * ranks.rank])

    first, second = on_ranks(2, work)
    expected = read(halved(), TEXTS[:3])
    assert (first, second) == (expected[:1], expected)


@torch.no_grad()
def logits_of(teacher: PreTrainedModel, text: Text) -> bytes:
    return response_logits(teacher, collate([text], CPU)).numpy().tobytes()
