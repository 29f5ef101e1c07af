"""An artifact that several jobs make in parts: the same bytes as from one, whatever happened."""

import contextlib
import multiprocessing
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import shelf
import test_evaluate
from gang import on_ranks
from players import llama, texts

from pipeline.artifacts.artifact import MANIFEST, Job, atomic_write, read_json, write_manifest
from pipeline.artifacts.lock import acquire_lock, release_locks
from pipeline.artifacts.part import Part, of_marker
from pipeline.settings.evaluation import EvaluationJob, EvaluationTask, GenerationSettings
from pipeline.settings.generation import Sampling, TextJob
from pipeline.stages import cache_teacher, evaluate, generate
from pipeline.stages.options import CacheTeacherOptions, EvaluateOptions, GenerateOptions
from workflow.commands import prune
from workflow.commands.job_status import JobStatus, status_of
from workflow.commands.plan import plan_of
from workflow.config.validate import validate
from workflow.grid.artifact import Artifact
from workflow.grid.grid import Grid
from workflow.jobs import grid_csv, job_files, parts
from workflow.jobs.job_files import Wildcards
from workflow.jobs.jobs import OUTDATED, Jobs
from workflow.jobs.parts import PartWildcards
from workflow.launch.run_stage import MachineLimits, stage_arguments
from workflow.resources.fit import Workload, share_of
from workflow.resources.machine import Machine
from workflow.resources.measured_time import wall_seconds
from workflow.resources.requests import ResourceRequests, share_of_job

SETTINGS = {"k": 4, "splits": ["train"], "shard_texts": 8}
TEXTS, SHARDS = 60, 8
FORK = multiprocessing.get_context("fork")


@contextlib.contextmanager
def locks_freed() -> Iterator[None]:
    """Frees the locks of a stage when it ends, as its command line does."""
    try:
        yield
    finally:
        release_locks()


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
        with locks_freed():
            cache_teacher.run(replace(self.options, job=job, part=named))

    def shards(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.options.out.glob("*.parquet")}

    def pieces(self) -> dict[str, int]:
        """The finished shards, each with what tells one making of it from another."""
        folders = self.options.state.glob("*.parquet")
        return {path.name: (path / path.name).stat().st_ino for path in sorted(folders)}


def texts_of(folder: Path, part: str | None = None) -> Path:
    """The artifact of responses to prompts of two chunks, after the job of a part or the whole."""
    settings = TextJob(samples=10, max_new_tokens=3).model_dump()
    options = GenerateOptions(
        job=Job("tiny-texts", "0a1b2c3d", settings),
        out=folder / "texts/tiny-texts",
        teacher=folder / "teacher",
        tokens=folder / "tokens",
        state=folder / "state/tiny-texts",
        part=Part.of_text(part) if part else None,
    )
    with locks_freed():
        generate.run(options)
    return options.out


def evaluation_of(folder: Path, part: str | None = None) -> Path:
    """The evaluation of a tiny model, after the job of a part or of the whole."""
    drawn = GenerationSettings(
        sampling=Sampling(temperature=1.0), decoding_seeds=[3, 4, 5], max_new_tokens=9
    )
    tasks = [
        EvaluationTask(name="heldout", generation=None),
        EvaluationTask(name="responses", generation=drawn),
    ]
    settings = EvaluationJob(tasks=tasks, items=None, seed=0).model_dump()
    options = EvaluateOptions(
        job=Job("tiny-evaluation", "0a1b2c3d", settings),
        out=folder / "evals/tiny-evaluation",
        state=folder / "state/tiny-evaluation",
        model=folder / "model",
        data=folder / "data",
        tokens=folder / "tokens",
        part=Part.of_text(part) if part else None,
    )
    with locks_freed():
        evaluate.run(options)
    return options.out


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


def place_with_inputs(folder: Path) -> Place:
    folder.mkdir(exist_ok=True)
    shelf.put_model(folder / "teacher", llama(7))
    shelf.put_texts(folder / "tokens", texts(TEXTS))
    return Place(folder)


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


