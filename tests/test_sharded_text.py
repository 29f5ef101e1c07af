"""A teacher in shares over two ranks writes what a whole one writes, on one rank and on two."""

from dataclasses import replace
from pathlib import Path

import pytest
import shelf
from gang import on_ranks
from players import llama, texts

from pipeline.artifacts.artifact import MANIFEST, Job, read_json
from pipeline.data.batch import read_texts
from pipeline.settings.generation import TextJob
from pipeline.stages import generate
from pipeline.stages.options import GenerateOptions

TEXTS, CHUNK = 22, 5  # three chunks for the first rank, two for the other, of unequal passes

pytestmark = pytest.mark.xdist_group("ranks")


def options_of(folder: Path) -> GenerateOptions:
    return GenerateOptions(
        job=Job("texts", "x", TextJob(max_new_tokens=12, seed=3).model_dump()),
        out=folder / "of one",
        teacher=shelf.put_model(folder / "teacher", llama(1, layers=2)),
        tokens=shelf.put_texts(folder / "tokens", texts(TEXTS)),
        state=folder / "state",
    )


def test_text_does_not_depend_on_ranks_and_shares(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generate, "CHUNK", CHUNK)
    options = options_of(tmp_path)
    whole = replace(options, out=tmp_path / "of two", state=tmp_path / "state-2")
    shares = replace(whole, sharded=True, out=tmp_path / "in shares", state=tmp_path / "state-3")
    generate.run(options)
    on_ranks(2, lambda _ranks: generate.run(whole))
    on_ranks(2, lambda _ranks: generate.run(shares))

    alone, of_two, in_shares = (
        read_texts(made.out / "train.parquet", "teacher") for made in (options, whole, shares)
    )
    assert len(alone) == TEXTS
    assert list(of_two) == list(alone)
    for text, expected in zip(in_shares, alone, strict=True):
        assert (text.example_id, list(text.response_ids), text.ended) == (
            expected.example_id,
            list(expected.response_ids),
            expected.ended,
        )
        # float32: another forward pass than that of a small whole Llama, rounded at other places
        assert text.log_probs == pytest.approx(expected.log_probs, abs=1e-5)
    manifests = [read_json(made.out / MANIFEST) for made in (options, whole, shares)]
    assert [manifest.get("ranks") for manifest in manifests] == [None, 2, 2]
    assert len({manifest["tokens"] for manifest in manifests}) == 1


def test_one_rank_has_nobody_to_share_with(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a job of one rank shares its weights with no other"):
        generate.run(replace(options_of(tmp_path), sharded=True))
