"""Artifacts are whole or not there, and say what made them."""

import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipeline.artifacts import artifact as artifacts
from pipeline.artifacts import checksums, schemas
from pipeline.artifacts.artifact import (
    Job,
    atomic_write,
    read_id,
    read_json,
    write_json,
    write_manifest,
)
from pipeline.artifacts.resumable_parts import ResumableParts

WRITES_FOR_EVER = """
import sys, time
from pathlib import Path
from pipeline.artifacts.artifact import atomic_write

with atomic_write(Path(sys.argv[1])) as folder:
    folder.mkdir()
    (folder / "weights").write_text("half of them")
    print("writing", flush=True)
    time.sleep(600)
"""
JOB = Job("tiny-12345678", "0a1b2c3d", {"seed": 1})


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    """An artifact of two files."""
    with atomic_write(tmp_path / "results/tokens/tiny-12345678") as folder:
        (folder / "model").mkdir(parents=True)
        (folder / "model/weights").write_text("all of them")
        write_json(folder / "card.json", {"train": 100})
        write_manifest(folder, JOB, {})
    return tmp_path / "results/tokens/tiny-12345678"


def test_a_folder_has_its_name_only_when_it_is_whole(tmp_path: Path):
    with atomic_write(tmp_path / "models" / "tiny") as folder:
        folder.mkdir()
        (folder / "weights").write_text("all of them")
        assert not (tmp_path / "models" / "tiny").exists()
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["tiny"]
    assert (tmp_path / "models" / "tiny" / "weights").read_text() == "all of them"


def fail_while_writing(target: Path) -> None:
    with atomic_write(target) as temporary:
        temporary.write_text("a,b\n1,")
        raise ValueError("no more")


def test_nothing_remains_after_an_error(tmp_path: Path):
    with pytest.raises(ValueError, match="no more"):
        fail_while_writing(tmp_path / "grid.csv")
    assert not list(tmp_path.iterdir())


def test_an_error_leaves_what_was_there_before(tmp_path: Path):
    target = tmp_path / "grid.csv"
    target.write_text("the old one")
    with pytest.raises(ValueError, match="no more"):
        fail_while_writing(target)
    assert target.read_text() == "the old one"


def test_a_killed_writer_leaves_nothing_under_the_name(tmp_path: Path):
    target = tmp_path / "tiny"
    command = [sys.executable, "-c", WRITES_FOR_EVER, str(target)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "writing\n"
        os.kill(writer.pid, signal.SIGKILL)
    assert not target.exists()

    with atomic_write(target) as folder:  # and what it left is in nobody's way
        folder.mkdir()
    assert target.exists()


def test_what_a_killed_writer_left_is_cleared_away_by_the_next(tmp_path: Path):
    dead = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"],
        capture_output=True,
        text=True,
        check=True,
    )
    left = tmp_path / f".tiny.{dead.stdout.strip()}.tmp"
    left.mkdir()
    with atomic_write(tmp_path / "tiny") as folder:
        folder.mkdir()
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]


def test_a_manifest_says_what_made_an_artifact(tmp_path: Path):
    start = tmp_path / "start-0badcafe"
    start.mkdir()
    write_json(start / artifacts.MANIFEST, {"id": "start-0badcafe"})
    foreign = tmp_path / "mine"
    foreign.mkdir()
    with atomic_write(tmp_path / "tiny-12345678") as folder:
        folder.mkdir()
        write_manifest(folder, JOB, {"start": start, "tokens": foreign}, tokens=7)

    manifest = read_json(tmp_path / "tiny-12345678" / artifacts.MANIFEST)
    assert manifest["id"] == read_id(tmp_path / "tiny-12345678") == "tiny-12345678"
    assert (manifest["code"], manifest["settings"]) == ("0a1b2c3d", {"seed": 1})
    assert manifest["inputs"] == {"start": "start-0badcafe", "tokens": "mine"}
    assert manifest["tokens"] == 7
    assert {"python", "torch", "transformers"} <= set(manifest["versions"])


def test_truncated_json_is_named(tmp_path: Path):
    path = tmp_path / "card.json"
    path.write_text('{"train": 1')
    with pytest.raises(ValueError, match=r"card\.json is not whole JSON .*; delete it"):
        read_json(path)


def test_an_artifact_is_listed_with_sizes_and_digests(artifact: Path):
    files = read_json(artifact / "manifest.json")["files"]
    card, weights = artifact / "card.json", artifact / "model/weights"
    assert files == {
        str(path.relative_to(artifact)): {
            "bytes": len(path.read_bytes()),
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        }
        for path in (card, weights)
    }


def test_what_is_undamaged_is_read(artifact: Path):
    assert read_json(artifact / "card.json") == {"train": 100}
    checksums.verify(artifact)
    assert checksums.is_intact(artifact)


