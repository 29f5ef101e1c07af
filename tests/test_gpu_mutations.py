"""Faults that would have broken or spoilt every run on a GPU, put back: each is noticed."""

from pathlib import Path

import pytest
import torch
from pretend_ledger import Ledger
from test_gpu_caches import TIERS, assert_kept, cache
from test_gpu_generation import assert_captured, by_policy, model
from test_gpu_training import assert_trains
from torch import Tensor

from pipeline.data.batch import Batch
from pipeline.distributions import divergences
from pipeline.distributions.log_probs import LogProbs
from pipeline.generation import capacity
from pipeline.models import language_model
from pipeline.models.language_model import autocast
from pipeline.models.logits import LogitScaling
from pipeline.teacher_cache import capture, reduce
from pipeline.teacher_cache.reduce import Chunk, ReducedLogits
from pipeline.training import loop
from pipeline.training.state import TrainingRun


def entropy_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """A top K with the entropy, in a product that autocast takes for one of matrices."""
    likeliest, of_states = reduce.top_k_and_rest, capture.Capture.reduce

    def with_entropy(chunk: Chunk, **options: object) -> ReducedLogits:
        log_probs = chunk.logits.log_softmax(-1)
        entropy = -torch.linalg.vecdot(log_probs.exp(), log_probs)
        return {**likeliest(chunk, **options), "entropy": entropy}

    def under_autocast(
        self: capture.Capture, batch: Batch, states: Tensor
    ) -> capture.CapturedBatch:
        with autocast(states.device, "auto"):
            return of_states(self, batch, states)

    monkeypatch.setattr(reduce, "top_k_and_rest", with_entropy)
    monkeypatch.setattr(capture.Capture, "reduce", under_autocast)


def test_bfloat16_in_what_a_cache_keeps_is_noticed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, gpu: Ledger
):
    entropy_too(monkeypatch)
    with pytest.raises(AssertionError, match="bfloat16"):
        assert_kept("top_k", gpu)
    with pytest.raises(TypeError, match="unsupported ScalarType BFloat16"):
        cache(tmp_path, TIERS["top_k"])


def copied_mixture(p: LogProbs, q: LogProbs, weight_of_p: float) -> LogProbs:
    """The mixture of two distributions, by a weight that the host sends to the GPU."""
    weight = torch.as_tensor(weight_of_p, dtype=p.dtype, device=p.device)
    return torch.logaddexp(p + weight.log(), q + (-weight).log1p())


def test_a_copy_from_the_host_in_a_captured_step_is_noticed(
    monkeypatch: pytest.MonkeyPatch, gpu: Ledger
):
    monkeypatch.setattr(capacity, "_LAST_ENGINE", {})
    monkeypatch.setattr(divergences, "mixture", copied_mixture)
    student, teacher = model("openllama", 1), model("openllama", 2)
    with pytest.raises(AssertionError):
        assert_captured(lambda: by_policy("switch", student, teacher), gpu)
    assert {note.what for note in gpu.forbidden} == {"copy from the host"}


def rounded_logits(head: torch.nn.Linear, scaling: LogitScaling, hidden: Tensor) -> Tensor:
    """Logits as autocast gives them."""
    return scaling.after_head(head(hidden))


def test_logits_in_bfloat16_are_noticed(monkeypatch: pytest.MonkeyPatch, gpu: Ledger):
    monkeypatch.setattr(language_model, "compute_logits", rounded_logits)
    with pytest.raises(AssertionError, match="bfloat16"):
        assert_trains("sft", gpu)
    assert gpu.rounded
    gpu.clear()
    with pytest.raises(AssertionError):
        assert_kept("hidden", gpu)
    assert gpu.rounded


def test_a_number_that_a_step_asks_for_is_noticed(monkeypatch: pytest.MonkeyPatch, gpu: Ledger):
    student_logits = loop.student_logits

    def checked(run: TrainingRun, hidden: Tensor) -> Tensor:
        logits = student_logits(run, hidden)
        return logits if logits.isfinite().all() else logits * 0

    monkeypatch.setattr(loop, "student_logits", checked)
    with pytest.raises(AssertionError, match="item"):
        assert_trains("sft", gpu)


def test_tensors_that_stay_on_the_host_are_noticed(monkeypatch: pytest.MonkeyPatch, gpu: Ledger):
    mixed_token_losses = loop.mixed_token_losses

    def on_host(*arguments: object) -> Tensor:
        losses = mixed_token_losses(*arguments)
        return losses * torch.ones(len(losses))

    monkeypatch.setattr("test_gpu_training.mixed_token_losses", on_host)
    with pytest.raises(RuntimeError, match="to be on the same device"):
        assert_trains("sft", gpu)