@dataclass(frozen=True)
class Cut:
    """An experiment whose cache is made in two parts, and whose inputs are there."""

    jobs: Jobs
    cache: Artifact

    @property
    def again(self) -> Jobs:
        """The same jobs, asked once more."""
        return self.jobs.reread()

    def mark(self, number: int) -> Path:
        """A finished part, with a piece of its own."""
        marker = Path(parts.marker(self.cache, Part(number, 2)))
        put(marker.parent / f"piece-{number}", self.cache.id, self.jobs.code(self.cache))
        names = {"pieces": [f"piece-{number}"]}
        return put(marker, self.cache.id, self.jobs.code(self.cache), **names)


def put(folder: Path, id: str, code: str, **facts: object) -> Path:
    """What an artifact, a piece or a marker is on disk."""
    with atomic_write(folder) as temporary:
        temporary.mkdir()
        (temporary / "file").write_text("content")
        write_manifest(temporary, Job(id, code, {}), {}, **facts)
    return folder


@pytest.fixture
def cut(tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cut:
    monkeypatch.chdir(tmp_path)
    grid = Grid(validate(tiny))
    machine = Machine.of({"cache_parts": 2})
    jobs = Jobs(grid, parts=ResourceRequests(grid, machine).parts)
    cache = grid.signals("large")
    for _, input in cache.inputs:
        put(Path(input.path), input.id, jobs.code(input))
    return Cut(jobs, cache)


def test_the_rule_of_a_cache_reads_its_parts_and_theirs_reads_what_it_would(cut: Cut):
    whole = cut.jobs.inputs(Wildcards(cut.cache.id))
    assert whole.pop("part") == [f"results/state/{cut.cache.id}/caches-part-{n}-of-2" for n in "12"]
    part = PartWildcards(cut.cache.id, "caches", "2", "2")
    assert (
        cut.jobs.part_inputs(part)
        == whole
        == {role: [input.path] for role, input in cut.cache.inputs}
    )


def test_parts_change_neither_id_nor_digest_nor_job_file(cut: Cut, tiny: dict[str, Any]):
    alone = Jobs(Grid(validate(tiny)))
    asked = Wildcards(cut.cache.id)
    assert alone.digest(asked) == cut.jobs.digest(asked)
    assert alone.job(cut.cache) == cut.jobs.job(cut.cache)
    assert "part" not in alone.inputs(asked)


def test_a_part_of_another_cut_or_stage_is_refused(cut: Cut):
    for stage, part, count in (("caches", "1", "3"), ("texts", "1", "2"), ("caches", "3", "2")):
        asked = PartWildcards(cut.cache.id, stage, part, count)
        with pytest.raises(ValueError, match=r"isn't made in . parts on this machine"):
            cut.jobs.part_inputs(asked)


def test_a_finished_part_is_not_planned_again_unless_what_it_names_is_gone(cut: Cut):
    assert len(cut.jobs.unfinished_parts(cut.cache)) == 2
    marker = cut.mark(1)
    assert cut.again.unfinished_parts(cut.cache) == [Part(2, 2)]
    (marker.parent / "piece-1/file").write_text("cont")
    assert len(cut.again.unfinished_parts(cut.cache)) == 2
    part = PartWildcards(cut.cache.id, "caches", "1", "2")
    assert cut.again.part_inputs(part)["outdated"] == [OUTDATED]


def test_a_marker_of_other_code_or_over_unfinished_inputs_does_not_count(cut: Cut):
    marker = cut.mark(1)
    facts = {"pieces": ["piece-1"]}
    put(marker, cut.cache.id, "ffffffff", **facts)
    assert len(cut.again.unfinished_parts(cut.cache)) == 2
    cut.mark(1)
    assert len(cut.again.unfinished_parts(cut.cache)) == 1
    shutil.rmtree(dict(cut.cache.inputs)["teacher"].path)
    assert len(cut.again.unfinished_parts(cut.cache)) == 2


def test_a_part_asks_for_its_share_of_the_time_and_all_of_the_memory(cut: Cut):
    large = Workload(operations=4e18, step_positions=4000, written_positions=400, loaded=8, disk=9)
    quarter = share_of(large, 1 / 4)
    assert quarter == replace(large, operations=1e18, step_positions=1000, written_positions=100)
    four = ResourceRequests(cut.jobs.grid, Machine.of({"cache_parts": 4}))
    whole, part = Wildcards(cut.cache.id), PartWildcards(cut.cache.id, "caches", "1", "4")
    for same in (four.mem_mb, four.micro_batch_tokens, four.gpu_memory_mb):
        assert same(part, 1) == same(whole, 1)
    assert four.device(part) == four.device(whole)
    assert (share_of_job(4, is_part=True), share_of_job(1, is_part=False)) == (1 / 4, 1)


def test_a_number_of_parts_that_is_none_is_refused():
    with pytest.raises(ValueError, match="cache_parts = 0: allowed: 1 or more"):
        Machine.of({"cache_parts": 0})
    assert Machine.of({}).parts == {}


def test_a_run_drops_what_jobs_of_another_cut_have_said(cut: Cut):
    logs = Path("results/logs/caches")
    logs.mkdir(parents=True)
    for name in ("part-1-of-2", "part-1-of-4", "part-3-of-12"):
        (logs / f"{cut.cache.id}-{name}.log").touch()
    parts.drop_other_cuts(cut.cache, 2)
    assert [log.name for log in logs.iterdir()] == [f"{cut.cache.id}-part-1-of-2.log"]
    assert parts.begun(cut.cache) == [Part(1, 2), Part(2, 2)]


def test_the_status_of_a_cache_is_that_of_its_parts(cut: Cut):
    cut.mark(1)
    logs = Path("results/logs/caches")
    logs.mkdir(parents=True)
    (logs / f"{cut.cache.id}-part-2-of-2.log").write_text("error: the disk is full\n")
    job = {job.id: job for job in status_of(cut.jobs, time.time()).jobs}[cut.cache.id]
    assert job.status is JobStatus.FAILED
    assert job.message == "1 of 2 parts done, 1 failed: error: the disk is full"
    assert job.log == str(logs / f"{cut.cache.id}-part-2-of-2.log")


def test_the_plan_has_a_step_for_each_part_and_their_time_side_by_side(cut: Cut):
    steps = [step for step in plan_of(cut.jobs, 2).steps if step.stage == "caches"]
    ends = ["part-1-of-2", "part-2-of-2", ""]
    assert [step.id.removeprefix(cut.cache.id).strip("-") for step in steps] == ends
    assert steps[0].output == f"results/state/{cut.cache.id}/caches-part-1-of-2"
    seconds = [step.cost.seconds for step in steps if step.cost]
    assert seconds[0] == seconds[1] > seconds[2]
    times = {cut.cache.id: 1.0}
    assert wall_seconds([cut.cache], times, 2, {cut.cache.id: [5.0, 4.0]}) == 5 + 1
    assert wall_seconds([cut.cache], times, 1, {cut.cache.id: [5.0, 4.0]}) == 5 + 4 + 1


def test_the_command_of_a_part_is_that_of_the_whole_with_its_number(cut: Cut):
    marker = Path(parts.marker(cut.cache, Part(2, 2)))
    file = job_files.path_of(marker)
    assert file == job_files.path_of(Path(cut.cache.path))
    job_files.write(Path(cut.cache.path), cut.jobs.job(cut.cache))
    whole, part = (
        stage_arguments(output, file, MachineLimits()) for output in (Path(cut.cache.path), marker)
    )
    index = part.index("--part")
    assert part[index + 1] == "2/2"
    assert part[:index] + part[index + 2 :] == whole


def test_what_parts_leave_is_pruned_with_their_artifact_and_not_while_they_run(
    cut: Cut, capsys: pytest.CaptureFixture[str]
):
    grid = Path("results/jobs/tiny/grid.csv")
    grid.parent.mkdir(parents=True)
    grid.write_bytes(grid_csv.text(grid_csv.rows(cut.jobs.grid)).encode())
    gone, log = Path("results/state/gone-0a1b2c3d"), Path("results/logs/caches")
    log.mkdir(parents=True)
    for id in ("gone-0a1b2c3d", cut.cache.id):
        (log / f"{id}-part-1-of-2.log").touch()
    with held(gone / "caches-part-1-of-2"):
        prune.main(configs=[], drop=[], delete=False)
        assert "gone" not in capsys.readouterr().out
    gone.mkdir(exist_ok=True)
    prune.main(configs=[], drop=[], delete=False)
    printed = capsys.readouterr().out
    assert str(gone) in printed
    assert "gone-0a1b2c3d-part-1-of-2.log" in printed
    assert f"{cut.cache.id}-part" not in printed