@pytest.mark.parametrize(
    ("file", "harm", "message"),
    [
        ("card.json", lambda old: old.replace(b"100", b"900"), "its content is not what was"),
        ("card.json", lambda old: old[:-3], "it has 15 bytes, and was made with 18"),
        ("manifest.json", lambda old: old.replace(b"tiny", b"tidy"), "does not agree with its own"),
        ("manifest.json", lambda old: old[: len(old) // 2], "is not whole JSON"),
    ],
)
def test_damage_is_told_of_and_moved_aside(
    file: str, harm: Callable[[bytes], bytes], message: str, artifact: Path
):
    path = artifact / file
    path.write_bytes(harm(path.read_bytes()))
    assert not checksums.is_intact(artifact)
    with pytest.raises(ValueError, match=message) as error:
        read_json(artifact / "card.json")
    aside = artifact.parent.parent / "damaged" / artifact.parent.name / f"{artifact.name}.1"
    assert str(error.value).startswith(f"{path} ")
    assert str(error.value).endswith(f"{artifact} is now {aside}: run again to remake it")
    assert not artifact.exists()
    assert (aside / file).exists()


def test_a_lost_file_is_damage(artifact: Path):
    (artifact / "card.json").unlink()
    with pytest.raises(ValueError, match=r"card\.json is missing; .*run again to remake it"):
        read_json(artifact / "card.json")


def test_damage_is_found_where_it_is_looked_for(artifact: Path):
    (artifact / "model/weights").write_text("none of them")
    assert read_json(artifact / "card.json") == {"train": 100}
    checksums.verify(artifact, "*.json")
    with pytest.raises(ValueError, match=r"model/weights is damaged"):
        checksums.verify(artifact, "model/*")


def test_a_folder_that_was_not_made_here_is_taken_as_it_is(tmp_path: Path):
    (tmp_path / "card.json").write_text('{"train": 1}')
    assert read_json(tmp_path / "card.json") == {"train": 1}
    checksums.verify(tmp_path)


def made(folder: Path, content: str, seconds: float, **inputs: Path) -> Path:
    with atomic_write(folder) as temporary:
        temporary.mkdir()
        (temporary / "weights").write_text(content)
        write_json(temporary / "cost.json", {"seconds": seconds})
        write_manifest(temporary, Job(folder.name, "0a1b2c3d", {}), inputs)
    return folder


def test_half_done_work_is_gone_on_with_under_the_same_job_and_inputs_only(tmp_path: Path):
    cache = made(tmp_path / "caches/cache-1", "signal", seconds=1)
    key = artifacts.resume_key(JOB, {"cache": cache})
    assert artifacts.resume_key(JOB, {"cache": made(cache, "signal", seconds=2)}) == key
    assert artifacts.resume_key(JOB, {"cache": made(cache, "another signal", seconds=1)}) != key
    assert artifacts.resume_key(replace(JOB, code="11111111"), {"cache": cache}) != key


def test_a_piece_is_made_once_and_again_where_it_is_damaged(tmp_path: Path):
    pieces, asked = ResumableParts(tmp_path / "state", JOB, {}), []

    def make(folder: Path) -> dict[str, object]:
        asked.append(folder)
        (folder / "part").write_text("the part")
        return {"tokens": 7}

    assert (pieces.get_or_make("first", make) / "part").read_text() == "the part"
    assert (pieces.get_or_make("first", make) / "part").read_text() == "the part"
    assert pieces.facts("first") == {"tokens": 7}
    assert len(asked) == 1
    (tmp_path / "state/first/part").write_text("the pant")
    assert (pieces.get_or_make("first", make) / "part").read_text() == "the part"
    assert len(asked) == 2
    assert (
        ResumableParts(tmp_path / "state", replace(JOB, code="11111111"), {})
        .get_or_make("first", make)
        .exists()
    )
    assert len(asked) == 3
    pieces.discard()
    assert not (tmp_path / "state").exists()


def test_what_stood_under_the_name_is_replaced_as_a_whole(tmp_path: Path):
    for content in ("old", "new"):
        with atomic_write(tmp_path / "tiny") as folder:
            folder.mkdir()
            (folder / content).write_text(content)
    assert [path.name for path in (tmp_path / "tiny").iterdir()] == ["new"]
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]


def test_truncated_parquet_is_named(tmp_path: Path):
    path = tmp_path / "plain.parquet"
    schemas.write(path, {"text": ["one", "two"]}, schemas.PLAIN)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"plain\.parquet is not whole Parquet .*; delete it"):
        schemas.read(path, schemas.PLAIN)


def test_a_table_of_another_kind_is_named(tmp_path: Path):
    path = tmp_path / "plain.parquet"
    schemas.write(path, {"text": ["one"]}, schemas.PLAIN)
    with pytest.raises(ValueError, match=r"plain\.parquet has columns \['text'\], expected"):
        schemas.read(path, schemas.TOKENS)


def test_a_job_without_a_part_is_refused(tmp_path: Path):
    path = tmp_path / "job.json"
    path.write_text('{"id": "tiny", "settings": {}}')
    with pytest.raises(ValueError, match="id, code and settings"):
        Job.read(path)


def test_of_a_table_that_is_read_by_and_by_no_more_than_a_row_group_is_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(schemas, "ROW_GROUP_BYTES", 1 << 20)
    path, draw = tmp_path / "train.parquet", np.random.default_rng(0)
    ids = draw.integers(0, 1 << 31, (16, 1024, 250))  # which compression can't make smaller
    rows = (
        {
            "example_id": [f"{group}-{row}" for row in range(len(each))],
            "prompt_ids": [[1]] * len(each),
            "response_ids": each.tolist(),
        }
        for group, each in enumerate(ids)
    )
    schemas.write_batches(path, rows, schemas.TOKENS)
    before = pa.total_allocated_bytes()
    held = [pa.total_allocated_bytes() - before for _ in schemas.read_batches(path, schemas.TOKENS)]
    assert len(held) == 16
    assert max(held) < path.stat().st_size / 3
