"""The files of a cache: plain columns that pandas reads, exact within the stated rounding."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from players import llama, texts

from pipeline.artifacts import artifact
from pipeline.settings.teacher import CacheJob
from pipeline.stages import cache_teacher
from pipeline.teacher_cache import writer
from pipeline.teacher_cache.capture import Capture, CapturedBatch
from pipeline.teacher_cache.format import (
    FORMAT,
    STEP_NATS,
    CacheMetadata,
    dequantize,
    quantize,
    read_metadata,
    read_order,
)
from pipeline.teacher_cache.reader import open_cache

FILE = "train-00000.parquet"


def test_log_probabilities_are_off_by_half_a_step_and_unlikely_ones_by_a_whole_one():
    exact = np.linspace(-20, 0, 10_001)
    stored = dequantize(torch.from_numpy(quantize(exact)).double()).numpy()
    error = np.abs(stored - exact)
    slack = 1e-12  # of double precision
    assert error[exact >= -6].max() <= STEP_NATS / 2 + slack
    assert STEP_NATS / 2 < error[exact < -6].max() <= STEP_NATS + slack
    assert (np.diff(stored) >= 0).all()


def test_pandas_reads_token_ids_and_log_probabilities_by_the_documented_lines(tmp_path: Path):
    job = CacheJob(k=8)
    metadata = cache_teacher.cache_metadata(llama(7), job, [FILE])
    captured = list(Capture(llama(7), job, 10_000).batches(texts(20)))
    writer.write(tmp_path / FILE, captured, metadata)

    cache = pd.read_parquet(tmp_path / FILE)
    vocabulary = read_order(pq.read_schema(tmp_path / FILE).metadata, metadata.vocabulary)
    top_ids = cache["top_positions"].map(lambda positions: vocabulary[positions])
    steps = cache["log_prob_drops"].map(lambda drops: np.cumsum(drops, dtype=float))
    log_probs = steps.map(lambda steps: -(steps + np.maximum(steps - 384, 0)) / 64)

    chunks = [chunk for batch in captured for chunk in batch.chunks]
    np.testing.assert_array_equal(
        np.stack(top_ids.to_list()), np.concatenate([chunk["ids"] for chunk in chunks])
    )
    exact = np.concatenate([chunk["log_probs"] for chunk in chunks])
    np.testing.assert_allclose(np.stack(log_probs.to_list()), exact, atol=STEP_NATS, rtol=0)
    response_ids = [id for batch in captured for text in batch.texts for id in text.response_ids]
    assert cache["token_id"].to_list() == response_ids
    assert set(cache["example_id"]) == {text.example_id for text in texts(20)}


@pytest.mark.parametrize("vocabulary", [60_000, 70_000])  # ids of two bytes, and of more
def test_ids_of_any_size_are_read_as_they_were_written(tmp_path: Path, vocabulary: int):
    draw, own = np.random.default_rng(0), texts(10)
    tokens = sum(len(text.response_ids) for text in own)
    ids = np.stack([draw.choice(vocabulary, 7, replace=False) for _ in range(tokens)])
    ids[0, :3] = [0, 1, vocabulary - 1]
    chunk = {
        "ids": torch.from_numpy(ids),
        "log_probs": -torch.arange(1.0, 8).expand(tokens, -1),
        "target": torch.full((tokens,), -0.5),
        "rank": torch.zeros(tokens, dtype=torch.int64),
        "rest": torch.full((tokens,), -3.0),
    }
    metadata = CacheMetadata("top_k", vocabulary, [FILE], k=8)
    writer.write(tmp_path / FILE, [CapturedBatch(own, [chunk], None)], metadata)
    rows = open_cache(tmp_path, ["train"], metadata).reader.rows(own)
    np.testing.assert_array_equal(np.sort(rows["ids"]), np.sort(ids))
    response_ids = [id for text in own for id in text.response_ids]
    likeliest = np.column_stack([response_ids, ids[:, :4]])
    np.testing.assert_array_equal(rows["top_ids"], likeliest)


def test_numbers_that_a_column_cannot_hold_are_refused(tmp_path: Path):
    (text,) = texts(1)
    tokens = len(text.response_ids)
    chunk = {
        "ids": torch.ones(tokens, 1, dtype=torch.int64),
        "counts": torch.full((tokens, 1), 1 << 16),
        "target": torch.zeros(tokens),
    }
    metadata = CacheMetadata("sampled", 100, [FILE], draws=3)
    with pytest.raises(ValueError, match="65536"):
        writer.write(tmp_path / FILE, [CapturedBatch([text], [chunk], None)], metadata)


@pytest.mark.parametrize("other", [FORMAT - 1, FORMAT + 1])
def test_files_of_another_format_are_not_read(tmp_path: Path, other: int):
    metadata, path = CacheMetadata("top_k", 100, [FILE], k=4), tmp_path / artifact.MANIFEST
    artifact.write_json(path, asdict(metadata))
    assert read_metadata(tmp_path) == metadata
    artifact.write_json(path, asdict(metadata) | {"format": other})
    with pytest.raises(ValueError, match=f"{path}: format = {other}"):
        read_metadata(tmp_path)


def test_a_cache_from_before_formats_had_numbers_is_not_read(tmp_path: Path):
    entries = asdict(CacheMetadata("top_k", 100, [FILE], k=4))
    del entries["format"]
    artifact.write_json(tmp_path / artifact.MANIFEST, entries)
    with pytest.raises(ValueError, match=r"lacks \['format'\]"):
        read_metadata(tmp_path)
