"""An artifact that several jobs make in parts: the same bytes as from one, whatever happened."""

import shutil
from pathlib import Path

import pytest
import test_evaluate
from gang import on_ranks
from part_jobs import FORK, SHARDS, Place, evaluation_of, held, place_with_inputs, texts_of

from pipeline.artifacts.artifact import MANIFEST, read_json
from pipeline.artifacts.part import Part, of_marker


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The shards of a cache that one job has made."""
    place = place_with_inputs(tmp_path_factory.mktemp("whole"))
    place.make()
    return place.shards()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return place_with_inputs(tmp_path)


def test_a_cache_in_parts_is_that_of_one_job_byte_for_byte(place: Place, whole: dict[str, bytes]):
    for part in ("3/3", "1/3", "2/3"):
        place.make(part)
        assert not place.options.out.exists()
    pieces = place.pieces()
    assert len(pieces) == len(whole) == SHARDS
    place.make()
    assert place.shards() == whole
    inodes = {path.name: path.stat().st_ino for path in place.options.out.glob("*.parquet")}
    assert inodes == pieces  # none was made again
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


def test_texts_in_parts_are_those_of_one_job_byte_for_byte(tmp_path: Path):
    alone, cut = (place_with_inputs(tmp_path / name).folder for name in ("alone", "cut"))
    whole = (texts_of(alone) / "train.parquet").read_bytes()
    for part in ("2/2", "1/2"):
        assert not texts_of(cut, part).exists()
    pieces = {path.name for path in (cut / "state/tiny-texts").iterdir()}
    assert pieces == {"00000", "00001", "texts-part-1-of-2", "texts-part-2-of-2"}
    out = texts_of(cut)
    assert (out / "train.parquet").read_bytes() == whole
    counted = [read_json(folder / MANIFEST) for folder in (out, alone / "texts/tiny-texts")]
    assert len({(facts["tokens"], facts["eos_share"]) for facts in counted}) == 1
    shutil.rmtree(out)
    on_ranks(2, lambda _: texts_of(cut))
    assert (out / "train.parquet").read_bytes() == whole
    assert read_json(out / MANIFEST)["ranks"] == 2
    assert "ranks" not in counted[0]


def test_an_evaluation_in_parts_is_that_of_one_job_byte_for_byte(tmp_path: Path):
    test_evaluate.inputs(tmp_path)

    def tables() -> dict[str, bytes]:
        """The tables of the evaluation, which is then forgotten."""
        out = evaluation_of(tmp_path)
        contents = {path.name: path.read_bytes() for path in out.glob("*.parquet")}
        shutil.rmtree(out)
        return contents

    whole = tables()
    for part in ("3/3", "1/3", "2/3"):
        evaluation_of(tmp_path, part)
    pieces = {path.name for path in (tmp_path / "state/tiny-evaluation").glob("*-0*")}
    assert pieces == {"heldout-00000", *(f"responses-0000{number}" for number in range(3))}
    assert tables() == whole


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
