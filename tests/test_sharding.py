"""A model in shares over two ranks computes, learns and writes what a whole one does."""

import copy
import io
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from gang import on_ranks
from safetensors.torch import load_file
from torch import Tensor
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    Gemma3TextConfig,
    LlamaConfig,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen2Config,
    Qwen3Config,
)

from pipeline.data.batch import Text, collate
from pipeline.generation import generate, sampler
from pipeline.models.gradient_checkpointing import gradient_checkpointing
from pipeline.models.language_model import counted_lm_head, response_hidden, response_logits
from pipeline.models.logit_chunks import logit_chunks
from pipeline.models.lora import attach
from pipeline.models.lora import save as save_adapters
from pipeline.models.matrices import halve_matrices
from pipeline.models.sharding import (
    gather_head,
    in_company,
    load_optimizer,
    mesh_of,
    shard,
    to_first_rank,
    whole,
    whole_state,
    writer,
)
from pipeline.models.trainable import learned_state, load_learned_state, trainable_weights
from pipeline.runtime.ranks import Ranks
from pipeline.settings.generation import Sampling
from pipeline.settings.training import Lora
from pipeline.training.loop import backward_through

VOCABULARY, END = 48, 1
SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "initializer_range": 0.3,
    "eos_token_id": END,
    "bos_token_id": END,
    "pad_token_id": END,
}
# one with norms around each part, a scaled embedding, and windows in two layers of three
GEMMA = Gemma3TextConfig(**SIZES, sliding_window=4, sliding_window_pattern=3)
CONFIGS: dict[str, PreTrainedConfig] = {
    "a tied Llama": LlamaConfig(**SIZES, tie_word_embeddings=True),
    "an untied Llama": LlamaConfig(**SIZES, tie_word_embeddings=False),
    "an untied Qwen3": Qwen3Config(**SIZES, tie_word_embeddings=False),
    "a tied Gemma 3": GEMMA,
}
# positions by distance in place of embeddings: not every family decodes texts of unequal lengths
ALIBI = BloomConfig(**SIZES | {"n_layer": 2, "n_head": 2, "initializer_range": 0.3})
TEXTS = [
    Text(
        f"text-{index}",
        [2 + index, 3 + 2 * index, 40 - index],
        [5 + 3 * index, 9, 2 + index, END][index % 3 :],
    )
    for index in range(8)
]
CPU = torch.device("cpu")


def model(config: PreTrainedConfig, lora: bool = False) -> PreTrainedModel:
    torch.manual_seed(0)
    made = AutoModelForCausalLM.from_config(config).double().eval()
    if lora:
        attach(made, Lora(rank=2, alpha=4.0, dropout=0.0, targets=["q_proj", "down_proj"]), 0)
        with torch.no_grad():
            for weight in trainable_weights(made):
                weight.add_(0.1)  # or the gradient of A would be zero
    return made


def backward(student: PreTrainedModel, texts: Sequence[Text], token_count: int) -> float:
    """The mean cross entropy of a step's texts; its gradient by chunks, as the loop has it."""
    batch, total = collate(texts, CPU), 0.0
    chunks = logit_chunks(batch, VOCABULARY, 4 * VOCABULARY)
    assert len(chunks) > 1
    with backward_through(response_hidden(student, batch), chunks) as leaves:
        for rows, hidden in zip(chunks, leaves, strict=True):
            logits = counted_lm_head(student, hidden)
            target = batch.next_ids[rows]
            loss = torch.nn.functional.cross_entropy(logits, target, reduction="sum") / token_count
            loss.backward()
            total += loss.item()
    return total


def gradients(student: PreTrainedModel, share: Callable[[Sequence[Text]], list[Text]]) -> None:
    """Those of two micro-batches of a share of the texts."""
    count = sum(text.target_count for text in TEXTS)
    for micro_batch in (TEXTS[:4], TEXTS[4:]):
        backward(student, share(micro_batch), count)


def by_name(student: PreTrainedModel) -> dict[str, Tensor]:
    return {
        name: weight.grad for name, weight in student.named_parameters() if weight.grad is not None
    }


def average(student: PreTrainedModel) -> None:
    for module in student.modules():
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(2.0)


def untie(student: PreTrainedModel) -> None:
    head = student.get_output_embeddings()
    head.weight = torch.nn.Parameter(head.weight.detach().clone())


@dataclass(frozen=True)
class Case:
    """A model, and what is wrong with it."""

    config: PreTrainedConfig
    lora: bool = False
    before: Callable[[PreTrainedModel], None] | None = None  # it is sharded
    after: Callable[[PreTrainedModel], None] | None = None


