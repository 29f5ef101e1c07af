"""Training with weights in shares over two ranks is that of one rank: each method, in float64."""

from dataclasses import replace
from functools import cache
from itertools import islice
from pathlib import Path

import pytest
import torch
from annotations import unchecked
from gang import on_ranks
from players import CPU, Setup, run, schooled, teacher_texts
from runs_on_ranks import Outcome, alone, assert_equal_on_all, assert_same, in_float64, setup
from safetensors.torch import load_file
from shelf import put_all

from pipeline.artifacts.artifact import Job, read_json
from pipeline.methods.catalogue import METHODS
from pipeline.models.sharding import mesh_of, whole
from pipeline.models.trainable import trainable_weights
from pipeline.runtime.ranks import ALONE, Ranks
from pipeline.settings.distill import DistillSettings
from pipeline.settings.training import Lora
from pipeline.stages import train as train_stage
from pipeline.training import checkpoint
from pipeline.training.loop import train
from pipeline.training.run_checks import check_sharding
from pipeline.training.state import TrainingRun, TrainingState, initial_state

# a loss's state, projectors, a live teacher that writes, a copy that follows the student
QUICK = ("adakd", "dskd_v2", "minillm", "sdft")
LEARNING_TEACHERS = ("okd", "ikd")  # are refused
ALL = tuple(method for method in METHODS if method not in LEARNING_TEACHERS)
KEEPS_BEST = {"validations": 3, "keep": "best"}
LORA = {"lora": Lora(rank=2, alpha=4.0, dropout=0.0, targets=["q_proj", "down_proj"])}

pytestmark = pytest.mark.xdist_group("ranks")


def in_shares(ranks: Ranks, setup: Setup) -> TrainingRun:
    player = in_float64(setup, ranks)
    player.shard(mesh_of(ranks, CPU))
    return player


def to_end(player: TrainingRun, state: TrainingState) -> Outcome:
    written = []
    for _ in train(player, state):
        assert state.pending is not None
        written.append([list(text.response_ids) for text in state.pending.texts])
    learned = trainable_weights(player.student)
    if player.features is not None:
        learned += player.features.weights
    if player.teacher_update is not None:
        learned += trainable_weights(player.teacher.model)
    flat = torch.cat([whole(weight.detach()).flatten() for weight in learned])
    return Outcome(state.rows, flat, written, repr(state.policy), state.loss)


def trained(ranks: Ranks, setup: Setup) -> Outcome:
    player = in_shares(ranks, setup)
    return to_end(player, initial_state(player))


def of_two(methods: tuple[str, ...]) -> list[dict[str, Outcome]]:
    """The outcomes on each rank, by method."""
    schooled(), teacher_texts()  # once, before there are several processes
    return on_ranks(2, lambda ranks: {each: trained(ranks, setup(each)) for each in methods})


@cache
def all_methods() -> list[dict[str, Outcome]]:
    with unchecked():
        return of_two(ALL)


def test_shares_train_what_one_rank_does() -> None:
    outcomes = of_two(QUICK)
    for method in QUICK:
        assert_same(outcomes[0][method], alone(method))
        assert_equal_on_all([of_rank[method] for of_rank in outcomes])


@pytest.mark.slow
@pytest.mark.parametrize("method", ALL)
def test_every_method_trains_the_same_in_shares(method: str) -> None:
    outcomes = all_methods()
    assert_same(outcomes[0][method], alone(method))
    assert_equal_on_all([of_rank[method] for of_rank in outcomes])


def test_layers_that_are_recomputed_are_gathered_again() -> None:
    def work(ranks: Ranks) -> Outcome:
        player = replace(in_shares(ranks, setup("forward_kl")), gradient_checkpointing=True)
        return to_end(player, initial_state(player))

    schooled()
    assert_same(on_ranks(2, work)[0], alone("forward_kl"))


def begun(player: TrainingRun, folder: Path) -> None:
    """Saves the state after a step."""
    state = initial_state(player)
    for _ in islice(train(player, state), 1):
        pass
    checkpoint.save(folder, player, state, "job")


def resumed(player: TrainingRun, folder: Path) -> Outcome:
    state = initial_state(player)
    assert checkpoint.resume(folder, player, state, "job")
    return to_end(player, state)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["hidden_mse", "sdft"])
def test_a_state_in_shares_is_resumed_whole_and_the_other_way_round(
    method: str, tmp_path: Path
) -> None:
    best = replace(setup(method), training=KEEPS_BEST)
    schooled(), teacher_texts()
    on_ranks(2, lambda ranks: begun(in_shares(ranks, best), tmp_path / "of two"))
    begun(in_float64(best, ALONE), tmp_path / "of one")
    alone = resumed(in_float64(best, ALONE), tmp_path / "of two")
    together = on_ranks(2, lambda ranks: resumed(in_shares(ranks, best), tmp_path / "of one"))
    unbroken = to_end(player := in_float64(best, ALONE), initial_state(player))
    for outcome in (alone, *together):
        assert_same(replace(outcome, written=unbroken.written), unbroken)


@pytest.mark.parametrize(
    ("method", "training", "message"),
    [
        ("sft", {"optimizer_states": "8bit"}, "take 'float32', or give each rank a GPU"),
        ("okd", {}, "with update = 'online_module' the teacher is trained in passes of its own"),
    ],
)
def test_what_shares_cannot_do_is_refused(
    method: str, training: dict[str, object], message: str
) -> None:
    settings: DistillSettings = in_float64(
        replace(setup(method), training=training), ALONE
    ).settings
    with pytest.raises(ValueError, match=message):
        check_sharding(settings)


@pytest.mark.parametrize(("method", "training"), [("gkd", KEEPS_BEST), ("forward_kl", LORA)])
def test_a_job_in_shares_makes_the_artifact_of_one_rank(
    method: str, training: dict[str, object], tmp_path: Path
) -> None:
    settings = run(Setup(method, steps=3, training=training)).settings
    files = put_all(tmp_path)
    options = replace(files, job=Job("students", "x", settings.model_dump(mode="json")))
    in_parts = replace(options, sharded=True, out=tmp_path / "shares", state=tmp_path / "state-2")
    train_stage.run(options)
    on_ranks(2, lambda _ranks: train_stage.run(in_parts))
    whole, sharded = (folder / "model" for folder in (options.out, in_parts.out))
    names = sorted(path.name for path in whole.iterdir())
    assert names == sorted(path.name for path in sharded.iterdir())
    for name in names:
        if name.endswith(".safetensors"):
            expected, actual = (load_file(folder / name) for folder in (whole, sharded))
            assert expected.keys() == actual.keys()
            for key in expected:  # float32, and AdamW's first steps divide by small gradients
                assert torch.allclose(expected[key], actual[key], rtol=0, atol=1e-4), key
        elif name != "base.json":
            assert (whole / name).read_text() == (sharded / name).read_text()
    costs = [read_json(folder / "cost.json") for folder in (options.out, in_parts.out)]
    for fact in ("parameters", "flops", "device"):
        assert costs[0][fact] == costs[1][fact], fact
