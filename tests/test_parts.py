"""An artifact that several jobs make in parts: the same bytes as from one, whatever happened."""

import contextlib
import multiprocessing
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import shelf
from gang import on_ranks
from players import llama, texts

from pipeline.artifacts.artifact import MANIFEST, Job, read_json
from pipeline.artifacts.lock import acquire_lock, release_locks
from pipeline.artifacts.part import Part, of_marker
from pipeline.stages import cache_teacher
from pipeline.stages.options import CacheTeacherOptions

SETTINGS = {"k": 4, "splits": ["train"], "shard_texts": 8}
TEXTS, SHARDS = 60, 8
FORK = multiprocessing.get_context("fork")


@dataclass(frozen=True)
class Place:
    """A folder of results, with all that a cache is made from."""

    folder: Path

    @property
    def options(self) -> CacheTeacherOptions:
        return CacheTeacherOptions(
            job=Job("tiny-cache", "0a1b2c3d", SETTINGS),
            out=self.folder / "caches/tiny-cache",
            teacher=self.folder / "teacher",
            tokens=self.folder / "tokens",
            state=self.folder / "state/tiny-cache",
        )

    def make(self, part: str | None = None, code: str = "0a1b2c3d") -> None:
        """The job of a part, or of the whole."""
        job = replace(self.options.job, code=code)
        named = Part.of_text(part) if part else None
        try:
            cache_teacher.run(replace(self.options, job=job, part=named))
        finally:
            release_locks()

    def shards(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.options.out.glob("*.parquet")}

    def pieces(self) -> dict[str, int]:
        """The finished shards, each with what tells one making of it from another."""
        found = self.options.state.glob("*.parquet")
        return {path.name: (path / path.name).stat().st_ino for path in sorted(found)}


@contextlib.contextmanager
def held(target: Path) -> Iterator[None]:
    """Another process makes what stands under this path."""
    locked, done = FORK.Event(), FORK.Event()

    def hold() -> None:
        acquire_lock(target, print)
        locked.set()
        done.wait()
        release_locks()

    other = FORK.Process(target=hold)
    other.start()
    locked.wait()
    yield
    done.set()
    other.join()


def at(folder: Path) -> Place:
    shelf.put_model(folder / "teacher", llama(7))
    shelf.put_texts(folder / "tokens", texts(TEXTS))
    return Place(folder)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The shards of a cache that one job has made."""
    one = at(tmp_path_factory.mktemp("whole"))
    one.make()
    return one.shards()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return at(tmp_path)


def test_a_cache_in_parts_is_that_of_one_job_byte_for_byte(place: Place, whole: dict[str, bytes]):
    for part in ("3/3", "1/3", "2/3"):
        place.make(part)
        assert not place.options.out.exists()
    pieces = place.pieces()
    assert len(pieces) == len(whole) == SHARDS
    place.make()
    assert place.shards() == whole
    found = {path.name: path.stat().st_ino for path in place.options.out.glob("*.parquet")}
    assert found == pieces  # none was made again
    assert not place.options.state.exists()


def test_parts_run_side_by_side(place: Place, whole: dict[str, bytes]):
    jobs = [FORK.Process(target=place.make, args=(f"{part}/4",)) for part in (1, 2, 3, 4)]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    assert [job.exitcode for job in jobs] == [0, 0, 0, 0]
    assert len(place.pieces()) == SHARDS
    place.make()
    assert place.shards() == whole


def test_ranks_share_the_pieces_of_a_part(place: Place, whole: dict[str, bytes]):
    for part in ("1/2", None):
        on_ranks(2, lambda _, part=part: place.make(part))
        assert len(place.pieces()) == (SHARDS // 2 if part else 0)
    assert place.shards() == whole


def test_what_an_older_cut_has_finished_is_not_made_again(place: Place, whole: dict[str, bytes]):
    place.make("1/4")
    before = place.pieces()
    place.make("1/3")
    after = place.pieces()
    assert before.items() < after.items()
    assert len(after) == 2 + 3 - 1  # the first shard is in both shares
    place.make()
    assert place.shards() == whole


def test_a_part_that_failed_is_made_again_alone(place: Place, whole: dict[str, bytes]):
    for part in ("1/3", "3/3"):
        place.make(part)
    before = place.pieces()
    teacher = place.folder / "teacher"
    teacher.rename(teacher.with_name("hidden"))
    with pytest.raises((OSError, ValueError)):
        place.make("2/3")
    assert not Part(2, 3).marker(place.options.state, place.options.out).exists()
    teacher.with_name("hidden").rename(teacher)
    place.make("2/3")
    assert before.items() < place.pieces().items()
    place.make()
    assert place.shards() == whole


def test_pieces_of_other_code_are_dropped(place: Place, whole: dict[str, bytes]):
    place.make("1/2", code="ffffffff")
    stale = place.pieces()
    place.make("1/2")
    assert stale.keys() == place.pieces().keys()
    assert not stale.items() & place.pieces().items()
    place.make()
    assert place.shards() == whole


def test_a_damaged_piece_is_made_again_by_the_whole(place: Place, whole: dict[str, bytes]):
    for part in ("1/2", "2/2"):
        place.make(part)
    name = min(place.pieces())
    file = place.options.state / name / name
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    place.make()
    assert place.shards() == whole


def test_a_marker_says_of_what_it_is_and_names_its_pieces(place: Place):
    place.make("2/4")
    marker = Part(2, 4).marker(place.options.state, place.options.out)
    assert of_marker(marker) == (place.options.out, Part(2, 4))
    assert of_marker(place.options.out) is None
    manifest = read_json(marker / MANIFEST)
    assert manifest["pieces"] == ["train-00001.parquet", "train-00005.parquet"]
    assert manifest["code"] == "0a1b2c3d"


@pytest.mark.parametrize("waiting", [None, "1/2", "2/3"])
def test_the_whole_and_other_cuts_wait_for_a_part_that_is_being_made(
    place: Place, waiting: str | None
):
    marker = Part(1, 2).marker(place.options.state, place.options.out)
    with held(marker):
        job = FORK.Process(target=place.make, args=(waiting,))
        job.start()
        job.join(0.5)
        assert job.is_alive()
        assert not place.pieces()
    job.join()
    assert job.exitcode == 0


def test_a_part_waits_for_the_whole_that_is_being_made(place: Place):
    with held(place.options.out):
        job = FORK.Process(target=place.make, args=("1/2",))
        job.start()
        job.join(0.5)
        assert job.is_alive()
        assert not place.pieces()
    job.join()
    assert job.exitcode == 0


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "1/0", "a/b", "-1/3"])
def test_what_is_no_part_is_refused(text: str):
    with pytest.raises(ValueError, match="is no part; allowed: 1/8, 2/8"):
        Part.of_text(text)