TIED = CONFIGS["a tied Llama"]
RIGHT = {name: Case(config) for name, config in CONFIGS.items()}
RIGHT["adapters beside frozen weights"] = Case(TIED, lora=True)
WRONG = {
    "a mean over ranks": Case(TIED, after=average),
    "a tied embedding with part of its gradient": Case(TIED, before=untie),
}


def gradients_in_shares(case: Case, ranks: Ranks) -> dict[str, Tensor]:
    student = model(case.config, case.lora)
    if case.before:
        case.before(student)
    shard(student, mesh_of(ranks, CPU))
    if case.after:
        case.after(student)
    gradients(student, ranks.share)
    return {name: whole(grad) for name, grad in by_name(student).items()}


@cache
def all_in_shares() -> dict[str, dict[str, Tensor]]:
    """The gradients of every case on two ranks, which are forked once."""
    cases = RIGHT | WRONG
    first, second = on_ranks(
        2, lambda ranks: {name: gradients_in_shares(case, ranks) for name, case in cases.items()}
    )
    assert all(
        grad.equal(second[case][name]) for case in cases for name, grad in first[case].items()
    )
    return first


def alone(case: Case) -> dict[str, Tensor]:
    """The gradients of the shares of both ranks in one process."""
    student = model(case.config, case.lora)
    for rank in range(2):
        gradients(student, Ranks(rank, 2).share)
    return by_name(student)


def largest_difference(expected: dict[str, Tensor], actual: dict[str, Tensor]) -> float:
    assert expected.keys() <= actual.keys()
    return max(float((expected[name] - actual[name]).abs().max()) for name in expected)


@pytest.mark.parametrize("name", RIGHT)
def test_gradients_of_two_ranks_are_those_of_one(name: str) -> None:
    expected, actual = alone(RIGHT[name]), all_in_shares()[name]
    assert expected.keys() == actual.keys()
    assert all("lora_" in weight for weight in expected) == RIGHT[name].lora
    assert largest_difference(expected, actual) < 1e-13


@pytest.mark.parametrize("name", WRONG)
def test_a_fault_is_caught(name: str) -> None:
    assert largest_difference(alone(WRONG[name]), all_in_shares()[name]) > 1e-4


def step(student: PreTrainedModel, optimizer: torch.optim.Optimizer, ranks: Ranks) -> float:
    """A step on a share of the texts; returns the gradient's norm before it was clipped."""
    gradients(student, ranks.share)
    norm = torch.nn.utils.clip_grad_norm_(trainable_weights(student), 0.1)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return whole(norm).item()


def adamw(student: PreTrainedModel) -> torch.optim.AdamW:
    return torch.optim.AdamW(trainable_weights(student), lr=0.01, fused=True)


def held(value: object) -> int:
    """The bytes of a rank's own part of a tensor."""
    own = value.to_local() if isinstance(value, DTensor) else value
    return own.numel() * own.element_size() if isinstance(own, Tensor) else 0


def test_each_of_four_ranks_holds_a_quarter() -> None:
    def work(ranks: Ranks) -> tuple[int, ...]:
        student = model(TIED)
        total = sum(held(weight) for weight in student.parameters())
        shard(student, mesh_of(ranks, CPU))
        optimizer = adamw(student)
        step(student, optimizer, Ranks())
        gradients(student, list)
        weights = trainable_weights(student)
        moments = [value for state in optimizer.state.values() for value in state.values()]
        return (
            total,
            sum(map(held, weights)),
            sum(held(weight.grad) for weight in weights),
            sum(held(moment) for moment in moments if moment.ndim),
        )

    on_each = on_ranks(4, work)
    total = on_each[0][0]
    for _, weights, grads, moments in on_each:  # no weight here has rows that four can't share
        assert (4 * weights, 4 * grads, 4 * moments) == (total, total, 2 * total)


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


@dataclass(frozen=True)
class BothInOne(Ranks):
    """One process that does the work of two ranks."""

    def share(self, items: Sequence[Text]) -> list[Text]:
        return [*items[::2], *items[1::2]]


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


def packed(value: object) -> bytes:
    """The bytes that `torch.save` writes: shared memory would not outlive its process."""
    file = io.BytesIO()
    torch.save(value, file)
    return file.getvalue()


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


@torch.no_grad()
def logits_of(teacher: PreTrainedModel, text: Text) -> bytes:
    return response_logits(teacher, collate([text], CPU)).numpy().tobytes()
