"""The stage that writes a teacher's cache, and what reads and checks it."""

import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import shelf
import torch
from players import CPU, Setup, llama, run, schooled, texts
from stage_commands import job_file, run_stage
from test_cache_tiers import cached

from pipeline.artifacts import artifact
from pipeline.data.batch import Text, collate
from pipeline.distributions.divergences import kl
from pipeline.distributions.log_probs import log_probs_on
from pipeline.methods.catalogue import METHODS
from pipeline.models.logits import LogitScaling
from pipeline.models.teacher import LiveTeacher
from pipeline.settings.teacher import CacheJob
from pipeline.stages import verify_cache
from pipeline.stages.options import VerifyCacheOptions
from pipeline.teacher_cache import writer
from pipeline.teacher_cache.capture import CapturedBatch
from pipeline.teacher_cache.format import CacheMetadata
from pipeline.teacher_cache.lm_head import LMHead
from pipeline.teacher_cache.reader import CacheReader, open_cache
from pipeline.teacher_cache.tiers import Hidden
from pipeline.training.loop import train
from pipeline.training.state import TrainingRun, initial_state

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("teacher_cache")]

COUNT = 500  # texts: their tokens need more than one shard
READ = [name for name, method in METHODS.items() if method.policy == "fixed" and not method.update]


@dataclass(frozen=True)
class Shelf:
    """A teacher, its texts and its cache."""

    teacher: Path
    tokens: Path
    cache: Path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    """A cache of three shards, as the stage writes it."""
    folder = tmp_path_factory.mktemp("results")
    teacher = shelf.put_model(folder / "teacher", llama(7))
    tokens = shelf.put_texts(folder / "tokens", texts(COUNT))
    settings = {"k": 8, "splits": ["train"], "shard_texts": 240}
    job, cache = job_file(folder / "job.json", "cache", settings), folder / "cache"
    state = folder / "state"
    done = run_stage(
        "cache_teacher", job=job, teacher=teacher, tokens=tokens, state=state, out=cache
    )
    assert done.returncode == 0, done.stderr
    return Shelf(teacher, tokens, folder / "cache")


def some(*places: int) -> list[Text]:
    pool = texts(COUNT)
    return [pool[place] for place in places]


def test_texts_of_all_shards_are_found_in_any_order(made: Shelf):
    batch = collate(some(499, 3, 250, 0, 251, 420), CPU)
    stored = open_cache(made.cache, ["train"]).signal(batch)
    exact = log_probs_on(LiveTeacher(llama(7)).logits(batch), stored.support)
    assert kl(exact, stored.log_probs).max() < 1e-4
    assert stored.support.ids[:, 0].equal(batch.next_ids)


def test_little_memory_reads_the_same_as_much(made: Shelf):
    little, much = (
        open_cache(made.cache, ["train"], memory_bytes=memory) for memory in (2000, 1 << 30)
    )
    for places in ((0, 499), (250, 1), (499, 300), (0, 7)):
        batch = collate(some(*places), CPU)
        assert little.signal(batch).log_probs.equal(much.signal(batch).log_probs)
        assert 0 <= little.reader.decoded_bytes <= 2000
    assert not little.reader.decoded  # a row group is larger
    assert much.reader.decoded_bytes > 2000


def test_a_text_that_is_asked_for_twice_is_there_twice(made: Shelf):
    cached = open_cache(made.cache, ["train"])
    stored = cached.signal(collate(some(3, 250, 3), CPU)).log_probs
    once = cached.signal(collate(some(3, 250), CPU)).log_probs
    assert stored.equal(torch.cat([once, once[: len(some(3)[0].response_ids)]]))


def test_texts_are_found_in_any_row_group(tmp_path: Path):
    width, own = 4096, [replace(text, response_ids=[1] * 50) for text in texts(50)]
    states = torch.randn(len(own) * 50, width, generator=torch.Generator().manual_seed(0)).half()
    facts = CacheMetadata("hidden", 2, ["train-0.parquet"])
    parts = {
        "states": states,
        "target": states[:, 0].float(),
        "top_ids": torch.zeros(len(states), 2, dtype=torch.int32),
    }
    writer.write(tmp_path / facts.shards[0], [CapturedBatch(own, [parts], None)], facts)
    assert pq.ParquetFile(tmp_path / facts.shards[0]).num_row_groups > 1

    head = LMHead(torch.nn.Linear(width, 2), LogitScaling())
    reader = CacheReader(tmp_path, [tmp_path / facts.shards[0]], Hidden(facts, head), 0)
    stored = torch.from_numpy(reader.rows(own)["states"])
    assert stored.equal(states)


