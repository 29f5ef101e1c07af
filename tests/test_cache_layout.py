"""What a cache's numbers are rounded to, and the bytes that they are kept as."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from pipeline.artifacts import artifact
from pipeline.teacher_cache import packing
from pipeline.teacher_cache.format import layout
from pipeline.teacher_cache.metadata import FORMAT, Facts, read_facts
from pipeline.teacher_cache.packing import STEP


def test_log_probabilities_are_off_by_half_a_step_and_unlikely_ones_by_a_whole_one():
    exact = np.linspace(-20, 0, 10_001)
    stored = packing.log_probs(torch.from_numpy(packing.steps(exact))).numpy()
    error = np.abs(stored - exact)
    slack = 1e-12  # of double precision
    assert error[exact >= -6].max() <= STEP / 2 + slack
    assert STEP / 2 < error[exact < -6].max() <= STEP + slack
    assert (np.diff(stored) >= 0).all()


@pytest.mark.parametrize("vocabulary", [60_000, 70_000])  # ids of two bytes, and of more
@pytest.mark.parametrize("k", [4, 256, 257])  # columns of a byte, and of more
def test_a_part_of_a_block_is_what_was_put_there(vocabulary: int, k: int):
    kind = layout(Facts("top_k", vocabulary, [], k=k))
    draw = np.random.default_rng(0)
    numbers = {
        one.name: draw.integers(0, 30_000, (10, one.width)).astype(one.dtype)
        for one in kind.columns
    }
    numbers["gaps"][5, :3] = [0, 1, vocabulary - 4]
    numbers["likeliest"][5, :3] = [0, 1, k - 1]
    block = kind.unpacked(pa.py_buffer(kind.packed(kind.planes(numbers))), 10)
    found = kind.numbers([kind.part(block, 4, 9), kind.part(block, 0, 2)])
    for name, values in numbers.items():
        np.testing.assert_array_equal(found[name], values[[4, 5, 6, 7, 8, 0, 1]])


def test_numbers_that_a_column_cannot_hold_are_refused():
    kind = layout(Facts("sampled", 100, [], draws=3))
    numbers = {name: np.ones((2, 1)) for name in ("target", "distinct")}
    with pytest.raises(ValueError, match="counts: 1 to 65536 exceed <u2"):
        kind.planes(numbers | {"gaps": np.array([1, 2]), "counts": np.array([1, 1 << 16])})


def manifest_of(folder: Path, said: dict[str, object]) -> Path:
    """The manifest of a cache, with its facts as `said`."""
    path = folder / artifact.MANIFEST
    artifact.write_json(path, said)
    return path


@pytest.mark.parametrize("other", [FORMAT - 1, FORMAT + 1])
def test_shards_of_another_format_are_not_read(tmp_path: Path, other: int):
    told = Facts("top_k", 100, ["train-00000.parquet"], k=4)
    path = manifest_of(tmp_path, told.manifest())
    assert read_facts(tmp_path) == told
    manifest_of(tmp_path, told.manifest() | {"format": other})
    with pytest.raises(ValueError, match=f"{path}: format = {other} of a cache, {FORMAT} is read"):
        read_facts(tmp_path)


def test_a_cache_from_before_formats_had_numbers_is_not_read(tmp_path: Path):
    said = Facts("top_k", 100, ["train-00000.parquet"], k=4).manifest()
    del said["format"]
    manifest_of(tmp_path, said)
    with pytest.raises(ValueError, match=r"lacks \['format'\]: delete"):
        read_facts(tmp_path)
