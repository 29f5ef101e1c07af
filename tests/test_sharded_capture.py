"""The cache of a teacher in shares over two ranks is, byte for byte, that of a whole teacher."""

from dataclasses import replace
from pathlib import Path

import pytest
import shelf
from gang import on_ranks
from players import llama, texts

from pipeline.artifacts.artifact import Job, read_json
from pipeline.stages import cache_teacher
from pipeline.stages.options import CacheTeacherOptions

SHARD_TEXTS, TEXTS = 8, 44  # six shards, which take several passes each and not equally many
POSITIONS = 40  # in a micro-batch

pytestmark = pytest.mark.xdist_group("ranks")


def options_of(folder: Path, settings: dict[str, object]) -> CacheTeacherOptions:
    return CacheTeacherOptions(
        job=Job("tiny-cache", "0a1b2c3d", settings | {"splits": ["train"]}),
        out=folder / "cache",
        teacher=shelf.put_model(folder / "teacher", llama(0, layers=2)),
        tokens=shelf.put_texts(folder / "tokens", texts(TEXTS)),
        state=folder / "state",
        micro_batch_tokens=POSITIONS,
    )


@pytest.mark.parametrize(
    "settings",
    [{"k": 4, "shard_texts": SHARD_TEXTS}, {"tier": "hidden", "shard_texts": SHARD_TEXTS}],
)
def test_a_cache_in_shares_has_the_same_bytes(settings: dict[str, object], tmp_path: Path) -> None:
    options = options_of(tmp_path, settings)
    shares = replace(options, sharded=True, out=tmp_path / "of two", state=tmp_path / "state-2")
    cache_teacher.run(options)
    on_ranks(2, lambda _ranks: cache_teacher.run(shares))
    files = sorted(path.name for path in options.out.iterdir() if path.suffix != ".json")
    assert len([name for name in files if name.endswith(".parquet")]) == 6
    for name in files:
        assert (options.out / name).read_bytes() == (shares.out / name).read_bytes(), name
    verified = [read_json(made.out / "manifest.json")["verified"] for made in (options, shares)]
    assert verified[0] == verified[1]


def test_one_rank_has_nobody_to_share_with(tmp_path: Path) -> None:
    options = replace(options_of(tmp_path, {"k": 4}), sharded=True)
    with pytest.raises(ValueError, match="a job of one rank shares its weights with no other"):
        cache_teacher.run(options)
