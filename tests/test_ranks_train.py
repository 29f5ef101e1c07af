"""Several ranks train what one does: each method of the catalogue, in float64.

Sums are taken in another order, and a text is read beside other ones, so the last digits differ.
In float64 that changes no token that is sampled. Processes are forked once, and go through all
methods. Four cannot share the six texts of a step evenly; test_sharded_training.py has two ranks.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TypeVar

import pytest
from annotations import unchecked
from foreign_teachers import aligned_run
from gang import on_ranks
from players import CPU, Setup, schooled, teacher_texts, texts
from runs_on_ranks import (
    POSITIONS,
    Outcome,
    alone,
    assert_equal_on_all,
    assert_same,
    in_float64,
    setup,
    to_end,
    trained,
)
from test_several_teachers import combined
from torch import Tensor

from pipeline.data.batch import micro_batches
from pipeline.data.sharing import shared_batches, shares
from pipeline.methods.catalogue import METHODS
from pipeline.methods.method import resolve
from pipeline.runtime.ranks import ALONE, Ranks
from pipeline.settings.distill import MethodSettings
from pipeline.tokenizer_alignment.teacher import AlignedTeacher
from pipeline.training import batches, checkpoint, loop
from pipeline.training.agreement import Agreement
from pipeline.training.loop import train
from pipeline.training.state import initial_state

Result = TypeVar("Result")

# what outlives a step: a loss's state, a buffer, an epoch's answers, adapters, a copy, projectors
STATEFUL = ("adakd", "distillm", "distillm2", "okd", "sdft", "hidden_mse")

pytestmark = pytest.mark.xdist_group("ranks")


@cache
def all_methods() -> list[dict[str, Outcome]]:
    """The outcomes on each rank, by method."""
    schooled(), teacher_texts()  # once, before there are several processes
    with unchecked():
        return on_ranks(
            4, lambda ranks: {method: trained(ranks, setup(method)) for method in METHODS}
        )


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_every_method_trains_the_same_on_four_ranks(method: str) -> None:
    outcomes = all_methods()
    assert_same(outcomes[0][method], alone(method))
    assert_equal_on_all([of_rank[method] for of_rank in outcomes])


# --- a step's texts among ranks -------------------------------------------------------------------


def test_each_text_is_one_rank_s_and_the_longest_are_dealt_first() -> None:
    places = shares([1, 2, 3, 5, 8, 13], 3)
    assert places == [[5], [1, 4], [0, 2, 3]]  # 13, 2 + 8 and 1 + 3 + 5 positions
    assert shares([1, 1], 4) == [[1], [0], [], []]


def test_ranks_have_as_many_micro_batches_and_one_rank_those_of_before() -> None:
    pool = texts(11)
    of_ranks = [list(shared_batches(pool, 30, CPU, Ranks(rank, 4))) for rank in range(4)]
    assert len({len(batches) for batches in of_ranks}) == 1
    read = [
        text for batches in of_ranks for each in batches if each.weight for text in each.batch.texts
    ]
    assert sorted(text.example_id for text in read) == sorted(text.example_id for text in pool)
    assert any(not each.weight for batches in of_ranks for each in batches)

    single = shared_batches(pool, 30, CPU, ALONE)
    for shared, batch in zip(single, micro_batches(pool, 30, CPU), strict=True):
        assert shared.batch.texts == batch.texts
        assert shared.weight == 1


@pytest.mark.parametrize("method", ["sft", "adakd", "hidden_mse", "switch"])
def test_a_filler_adds_nothing_to_gradients_losses_and_counts(method: str) -> None:
    """Bit by bit: a loss times zero, whose gradient is zero."""

    def step(fillers: int) -> tuple[list[Tensor], float, list[float], list[object]]:
        player = replace(in_float64(Setup(method), ALONE), max_tokens=30)
        state = initial_state(player)
        batch = batches.step_batch(player, state, 0)
        filler = replace(batch.micro_batches[0], weight=0.0)
        batch = replace(batch, micro_batches=[*batch.micro_batches, *[filler] * fillers])
        plain = [replace(each, weight=0.0) for each in batch.plain_text[:fillers]]
        batch = replace(batch, plain_text=[*batch.plain_text, *plain])
        measured = Agreement()
        loss_nats = loop.backward_of_step(player, state, batch, measured)
        loop.backward_of_plain_text(player, state, batch)
        gradients = [weight.grad for weight in player.student.parameters()]
        if player.features is not None:
            gradients += [weight.grad for weight in player.features.weights]
        work = [vars(counter) for counter in state.work]
        means = [mean.item() for mean in measured.means(batch.token_count)]
        return gradients, loss_nats.item(), means, work

    gradients, *measured = step(fillers=0)
    filled, *measured_with_fillers = step(fillers=2)
    assert measured == measured_with_fillers
    assert all(gradient.equal(other) for gradient, other in zip(gradients, filled, strict=True))


FEW = Setup("minillm", steps=2, batch_size=2, training={"validations": 1})


@pytest.mark.slow
def test_a_step_with_fewer_texts_than_ranks() -> None:
    def work(ranks: Ranks) -> Outcome:
        player = replace(in_float64(FEW, ranks), max_tokens=1)  # a text in each micro-batch
        return to_end(player, initial_state(player))

    schooled()
    outcomes = on_ranks(4, work)
    assert_same(outcomes[0], work(ALONE))
    assert_equal_on_all(outcomes)


# --- teachers that are put together of others ----------------------------------------------------


def under_another_vocabulary(ranks: Ranks) -> Outcome:
    """Hidden states compared where a span is one token of both: not in the texts of every rank."""
    method = MethodSettings.model_validate(resolve(METHODS["dskd_v2"], {}).settings)
    player = replace(aligned_run(method, steps=2), ranks=ranks, max_tokens=POSITIONS)
    assert isinstance(player.teacher, AlignedTeacher)
    assert player.features is not None
    for module in (player.student, player.teacher.teacher.model, player.features.projectors):
        module.double()
    return to_end(player, initial_state(player))


def under_several_caches(ranks: Ranks, folder: Path) -> Outcome:
    """Caches that are drawn from again at each step."""
    own = folder / str(ranks.rank)
    own.mkdir(parents=True)
    teacher, _ = combined(own, combine="least_entropy")
    player = in_float64(setup("rs_kd_redrawn"), ranks)
    return to_end(replace(player, teacher=teacher), initial_state(player))


def under_both(ranks: Ranks, folder: Path) -> list[Outcome]:
    return [under_another_vocabulary(ranks), under_several_caches(ranks, folder)]


@pytest.mark.slow
def test_aligned_and_combined_teachers_teach_the_same_on_several_ranks(tmp_path: Path) -> None:
    several, single = tmp_path / "several", tmp_path / "single"
    schooled()
    outcomes = on_ranks(3, lambda ranks: under_both(ranks, several))
    expected = under_both(ALONE, single)
    for place, of_one in enumerate(expected):
        assert_same(outcomes[0][place], of_one)
        assert_equal_on_all([of_rank[place] for of_rank in outcomes])


# --- killed, and resumed on another number of ranks -----------------------------------------------


def start(method: str, folder: Path, ranks: Ranks) -> list[list[list[int]]]:
    """The first step of a run, saved; what was written in it."""
    player = in_float64(resumed_setup(method), ranks)
    state = initial_state(player)
    next(train(player, state))
    assert state.pending is not None
    written = [list(text.response_ids) for text in state.pending.texts]
    checkpoint.save(folder / method, player, state, "job")
    ranks.barrier()
    return [written]


def resume(method: str, folder: Path, ranks: Ranks) -> Outcome:
    """The rest of a run from its saved state."""
    player = in_float64(resumed_setup(method), ranks)
    state = initial_state(player)
    assert checkpoint.resume(folder / method, player, state, "job")
    return to_end(player, state)


def resumed_setup(method: str) -> Setup:
    training = {"validations": 2, "keep": "best"}
    return Setup(method, steps=3, training=training)


@pytest.mark.slow
@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 4), (4, 2)])
def test_a_killed_run_resumes_on_another_number_of_ranks(
    before: int, after: int, tmp_path: Path
) -> None:
    schooled(), teacher_texts()

    def with_ranks(size: int, work: Callable[[Ranks], Result]) -> list[Result]:
        return on_ranks(size, work) if size > 1 else [work(ALONE)]

    with_ranks(before, lambda ranks: [start(method, tmp_path, ranks) for method in STATEFUL])
    outcomes, *_ = with_ranks(
        after, lambda ranks: {method: resume(method, tmp_path, ranks) for method in STATEFUL}
    )
    for method in STATEFUL:
        unbroken = trained(ALONE, resumed_setup(method))
        expected = replace(unbroken, written=unbroken.written[1:])
        assert_same(outcomes[method], expected)
