"""Artifacts are whole or not there, and say what made them."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import artifacts, schemas
from pipeline.artifacts import Job, read_id, read_json, whole, write_json, write_manifest

WRITES_FOR_EVER = """
import sys, time
from pathlib import Path
from pipeline.artifacts import whole

with whole(Path(sys.argv[1])) as folder:
    folder.mkdir()
    (folder / "weights").write_text("half of them")
    print("writing", flush=True)
    time.sleep(600)
"""
JOB = Job("tiny-12345678", "0a1b2c3d", {"seed": 1})


def test_a_folder_has_its_name_only_when_it_is_whole(tmp_path: Path):
    with whole(tmp_path / "models" / "tiny") as folder:
        folder.mkdir()
        (folder / "weights").write_text("all of them")
        assert not (tmp_path / "models" / "tiny").exists()
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["tiny"]
    assert (tmp_path / "models" / "tiny" / "weights").read_text() == "all of them"


def fail_while_writing(target: Path) -> None:
    with whole(target) as temporary:
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

    with whole(target) as folder:  # and what it left is in nobody's way
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
    with whole(tmp_path / "tiny") as folder:
        folder.mkdir()
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]


def test_a_manifest_says_what_made_an_artifact(tmp_path: Path):
    start = tmp_path / "start-0badcafe"
    start.mkdir()
    write_json(start / artifacts.MANIFEST, {"id": "start-0badcafe"})
    foreign = tmp_path / "mine"
    foreign.mkdir()
    with whole(tmp_path / "tiny-12345678") as folder:
        folder.mkdir()
        write_manifest(folder, JOB, {"start": start, "tokens": foreign}, tokens=7)

    manifest = read_json(tmp_path / "tiny-12345678" / artifacts.MANIFEST)
    assert manifest["id"] == read_id(tmp_path / "tiny-12345678") == "tiny-12345678"
    assert (manifest["code"], manifest["settings"]) == ("0a1b2c3d", {"seed": 1})
    assert manifest["inputs"] == {"start": "start-0badcafe", "tokens": "mine"}
    assert manifest["tokens"] == 7
    assert {"python", "torch", "transformers"} <= set(manifest["versions"])


def test_truncated_json_is_named(tmp_path: Path):
    path = tmp_path / "manifest.json"
    path.write_text('{"id": "ti')
    with pytest.raises(ValueError, match=r"manifest\.json is not whole JSON .*; delete it"):
        read_json(path)


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


def test_a_job_without_a_part_is_refused():
    with pytest.raises(ValueError, match="id, code and settings"):
        Job.parse('{"id": "tiny", "settings": {}}')
