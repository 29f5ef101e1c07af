"""Compares a cache with its live teacher on a random share of its texts.

What is compared depends on the kind of cache:

    top_k, hidden   KL(p ‖ stored) in nats, with p the live teacher's distribution on the stored
                    support
    sampled         the share of a token's draws that came up otherwise

and, for all of them, the log-probability of the ground-truth next token. On a CPU the live
teacher agrees with itself to about 1e-6 nats from one batch to another, in bfloat16 on a GPU to
some 1e-3: what is beyond that was lost in storing, or is damage.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pipeline.artifacts import artifact
from pipeline.data.batch import Batch, Text, micro_batches, read_all_texts
from pipeline.distributions.divergences import kl
from pipeline.distributions.log_probs import PerToken, TeacherSignal, log_probs_on, target_log_prob
from pipeline.distributions.sampled_targets import sample_signal
from pipeline.models import vocabulary
from pipeline.models.language_model import default_device, load_frozen
from pipeline.models.teacher import LiveTeacher
from pipeline.runtime.progress import log
from pipeline.settings.teacher import CacheJob
from pipeline.stages.options import VerifyCacheOptions
from pipeline.teacher_cache.format import CacheMetadata, read_metadata
from pipeline.teacher_cache.reader import CachedTeacher, check_cache, open_cache
from pipeline.teacher_cache.reduce import uniforms_of_cache

LARGEST_MEAN = 1e-2  # of the error, before a cache is refused: that of another teacher is far above


@dataclass(frozen=True)
class Verified:
    """How far some tokens of a cache are from the live teacher."""

    texts: int
    tokens: int
    mean_error: float  # of the module's docstring
    largest_error: float
    largest_target_error_nats: float


@torch.no_grad()
def compare(
    cached: CachedTeacher,
    live: LiveTeacher,
    texts: Sequence[Text],
    metadata: CacheMetadata,
    seed: int,
    budget: int,
) -> Verified:
    """The cache against the live teacher on the texts; `seed` is that of the cache's draws."""
    errors: list[Tensor] = []
    target_errors: list[Tensor] = []
    for batch in micro_batches(texts, budget, live.model.device):
        logits = live.logits(batch)
        stored = torch.from_numpy(cached.reader.rows(batch.texts)["target"])
        exact = target_log_prob(logits.log_softmax(-1), batch.next_ids).cpu()
        target_errors.append((stored - exact).abs())
        signal = cached.signal(batch)
        if metadata.draws is not None:
            errors.append(_moved(signal, logits, batch, metadata.draws, seed).cpu())
        else:
            errors.append(kl(log_probs_on(logits, signal.support), signal.log_probs).cpu())
    error = torch.cat(errors)
    return Verified(
        texts=len(texts),
        tokens=sum(text.target_count for text in texts),
        mean_error=error.mean().item(),
        largest_error=error.max().item(),
        largest_target_error_nats=torch.cat(target_errors).max().item(),
    )


def _moved(stored: TeacherSignal, logits: Tensor, batch: Batch, draws: int, seed: int) -> PerToken:
    uniforms = uniforms_of_cache(batch.texts, draws, seed)
    expected = sample_signal(logits, batch.next_ids, draws, uniforms.to(logits.device))
    shares = torch.zeros_like(logits)
    for signal, sign in ((stored, 1), (expected, -1)):
        ids = signal.support.ids
        assert ids is not None
        shares.scatter_add_(-1, ids, sign * signal.log_probs[:, : ids.shape[-1]].exp())
    return shares.abs().sum(-1) / 2


def draw_texts(texts: Sequence[Text], share: float, seed: int) -> list[Text]:
    """A random share of the texts, one at least."""
    count = max(1, math.ceil(share * len(texts)))
    chosen = np.random.default_rng(seed).choice(len(texts), size=count, replace=False)
    return [texts[index] for index in sorted(chosen)]


def check_error(verified: Verified, folder: Path, teacher: str) -> None:
    """Raises ValueError where the errors are more than the rounding of that teacher's signal."""
    if not max(verified.mean_error, verified.largest_target_error_nats / 100) <= LARGEST_MEAN:
        raise ValueError(
            f"{folder} doesn't match {teacher}: the mean error of {verified.tokens} tokens is "
            f"{verified.mean_error:.3g}, the largest {verified.largest_error:.3g}; delete it and "
            "run again"
        )


def run(options: VerifyCacheOptions) -> None:
    """Prints how far a cache is from its teacher."""
    torch.set_num_threads(options.threads)
    folder, metadata = options.cache, read_metadata(options.cache)
    manifest = artifact.read_json(folder / artifact.MANIFEST)
    teacher = artifact.read_id(options.teacher)
    if manifest["inputs"]["teacher"] != teacher:
        raise ValueError(
            f"{folder} was made from {manifest['inputs']['teacher']}, not from {teacher} "
            f"({options.teacher}): give its own teacher"
        )
    check_cache(folder, artifact.read_id(options.tokens), metadata.vocabulary)
    vocabulary.check_teacher(options.teacher, options.tokens)
    settings = CacheJob.model_validate(manifest["settings"])
    splits = [options.tokens / f"{split}.parquet" for split in settings.splits]
    texts = read_all_texts(splits, "gold")
    model = load_frozen(options.teacher, default_device(), settings.precision)
    verified = compare(
        open_cache(folder, settings.splits, metadata),
        LiveTeacher(model, settings.precision),
        draw_texts(texts, options.share, options.seed),
        metadata,
        settings.seed,
        options.micro_batch_tokens,
    )
    log(
        f"{folder}: {verified.texts} of {len(texts)} texts, {verified.tokens} tokens, "
        f"tier {metadata.tier}: largest error {verified.largest_error:.3g}, mean "
        f"{verified.mean_error:.3g}; of the next token's log-probability "
        f"{verified.largest_target_error_nats:.3g} nats at most"
    )
    check_error(verified, folder, teacher)