def test_threads_read_the_same_as_one(made: Shelf):
    teacher = open_cache(made.cache, ["train"], memory_bytes=1)
    batches = [collate(some(index, COUNT - 1 - index), CPU) for index in range(0, 240, 6)]
    with ThreadPoolExecutor(4) as pool:
        signals = list(pool.map(teacher.signal, batches))
    assert all(
        signal.log_probs.equal(teacher.signal(batch).log_probs)
        for signal, batch in zip(signals, batches, strict=True)
    )


def test_the_manifest_says_how_far_a_share_is_from_the_teacher(made: Shelf):
    told = artifact.read_json(made.cache / artifact.MANIFEST)["verified"]
    assert told["texts"] == 5  # 1 % of them
    assert 0 < told["mean_error"] < 1.1e-5
    assert told["mean_error"] < told["largest_error"] < 1e-4
    assert told["largest_target_error_nats"] < 1e-5  # that is stored in single precision


def test_verify_prints_the_largest_error(made: Shelf):
    files = {"teacher": made.teacher, "tokens": made.tokens, "cache": made.cache}
    done = run_stage("verify_cache", "--share", "0.2", **files)
    assert done.returncode == 0, done.stderr
    line = done.stderr.splitlines()[-1]
    assert line.startswith(f"{made.cache}: 100 of 500 texts, ")
    assert 0 < float(line.partition("largest error ")[2].partition(",")[0]) < 1e-4


def test_verify_refuses_another_teacher(made: Shelf, tmp_path: Path):
    other = shelf.put_model(tmp_path / "other", llama(7))
    message = f"{made.cache} was made from teacher, not from other ({other})"
    with pytest.raises(ValueError, match=re.escape(message)):
        verify_cache.run(VerifyCacheOptions(made.cache, other, made.tokens))


def test_verify_refuses_what_is_not_the_signal_of_its_teacher(made: Shelf, tmp_path: Path):
    changed = shelf.put_model(tmp_path / "teacher", llama(8))
    message = f"{made.cache} doesn't match teacher: the mean error of "
    with pytest.raises(ValueError, match=re.escape(message)):
        verify_cache.run(VerifyCacheOptions(made.cache, changed, made.tokens))


def test_a_text_with_another_response_is_refused(made: Shelf):
    teacher = open_cache(made.cache, ["train"])
    (text,) = some(5)
    other = replace(text, response_ids=[*text.response_ids[:-1], 9])
    with pytest.raises(ValueError, match="another response for example example-5"):
        teacher.signal(collate([other], CPU))
    with pytest.raises(ValueError, match="has no signal for example unknown"):
        teacher.signal(collate([replace(text, example_id="unknown")], CPU))


@pytest.mark.parametrize("method", READ)
def test_every_loss_on_hidden_states_is_that_on_the_live_teacher(method: str, tmp_path: Path):
    live = run(Setup(method, steps=2))
    if live.teacher is None:
        pytest.skip("it reads no signal")
    written = replace(live, teacher=cached(tmp_path, CacheJob(tier="hidden"), schooled()))
    fresh = replace(written, student=run(Setup(method, steps=2)).student)
    expected, losses = (losses_of(player) for player in (live, fresh))
    # a state is stored to 2^-12 of itself
    assert losses == pytest.approx(expected, rel=1e-2)


def losses_of(player: TrainingRun) -> list[float]:
    state = initial_state(player)
    list(train(player, state))
    return [row["loss_nats"] for row in state.rows]


def test_the_head_of_hidden_states_is_counted_as_the_teacher_s_work(tmp_path: Path):
    teacher, batch = cached(tmp_path, CacheJob(tier="hidden")), collate(texts(20), CPU)
    work = teacher.count()
    teacher.signal(batch)
    assert work.scored_tokens == batch.token_count
    assert work.flops == 2 * 32 * 16 * batch.token_count  # vocabulary x width
    assert work.positions == 0


def test_hidden_states_beyond_half_precision_are_refused(tmp_path: Path):
    model = llama(7)
    with torch.no_grad():
        model.model.norm.weight.mul_(1e6)
    with pytest.raises(ValueError, match=r"do not fit half precision; set teacher_cache.tier = "):
        cached(tmp_path, CacheJob(tier="hidden"), model)


def test_damage_after_a_cache_was_opened_is_noticed_by_the_read_of_its_page(
    made: Shelf, tmp_path: Path
):
    cache = shutil.copytree(made.cache, tmp_path / "results/caches/cache")
    teacher = open_cache(cache, ["train"])
    shard = cache / "train-00000.parquet"
    column = pq.ParquetFile(shard).metadata.row_group(0).column(5)
    with shard.open("r+b") as file:
        file.seek(column.data_page_offset + column.total_compressed_size - 8)
        file.write(b"nonsense")
    with pytest.raises(ValueError, match=r"is damaged: .* is now .*: run again"):
        teacher.signal(collate(some(0, 1, 2), CPU))
    assert not cache.exists()
