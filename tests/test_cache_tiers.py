"""What a cache keeps of the teacher, held against the live teacher: a kind of cache each."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from players import CPU, VOCABULARY, llama, texts
from transformers import PreTrainedModel

from pipeline.artifacts.artifact import Job
from pipeline.artifacts.resumable_parts import ResumableParts
from pipeline.data.batch import Batch, collate
from pipeline.distributions.divergences import kl
from pipeline.distributions.log_probs import TeacherSignal, log_probs_on
from pipeline.models.language_model import response_logits
from pipeline.models.logits import LogitScaling
from pipeline.models.teacher import LiveTeacher
from pipeline.settings.teacher import CacheJob
from pipeline.stages import cache_teacher as stage
from pipeline.teacher_cache import lm_head, reduce, writer
from pipeline.teacher_cache.capture import Capture
from pipeline.teacher_cache.format import HEAD, STEP_NATS
from pipeline.teacher_cache.reader import CachedTeacher, open_cache

SEEDS = 80
FILE = "train-00000.parquet"
# rounded by half a step at most, and then made to sum to one
ROUNDED = STEP_NATS


def teacher() -> PreTrainedModel:
    """A teacher that is not sure of anything."""
    return llama(7)


def cached(
    folder: Path,
    settings: CacheJob,
    model: PreTrainedModel | None = None,
    budget: int = 10_000,
) -> CachedTeacher:
    """A cache of the training texts, written and read again."""
    model = model or teacher()
    facts = stage.cache_metadata(model, settings, [FILE])
    writer.write(folder / FILE, list(Capture(model, settings, budget).batches(texts(20))), facts)
    if facts.tier == "hidden":
        lm_head.save(model, folder / HEAD)
    return open_cache(folder, ["train"], facts)


@pytest.fixture(scope="module")
def batch() -> Batch:
    return collate(texts(20), CPU)


def everywhere(signal: TeacherSignal) -> torch.Tensor:
    """Probabilities over the whole vocabulary; what a bucket has is left out."""
    ids = signal.support.ids
    shares = signal.log_probs[:, : ids.shape[-1]].exp()
    return torch.zeros(len(ids), VOCABULARY).scatter(-1, ids, shares)


def test_the_top_k_of_a_cache_are_the_live_teacher_s(tmp_path, batch):
    stored = cached(tmp_path, CacheJob(k=8)).signal(batch)
    live = LiveTeacher(teacher(), k=8).signal(batch)
    assert stored.log_probs.shape == live.log_probs.shape == (len(batch.next_ids), 9)
    assert everywhere(stored).gt(0).equal(everywhere(live).gt(0))
    torch.testing.assert_close(everywhere(stored), everywhere(live), atol=0, rtol=ROUNDED)
    torch.testing.assert_close(stored.log_probs[:, -1], live.log_probs[:, -1], atol=ROUNDED, rtol=0)
    assert stored.support.next_ids.equal(batch.next_ids)


def test_what_rounding_leaves_out_of_a_top_k_is_below_1e_5_nats(tmp_path, batch):
    stored = cached(tmp_path, CacheJob(k=8)).signal(batch)
    exact = log_probs_on(LiveTeacher(teacher()).logits(batch), stored.support)
    # errors are uniform in half a step to each side, and a KL is half of their variance
    assert kl(exact, stored.log_probs).mean() < STEP_NATS**2 / 24 < 1.1e-5


def test_a_hidden_state_gives_the_whole_distribution(tmp_path, batch):
    stored = cached(tmp_path, CacheJob(tier="hidden")).signal(batch)
    live = LiveTeacher(teacher()).signal(batch)
    assert stored.support.ids is None
    # a state is stored to 2^-12 of itself
    assert kl(live.log_probs, stored.log_probs).max() < 1e-6
    torch.testing.assert_close(stored.log_probs, live.log_probs, atol=2e-3, rtol=0)


def test_hidden_states_are_scaled_and_capped_as_the_live_teacher_s_are(tmp_path, batch):
    """A cap of 5 beside a scale of 1/4 moves these logits, of a spread of some 3."""
    model = teacher()
    vars(model)["logit_scaling"] = LogitScaling(logits=1 / 4, cap=5.0)
    stored = cached(tmp_path, CacheJob(tier="hidden"), model).signal(batch)
    live = LiveTeacher(model).signal(batch)
    torch.testing.assert_close(stored.log_probs, live.log_probs, atol=2e-3, rtol=0)


def test_the_gradient_of_reverse_kl_on_hidden_states_is_the_live_teacher_s(tmp_path, batch):
    student = response_logits(llama(3), batch).detach()

    def reverse(signal: TeacherSignal) -> tuple[torch.Tensor, torch.Tensor]:
        logits = student.clone().requires_grad_()
        losses = kl(log_probs_on(logits, signal.support), signal.log_probs)
        return losses.detach(), torch.autograd.grad(losses.sum(), logits)[0]

    stored, stored_gradient = reverse(cached(tmp_path, CacheJob(tier="hidden")).signal(batch))
    live, live_gradient = reverse(LiveTeacher(teacher()).signal(batch))
    # a state is stored to 2^-12 of itself, a log-probability of it to 2e-3
    torch.testing.assert_close(stored, live, atol=2e-3, rtol=0)
    assert (stored_gradient - live_gradient).norm() < 2e-3 * live_gradient.norm()


def nearly_uniform() -> PreTrainedModel:
    """A teacher whose log-probabilities are nearer to each other than a stored step."""
    return llama(7, spread=0.02)


@pytest.mark.parametrize("model", [teacher, nearly_uniform])
@pytest.mark.parametrize(
    ("settings", "known"),
    [({"k": 8}, 5), ({"k": 3}, 2), ({"k": VOCABULARY}, 5), ({"tier": "hidden"}, 5)],
)
def test_the_likeliest_tokens_of_a_cache_are_the_live_teacher_s_in_their_order(
    model: Callable[[], PreTrainedModel], settings: dict, known: int, tmp_path, batch
):
    stored = cached(tmp_path, CacheJob(**settings), model()).signal(batch)
    logits = LiveTeacher(model()).logits(batch).numpy()
    expected = np.argsort(-logits, axis=-1, kind="stable")[:, :known]
    np.testing.assert_array_equal(stored.top_ids, expected)


def test_draws_do_not_tell_what_is_likeliest(tmp_path, batch):
    assert cached(tmp_path, CacheJob(draws=7)).signal(batch).top_ids is None


@pytest.mark.parametrize("k", [3, 8, VOCABULARY])
def test_the_next_token_of_a_top_k_has_its_exact_log_probability(k: int, tmp_path, batch):
    signal = cached(tmp_path, CacheJob(k=k)).signal(batch)
    of_targets = signal.log_probs.gather(-1, signal.support.target[:, None])[:, 0]
    exact = LiveTeacher(teacher()).logits(batch).double().log_softmax(-1)
    expected = exact.gather(-1, batch.next_ids[:, None])[:, 0].float()
    torch.testing.assert_close(of_targets, expected, atol=2e-6, rtol=1e-6)  # of single precision
    total = signal.log_probs.double().logsumexp(-1)
    torch.testing.assert_close(total, torch.zeros_like(total), atol=1e-6, rtol=0)


@pytest.mark.parametrize("top", [reduce.top_k_on_gpu, reduce.top_k_on_cpu])
@pytest.mark.parametrize("settings", [{"k": 8}, {"draws": 7}, {"tier": "hidden"}])
def test_what_a_teacher_in_bfloat16_is_kept_as_is_computed_in_float32(
    settings: dict, top: Callable, tmp_path, batch, monkeypatch
):
    # what a GPU does is torch's own selection on the logits of an autocast forward pass
    monkeypatch.setattr(reduce, "top_k_on_cpu", top)
    job = CacheJob(precision="bfloat16", **settings)
    (captured,) = Capture(teacher(), job, 10_000).batches(texts(20))
    for part in captured.chunks:
        assert torch.bfloat16 not in {tensor.dtype for tensor in part.values()}
    stored = cached(tmp_path, job).reader.rows(batch.texts)["target"]
    live = LiveTeacher(teacher(), "bfloat16").logits(batch)
    assert not live.equal(LiveTeacher(teacher(), "float32").logits(batch))
    expected = live.double().log_softmax(-1).gather(-1, batch.next_ids[:, None])[:, 0]
    np.testing.assert_allclose(stored, expected, atol=2e-6, rtol=1e-6)


def test_a_live_top_k_of_the_whole_vocabulary_is_exact(batch):
    student = response_logits(llama(3), batch).detach()
    dense = LiveTeacher(teacher()).signal(batch)
    whole = LiveTeacher(teacher(), k=VOCABULARY).signal(batch)
    expected = kl(dense.log_probs, log_probs_on(student, dense.support))
    divergence = kl(whole.log_probs, log_probs_on(student, whole.support))
    torch.testing.assert_close(divergence, expected, atol=1e-6, rtol=1e-6)


def test_a_top_k_of_the_whole_vocabulary_is_rounded_and_no_more(tmp_path, batch):
    student = response_logits(llama(3), batch).detach()
    dense = LiveTeacher(teacher()).signal(batch)
    stored = cached(tmp_path, CacheJob(k=VOCABULARY)).signal(batch)
    expected = kl(dense.log_probs, log_probs_on(student, dense.support))
    divergence = kl(stored.log_probs, log_probs_on(student, stored.support))
    torch.testing.assert_close(divergence, expected, atol=ROUNDED, rtol=0)


def test_drawn_shares_are_whole_counts_and_sum_to_one(tmp_path, batch):
    signal = cached(tmp_path, CacheJob(draws=7)).signal(batch)
    counts = signal.log_probs.exp() * 7
    torch.testing.assert_close(counts, counts.round(), atol=1e-5, rtol=0)
    assert counts.round().sum(-1).eq(7).all()
    assert signal.log_probs.shape == (len(batch.next_ids), 9)  # 7 drawn, the next, the bucket
    assert signal.log_probs[:, -1].eq(-torch.inf).all()
    assert all(row.unique().numel() == 8 for row in signal.support.ids)


def test_the_next_token_gets_no_more_than_it_was_drawn(tmp_path, batch):
    # one draw: where another token came up, the next one must be left without probability
    stored = cached(tmp_path, CacheJob(draws=1))
    signal = stored.signal(batch)
    own = signal.log_probs.gather(-1, signal.support.target[:, None])[:, 0]
    assert set(own.exp().tolist()) == {0.0, 1.0}

    # its exact log-probability is kept beside
    target = stored.reader.rows(batch.texts)["target"]
    dense = LiveTeacher(teacher()).signal(batch).log_probs
    expected = dense.gather(-1, batch.next_ids[:, None])[:, 0]
    torch.testing.assert_close(torch.from_numpy(target), expected, atol=1e-5, rtol=1e-5)


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> list[CachedTeacher]:
    """Caches of 16 draws that differ in their seed."""
    folders = [tmp_path_factory.mktemp("seed") for _ in range(SEEDS)]
    jobs = [CacheJob(draws=16, seed=seed) for seed in range(SEEDS)]
    return [cached(folder, job) for folder, job in zip(folders, jobs, strict=True)]


def test_drawn_shares_are_the_teacher_s_probabilities_on_average(seeds, batch):
    p = LiveTeacher(teacher()).signal(batch).log_probs.double().exp()
    mean = torch.stack([everywhere(seed.signal(batch)).double() for seed in seeds]).mean(0)
    # a share of n draws has the variance p (1 - p) / n
    common = p * 16 * SEEDS > 5  # where a count is near enough to a normal distribution
    z = ((mean - p) / (p * (1 - p) / (16 * SEEDS)).sqrt())[common]
    assert z.abs().max() < 5
    assert 0.9 < z.std() < 1.1


def test_the_gradient_of_forward_kl_on_draws_is_the_dense_one_on_average(seeds, batch):
    student = response_logits(llama(3), batch).detach()

    def gradient(signal: TeacherSignal) -> torch.Tensor:
        logits = student.clone().requires_grad_()
        losses = kl(signal.log_probs, log_probs_on(logits, signal.support))
        return torch.autograd.grad(losses.sum(), logits)[0].double()

    drawn = torch.stack([gradient(seed.signal(batch)) for seed in seeds])
    exact = gradient(LiveTeacher(teacher()).signal(batch))
    top = gradient(LiveTeacher(teacher(), k=3).signal(batch))
    spread = (drawn.var(0).sum() / SEEDS).sqrt()  # standard error of the whole mean
    assert (drawn.mean(0) - exact).norm() < 2 * spread
    assert (top - exact).norm() > 2 * spread  # what such a mean can tell apart


def test_draws_depend_on_seed_and_example_alone(tmp_path, batch):
    folders = [tmp_path / name for name in ("whole", "parts", "other")]
    for folder in folders:
        folder.mkdir()
    whole = cached(folders[0], CacheJob(draws=9, seed=4))
    parts = cached(folders[1], CacheJob(draws=9, seed=4), budget=30)
    other = cached(folders[2], CacheJob(draws=9, seed=5))
    assert everywhere(whole.signal(batch)).equal(everywhere(parts.signal(batch)))
    assert not everywhere(whole.signal(batch)).equal(everywhere(other.signal(batch)))


def test_a_k_above_the_vocabulary_is_refused():
    with pytest.raises(ValueError, match=r"teacher_cache.k = 33: the vocabulary has 32 tokens"):
        stage.cache_metadata(teacher(), CacheJob(k=33), [FILE])


@pytest.mark.parametrize("tier", ["top_k", "hidden"])
def test_a_teacher_without_numbers_is_named_and_refused(tier: str, tmp_path):
    model = llama(7)
    with torch.no_grad():
        model.model.norm.weight.fill_(torch.nan)
    job = CacheJob(tier=tier, **({"k": 3} if tier == "top_k" else {}))
    facts = stage.cache_metadata(model, job, [FILE])
    shard = stage.Shard(FILE, texts(20))
    pieces = ResumableParts(tmp_path, Job("", "", {}), {})
    text = r"teacher smith-1: its log-probabilities are not numbers .* first in example example-0; "
    with pytest.raises(ValueError, match=text):
        stage.capture_shards(Capture(model, job, 10_000), [shard], pieces, facts, "smith-1")
