"""What the training loop does ahead, later, or compiled: it must change no number."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from players import CPU, Setup, llama, run, texts, trained

from pipeline.distill import checkpoint
from pipeline.distill.compiled import ATTENTION, attempt, without_mask
from pipeline.distill.prefetch import ahead
from pipeline.distill.run import begin
from pipeline.distill.training import distill, settle
from pipeline.language_model import response_hidden
from pipeline.texts import collate


def test_items_come_in_order_and_are_made_before_they_are_asked_for() -> None:
    made = [threading.Event() for _ in range(5)]

    def items() -> Iterator[int]:
        for at, one in enumerate(made):
            one.set()
            yield at

    found = ahead(items())
    assert next(found) == 0
    assert made[1].wait(timeout=30)
    assert list(found) == [1, 2, 3, 4]


def test_an_error_ahead_is_raised_when_its_turn_comes() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("no second one")

    found = ahead(items())
    assert next(found) == 1
    with pytest.raises(ValueError, match="no second one"):
        next(found)


def test_rows_are_read_when_they_are_wanted() -> None:
    made = run(Setup("sft", steps=3))
    state = begin(made)
    steps = distill(made, state)
    assert [next(steps), next(steps)] == [1, 2]
    assert [row["step"] for row in state.rows] == [1]
    settle(state)
    settle(state)  # once more changes nothing
    assert [row["step"] for row in state.rows] == [1, 2]
    assert list(steps) == [3]
    assert state.rows == trained_rows("sft", state.rows)


def trained_rows(method: str, like: list[dict]) -> list[dict]:
    """Rows of an unbroken run, with the seconds of another."""
    rows = trained(Setup(method, steps=len(like)))[1].rows
    return [row | {"seconds": one["seconds"]} for row, one in zip(rows, like, strict=True)]


@pytest.mark.parametrize("method", ["sft", "gkd"])  # whose numbers are read later, and at once
def test_weights_that_a_loss_has_ruined_are_never_saved(method: str, tmp_path: Path) -> None:
    made = run(Setup(method, steps=6, learning_rate=1e30))
    state = begin(made)

    def saving_each_step() -> None:
        for _ in distill(made, state):
            checkpoint.save(tmp_path, made, state, "job")

    with pytest.raises(ValueError, match=r"^the .* (nan|inf) at step [2-6], on the batch of "):
        saving_each_step()
    for saved in tmp_path.glob("*/state.pt"):
        weights = torch.load(saved, weights_only=True)["student"].values()
        assert all(one.isfinite().all() for one in weights)


@pytest.mark.usefixtures("traceable")
@pytest.mark.filterwarnings("ignore:The .grad attribute")  # which torch's tracer looks at
@pytest.mark.parametrize("method", ["forward_kl", "taid"])
def test_a_compiled_run_differs_in_rounding_alone(method: str, capfd) -> None:
    # as far as the code that a GPU's compiler would be given; generating that takes minutes
    setup = Setup(method, steps=3)
    torch.compiler.reset()
    compiled = attempt(run(setup), backend="aot_eager")
    assert compiled.fused is not None, capfd.readouterr().err
    state = begin(compiled)
    assert list(distill(compiled, state)) == [1, 2, 3]
    for row, expected in zip(state.rows, trained(setup)[1].rows, strict=True):
        assert row["loss_nats"] == pytest.approx(expected["loss_nats"], rel=1e-5)
        assert row["gradient_norm"] == pytest.approx(expected["gradient_norm"], rel=1e-4)
        assert row["flops"] == expected["flops"]  # the trial counts for nothing


@pytest.mark.usefixtures("traceable")
def test_a_run_that_can_t_be_compiled_goes_on_and_says_why(capfd) -> None:
    def backend(*_: object) -> None:
        raise RuntimeError("this machine has no compiler")

    torch.compiler.reset()
    try:
        made = attempt(run(Setup("forward_kl", steps=2)), backend)
        assert made.fused is None
        assert "this machine has no compiler" in capfd.readouterr().err
        state = begin(made)
        assert list(distill(made, state)) == [1, 2]
        assert state.rows == trained_rows("forward_kl", state.rows)
    finally:
        torch.compiler.set_stance("default")


def test_attention_without_a_mask_is_attention_with_a_causal_one(tmp_path: Path) -> None:
    batch, model = collate(texts(12), CPU), llama(3)
    padded = {"input_ids": batch.input_ids, "attention_mask": batch.input_ids != 0}
    padded = {name: one.flip(-1) for name, one in padded.items()}  # at the left, as for writing
    with torch.no_grad():
        expected = response_hidden(model, batch), model(**padded).logits
        without_mask(model)
        found = response_hidden(model, batch), model(**padded).logits
    torch.testing.assert_close(found, expected)
    model.save_pretrained(tmp_path)
    assert ATTENTION not in (tmp_path / "config.json").read_text()  # a matter of the machine
