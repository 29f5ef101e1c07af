"""Jobs that make an artifact in parts, in this process; and another process that is at it."""

import contextlib
import multiprocessing
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import shelf
from players import llama, texts

from pipeline.artifacts.artifact import Job
from pipeline.artifacts.lock import acquire_lock, release_locks
from pipeline.artifacts.part import Part
from pipeline.settings.evaluation import EvaluationJob, EvaluationTask, GenerationSettings
from pipeline.settings.generation import Sampling, TextJob
from pipeline.stages import cache_teacher, evaluate, generate
from pipeline.stages.options import CacheTeacherOptions, EvaluateOptions, GenerateOptions

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
