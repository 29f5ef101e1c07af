"""`distilbench stage`: one artifact of a finished chain is rebuilt by the command of the report."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import forked
import pytest
from snaking import Copy

from pipeline.artifacts.artifact import read_json
from workflow.config.validate import validate
from workflow.grid.artifact import Artifact
from workflow.grid.grid import Grid

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("chain")]
COMMAND = re.compile(r"distilbench stage (results/students/\S+) --configfile (\S+?)(?=[<\s\"])")


@pytest.fixture
def student(chain: Copy, tiny: dict[str, Any]) -> Artifact:
    # tests before this one may have left an edited configuration under its name
    (chain.folder / "tiny.json").write_text(json.dumps(tiny))
    return Grid(validate(tiny)).student("jsd", "small", "large", 1)


def stage(chain: Copy, path: str, config: str) -> subprocess.CompletedProcess[str]:
    command = ["-m", "workflow.commands.main", "stage", path, "--configfile", config]
    return forked.jobs().run(command, chain.folder)


def content(folder: Path) -> dict[str, bytes]:
    # transformers notes in tokenizer_config.json how a tokenizer was loaded
    names = ("model.safetensors", "tokenizer.json")
    return {name: (folder / "model" / name).read_bytes() for name in names}


def test_a_deleted_student_is_rebuilt_bit_by_bit_by_the_command_in_the_report(
    chain: Copy, student: Artifact, tmp_path: Path
):
    page = html.unescape((chain.folder / "results/tiny/report/index.html").read_text())
    configs = dict(COMMAND.findall(page))
    folder, before = chain.folder / student.path, tmp_path / "before"
    shutil.move(folder, before)
    try:
        done = stage(chain, student.path, configs[student.path])
        assert done.returncode == 0, done.stderr
        assert content(folder) == content(before)
        rebuilt, original = (read_json(each / "manifest.json") for each in (folder, before))
        same = ("id", "code", "settings", "inputs")
        assert [rebuilt[key] for key in same] == [original[key] for key in same]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.move(before, folder)


@pytest.mark.usefixtures("student")
def test_an_unknown_artifact_is_refused_in_one_line(chain: Copy):
    done = stage(chain, "results/students/jsd-00000000", "tiny.json")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "results/students/jsd-00000000" in line
    assert "tiny" in line


def test_each_unfinished_input_is_named_in_a_line(chain: Copy, student: Artifact, tmp_path: Path):
    inputs = [dict(student.inputs)[role] for role in ("start", "cache")]
    for artifact in inputs:
        shutil.move(chain.folder / artifact.path, tmp_path / artifact.stage)
    try:
        done = stage(chain, student.id, "tiny.json")  # the id alone is enough
    finally:
        for artifact in inputs:
            shutil.move(tmp_path / artifact.stage, chain.folder / artifact.path)
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert len(lines) == len(inputs)
    assert all(any(artifact.path in line for line in lines) for artifact in inputs)
