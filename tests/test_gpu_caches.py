"""Caches and evaluations on a pretended GPU: they say what they say on a CPU, in float32."""

import math
from pathlib import Path
from typing import Any, get_args

import pytest
import shelf
import test_heldout
import torch
from lm_eval.api.instance import Instance
from players import llama, texts
from pretend_ledger import Ledger
from pretend_runtime import on_gpu
from test_gpu_training import beyond

from pipeline.artifacts import artifact
from pipeline.data.batch import collate
from pipeline.evaluation import exposure_bias, heldout
from pipeline.evaluation.lm_eval_model import CheckpointLM
from pipeline.evaluation.records import EvaluationRecords
from pipeline.models.teacher import LiveTeacher, Teacher
from pipeline.settings.teacher import CacheJob, TierName
from pipeline.stages import cache_teacher as stage
from pipeline.stages.options import CacheTeacherOptions
from pipeline.teacher_cache.capture import Capture
from pipeline.teacher_cache.reader import open_cache

TIERS: dict[str, dict[str, Any]] = {
    "top_k": {"k": 8},
    "hidden": {"tier": "hidden"},
    "sampled": {"draws": 16},
}
BUDGET = 60  # positions in a micro-batch, of which there are several
STORED = {torch.float32, torch.float16, torch.int32, torch.int64}
# what may make the host wait in a pass over texts: how often a micro-batch, and why it must
CAPTURE_WAITS = {
    "item pipeline/distributions/ranking.py:top_tokens": (
        1,
        "whether any are tied: to sort all of them is dearer",
    )
}
HELD_OUT_WAITS = {
    "item pipeline/distributions/ranking.py:top_tokens": (
        3,
        "the same, of a student and two teachers",
    ),
    "copy to the host pipeline/evaluation/heldout.py:_array": (15, "three measures, six a teacher"),
}


def test_every_tier_is_tried():
    assert set(TIERS) == set(get_args(TierName))


def cache(folder: Path, settings: dict[str, Any]) -> Path:
    """A cache as the stage makes it, where it finds a GPU or none."""
    inputs = {
        "teacher": shelf.put_model(folder / "teacher", llama(7)),
        "tokens": shelf.put_texts(folder / "tokens", texts(20)),
    }
    job = artifact.Job(
        id="cache", code="", settings=CacheJob(**settings, splits=["train"]).model_dump()
    )
    state, out = folder / "state", folder / "cache"
    stage.run(
        CacheTeacherOptions(job=job, state=state, out=out, micro_batch_tokens=BUDGET, **inputs)
    )
    return out


@pytest.mark.parametrize("tier", TIERS)
def test_a_cache_is_captured_written_and_read_as_its_teacher(
    tier: str, tmp_path: Path, gpu: Ledger
):
    made = cache(tmp_path, TIERS[tier])
    assert not gpu.rounded
    told = artifact.read_json(made / artifact.MANIFEST)["verified"]
    # the teacher is read again in other batches, in bfloat16: some draws come up otherwise
    assert told["mean_error"] < (0.05 if tier == "sampled" else 2e-3)

    batch, cpu = collate(texts(20), torch.device("cuda:0")), collate(texts(20), torch.device("cpu"))
    cached = open_cache(made, ["train"])
    here, there = cached.signal(cpu), cached.signal(batch)
    assert here.log_probs.dtype == there.log_probs.dtype == torch.float32
    exact = LiveTeacher(llama(7)).signal(cpu).log_probs.gather(-1, cpu.next_ids[:, None])[:, 0]
    stored = torch.from_numpy(cached.reader.rows(cpu.texts)["target"])
    assert (stored - exact).abs().mean() < 0.03  # a teacher in bfloat16, and one in float32


def assert_kept(tier: str, gpu: Ledger) -> None:
    """What is kept of a teacher can be stored, and is on the host, which has hardly waited."""
    capture = Capture(on_gpu(llama(7)), CacheJob(**TIERS[tier]), BUDGET)
    next(capture.batches(texts(2)))  # what is made once
    gpu.clear()
    kept = [part for batch in capture.batches(texts(20)) for part in batch.chunks]
    assert len(kept) > 2
    assert {value.dtype for part in kept for value in part.values()} <= STORED
    assert not any(value.is_cuda for part in kept for value in part.values())
    assert not beyond(gpu.waits, CAPTURE_WAITS, len(kept))
    assert not gpu.rounded


@pytest.mark.parametrize("tier", TIERS)
def test_what_is_kept_of_a_teacher_is_not_in_bfloat16_and_is_not_waited_for(tier: str, gpu: Ledger):
    assert_kept(tier, gpu)


def means(records: EvaluationRecords) -> dict[tuple[str, ...], float]:
    """Of the items of each metric, weighted."""
    values: dict[tuple[str, ...], list[tuple[float, float]]] = {}
    for row in records.items.to_pylist():
        key = (row["metric"], row["slice"], row["teacher"])
        values.setdefault(key, []).append((row["value"], row["weight"]))
    return {
        key: sum(value * weight for value, weight in pairs) / sum(weight for _, weight in pairs)
        for key, pairs in values.items()
    }


def test_held_out_measures_are_those_of_the_cpu(tmp_path: Path, gpu: Ledger):
    asked = texts(20)
    stored = open_cache(cache(tmp_path, TIERS["top_k"]), ["train"])
    teachers: dict[str, Teacher] = {"stored": stored, "live": LiveTeacher(llama(7))}
    expected = means(heldout.measure(llama(3), asked, teachers, BUDGET))

    student, teachers["live"] = on_gpu(llama(3)), LiveTeacher(on_gpu(llama(7)))
    heldout.measure(student, asked[:2], teachers, BUDGET)  # what is made once
    gpu.clear()
    measured = means(heldout.measure(student, asked, teachers, BUDGET))
    batches = sum(1 for _ in Capture(llama(3), CacheJob(tier="hidden"), BUDGET).batches(asked))
    assert not beyond(gpu.waits, HELD_OUT_WAITS, batches)
    assert not gpu.rounded
    assert measured.keys() == expected.keys()
    for key, value in expected.items():
        agreement = "agreement" in key[0]  # of 60 tokens, one may have two that are as likely
        assert measured[key] == pytest.approx(value, rel=0.02, abs=0.05 if agreement else 0.01), key


def test_exposure_is_measured_on_texts_that_a_gpu_writes(gpu: Ledger):
    student, teacher = on_gpu(llama(3)), on_gpu(llama(7))
    records = exposure_bias.measure(
        student, teacher, "one", texts(6), max_new_tokens=5, seed=1, max_tokens=BUDGET
    )
    assert not gpu.rounded
    assert not gpu.forbidden
    assert all(math.isfinite(value) for value in means(records).values())


def test_lm_eval_is_told_what_a_cpu_tells_it(gpu: Ledger):
    here, there = (
        CheckpointLM(model, test_heldout.WORDS, BUDGET)
        for model in (test_heldout.model(1), on_gpu(test_heldout.model(1)))
    )
    likelihoods = [Instance("loglikelihood", {}, pair, 0) for pair in test_heldout.PAIRS]
    for expected, answer in zip(
        here.loglikelihood(likelihoods), there.loglikelihood(likelihoods), strict=True
    ):
        assert answer[0] == pytest.approx(expected[0], rel=0.02)  # bfloat16
    options = {"until": ["."], "max_gen_toks": 8}
    asked = [
        Instance("generate_until", {}, (prompt, options), 0) for prompt, _ in test_heldout.PAIRS
    ]
    assert len(there.generate_until(asked)) == len(asked)
    assert not gpu.rounded
    assert not gpu.forbidden
