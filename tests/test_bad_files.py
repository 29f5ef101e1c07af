"""Bad files are refused by the stage that reads them, in one line, and leave no artifact."""

import re
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import forked
import pytest
from snaking import ROOT, Copy, environment, saved_model
from stage_commands import job_file

from pipeline import __main__ as stages
from pipeline.artifacts import checksums
from pipeline.artifacts.artifact import read_json, write_json
from pipeline.stages import command_line
from workflow.config.validate import validate
from workflow.grid.grid import Grid


def command(name: str, settings: dict[str, Any], out: Path, **flags: Path) -> list[str]:
    """The command line of a stage, without Python."""
    job = job_file(out.with_name(f"{out.name}.job.json"), out.name, settings, "")
    named = [part for role, path in flags.items() for part in (f"--{role}", str(path))]
    return ["pipeline", name, "--job", str(job), "--out", str(out), *named]


def line_of(error: str, out: Path) -> str:
    """The one line with which a stage has refused its input."""
    assert "Traceback" not in error
    assert not out.exists()
    (line,) = [line for line in error.splitlines() if line.startswith("error: ")]
    return line.removeprefix("error: ")


def stage(name: str, settings: dict[str, Any], out: Path) -> str:
    """The refusal of a stage that runs in a process of its own."""
    done = forked.jobs().run(["-m", *command(name, settings, out)], ROOT, environment())
    assert done.returncode == 2, done.stderr
    return line_of(done.stderr, out)


Refusal = Callable[..., str]


@pytest.fixture
def refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Refusal]:
    """The refusal of a stage that runs in this process, which has its libraries loaded."""

    def run(name: str, settings: dict[str, Any], out: Path, **flags: Path) -> str:
        monkeypatch.setattr(sys, "argv", command(name, settings, out, **flags))
        with pytest.raises(SystemExit) as ended:
            command_line.run(stages.main)
        assert ended.value.code == 2
        return line_of(capsys.readouterr().err, out)

    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield run
    for number, handler in handlers.items():
        signal.signal(number, handler)


def from_files(path: Path, **more: object) -> dict[str, Any]:
    return {"examples": {"source": "files", "train": str(path), "validation": 1, "test": 1} | more}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"instruction": "a", "input": "", "output": "b"}\n{"instruc', ":2: invalid JSON"),
        ("", " holds no rows"),
        (
            '{"instruction": "a", "input": "", "output": "b"}\n'
            '{"instruction": "a", "input": "", "output": " "}\n',
            ":2: empty response",
        ),
    ],
    ids=["malformed line", "empty", "empty response"],
)
def test_a_faulty_file_is_named_with_its_line(content: str, message: str, tmp_path: Path):
    path = tmp_path / "examples.jsonl"
    path.write_text(content)
    assert stage("prepare_data", from_files(path), tmp_path / "data").startswith(f"{path}{message}")


def test_a_data_hub_out_of_reach_names_what_works_without(tmp_path: Path):
    settings = {"examples": {"source": "hub", "name": "someone/instructions"}}
    line = stage("prepare_data", settings, tmp_path / "data")
    assert "someone/instructions" in line
    assert "can't be loaded" in line
    assert "`files`" in line
    assert "`docstrings`" in line


@pytest.mark.slow
def test_a_model_hub_out_of_reach_names_what_works_without(tmp_path: Path):
    settings = {"source": "hub", "name": "someone/model", "revision": "main", "seed": 0}
    line = stage("prepare_model", settings, tmp_path / "model")
    assert line.startswith("someone/model@main could not be downloaded from the model hub")
    assert all(name in line for name in ("`path`", "`pypi`", "`shape`"))


@pytest.mark.xdist_group("chain")
class TestAfterTheChain:
    """Faults that only show beside real artifacts."""

    @pytest.fixture
    def grid(self, tiny: dict[str, Any]) -> Grid:
        return Grid(validate(tiny))

    @pytest.fixture
    def files(self, chain: Copy, grid: Grid) -> dict[str, Path]:
        """The inputs of a student."""
        inputs = grid.student("sft", "small", "large", 1).inputs
        return {role: chain.folder / artifact.path for role, artifact in inputs}

    def test_a_loss_that_is_no_number_stops_at_its_step_and_batch(
        self, grid: Grid, files: dict[str, Path], tmp_path: Path, refused: Refusal
    ):
        settings = grid.student("sft", "small", "large", 1).settings
        settings["training"] |= {"learning_rate": 1e30, "steps": 6}
        line = refused("train", settings, tmp_path / "student", **files, state=tmp_path / "state")
        assert re.match(
            r"the (loss|gradient norm) is (nan|inf) at step [2-6], on the batch of exam",
            line,
        )
        assert line.endswith("a lower training.learning_rate may help")

    def test_limits_that_leave_no_text_are_named(
        self, chain: Copy, grid: Grid, tmp_path: Path, refused: Refusal
    ):
        inputs = {role: chain.folder / artifact.path for role, artifact in grid.tokens().inputs}
        limits = {"prompt_tokens": 64, "response_tokens": 2}
        line = refused("tokenize", limits, tmp_path / "tokens", **inputs)
        assert line.startswith("all 126 train examples exceed 64 prompt or 2 response tokens")
        assert line.endswith("raise the limits in `tokens`")

    def test_a_start_with_another_vocabulary_than_the_texts_is_refused(
        self, grid: Grid, files: dict[str, Path], tmp_path: Path, refused: Refusal
    ):
        saved_model(tmp_path / "other" / "model", {"<end>": 0, "cat": 1})
        files |= {"start": tmp_path / "other", "state": tmp_path / "state"}
        settings = grid.student("sft", "small", "large", 1).settings
        line = refused("train", settings, tmp_path / "student", **files)
        assert line.startswith(f"{tmp_path / 'other'} has another vocabulary (")
        assert f"than the texts in {files['tokens']} (" in line

    def test_more_tokens_than_a_teacher_has_cannot_be_cached(
        self, chain: Copy, grid: Grid, tmp_path: Path, refused: Refusal
    ):
        inputs = {
            role: chain.folder / artifact.path for role, artifact in grid.signals("large").inputs
        }
        inputs["state"] = tmp_path / "state"
        line = refused("cache_teacher", {"k": 5000}, tmp_path / "cache", **inputs)
        assert line == "teacher_cache.k = 5000: the vocabulary has 320 tokens"

    def test_a_cache_of_another_teacher_is_refused(
        self, chain: Copy, grid: Grid, files: dict[str, Path], tmp_path: Path, refused: Refusal
    ):
        mine = chain.folder / grid.signals("large").path
        foreign = shutil.copytree(mine, tmp_path / "larger-01234567")
        settings = grid.student("jsd", "small", "large", 1).settings
        files |= {"cache": foreign, "state": tmp_path / "state"}
        line = refused("train", settings, tmp_path / "student", **files)
        teacher = grid.teacher("large").id
        assert line.startswith(f"{foreign} holds {mine.name}, the signal of {teacher}; delete it")

    def test_a_cache_of_other_texts_is_refused(
        self, chain: Copy, grid: Grid, files: dict[str, Path], tmp_path: Path, refused: Refusal
    ):
        texts = shutil.copytree(files["tokens"], tmp_path / "texts-01234567")
        manifest = read_json(texts / "manifest.json") | {"id": texts.name}
        write_json(texts / "manifest.json", checksums.with_checksum(manifest))
        cache = chain.folder / grid.signals("large").path
        settings = grid.student("jsd", "small", "large", 1).settings
        files |= {"tokens": texts, "cache": cache, "state": tmp_path / "state"}
        line = refused("train", settings, tmp_path / "student", **files)
        made_from = grid.tokens().id
        assert line.startswith(
            f"{cache} holds the teacher's signal for {made_from}, not for texts-"
        )

    def test_a_cut_off_cache_is_named(
        self, chain: Copy, grid: Grid, files: dict[str, Path], tmp_path: Path, refused: Refusal
    ):
        original = chain.folder / grid.signals("large").path
        cache = shutil.copytree(original, tmp_path / "results/caches" / original.name)
        shard = cache / "train-00000.parquet"
        shard.write_bytes(shard.read_bytes()[:100])
        settings = grid.student("jsd", "small", "large", 1).settings
        files |= {"cache": cache, "state": tmp_path / "state"}
        line = refused("train", settings, tmp_path / "student", **files)
        size = (original / shard.name).stat().st_size
        aside = tmp_path / "results/damaged/caches" / f"{original.name}.1"
        assert line == (
            f"{shard} is damaged: it has 100 bytes, and was made with {size}; "
            f"{cache} is now {aside}: run again to remake it"
        )
