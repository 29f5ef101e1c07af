"""Pruning: what no given experiment needs is listed, and deleted only when told to."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from snaking import ROOT, edited

from workflow.config.validate import validate
from workflow.grid.grid import Grid

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Folder:
    """A folder with made-up artifacts of two experiments, and who needs what of them."""

    path: Path
    first: set[str]
    second: set[str]

    def prune(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`distilbench prune` as a user starts it."""
        command = [sys.executable, "-m", "workflow.commands.main", "prune", *arguments]
        return subprocess.run(
            command,
            cwd=self.path,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )

    def files(self) -> set[str]:
        """All files in the results."""
        found = (self.path / "results").rglob("*")
        return {str(one.relative_to(self.path)) for one in found if one.is_file()}


def write(path: Path, text: str = "something") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.fixture
def folder(tmp_path: Path, tiny: dict[str, Any]) -> Folder:
    """Two experiments on one teacher."""
    first = edited(tiny, {"experiment": "first"})
    needed = []
    for config in (first, edited(first, {"experiment": "second", "methods": {"sft": None}})):
        write(tmp_path / f"{config['experiment']}.json", json.dumps(config))
        needed.append(set(Grid(validate(config)).artifacts))
        for path in needed[-1]:
            write(tmp_path / path / "weights")
            stage, id = path.split("/")[1:]
            write(tmp_path / f"results/jobs/{stage}/{id}.json")
            write(tmp_path / f"results/logs/{stage}/{id}.log")
            write(tmp_path / f"results/benchmarks/{stage}/{id}.tsv")
            write(tmp_path / f"results/state/{id}/step-00000001/state.pt")
    return Folder(tmp_path, *needed)


def test_only_what_no_given_configuration_needs_goes(folder: Folder):
    before = folder.files()
    assert folder.second < folder.first
    done = folder.prune("first.json", "second.json")
    assert not any(path in done.stdout for path in folder.first)

    done = folder.prune("second.json")
    assert done.returncode == 0, done.stderr
    assert all(path in done.stdout for path in folder.first - folder.second)
    assert not any(path in done.stdout for path in folder.second)
    assert folder.files() == before

    done = folder.prune("second.json", "--delete")
    assert done.returncode == 0, done.stderr
    gone, names = before - folder.files(), {Path(one).name for one in folder.first - folder.second}
    assert gone == {one for one in before if any(name in one for name in names)}
    assert len(gone) == 5 * len(names)  # the artifact, its job, log, seconds and saved state


def test_sizes_and_ages_are_told(folder: Folder):
    (path,) = (one for one in folder.first if "/students/jsd" in one)
    write(folder.path / path / "weights", "w" * 3_000_000)
    os.utime(folder.path / path / "weights", (0, 0))
    lines = folder.prune("second.json").stdout.splitlines()
    (line,) = (line for line in lines if line.endswith(path))
    assert line.split()[:4] == ["3.0", "MB", "0.0", "days"]  # its folder is of today


def test_what_it_has_no_name_for_stays(folder: Folder):
    kept = [
        write(folder.path / "results" / one)
        for one in (
            "published/first/index.html",
            "first/report/index.html",
            "first/grid.csv",
            "jobs/first/report.json",
            "jobs/first/grid.csv",
            "students/notes.txt",
            "students/.lock",
            "my_own/folder-0123abcd/file",
        )
    ]
    done = folder.prune("second.json", "--delete")
    assert done.returncode == 0, done.stderr
    assert all(path.is_file() for path in kept)


def test_leftovers_of_killed_jobs_damaged_artifacts_and_states_that_are_done_go(folder: Folder):
    gone = [
        write(folder.path / "results" / one)
        for one in (
            "students/.jsd.small-0123abcd.4711.tmp/weights",
            "damaged/students/jsd.small-0123abcd.1/weights",
            "sources/0123abcd.json",
        )
    ]
    fresh = write(folder.path / "results/students/.jsd.small-4567abcd.4712.tmp/weights")
    for path in (gone[0], gone[0].parent):
        os.utime(path, (0, 0))
    done = folder.prune("first.json", "--delete")
    assert done.returncode == 0, done.stderr
    assert [path for path in gone if path.exists()] == []
    assert fresh.exists()  # its writer may be at work on another machine


def test_nothing_goes_without_a_configuration_or_beside_a_snakemake(folder: Folder):
    before = folder.files()
    done = folder.prune("--delete")
    assert done.returncode != 0
    assert "CONFIG" in done.stderr

    lock = write(folder.path / ".snakemake/locks/0.output.lock", "results/students/x\n")
    done = folder.prune("second.json", "--delete")
    lock.unlink()
    assert done.returncode == 1
    assert "unlock" in done.stderr

    done = folder.prune("second.json", "nowhere.json", "--delete")
    assert done.returncode == 1
    assert "nowhere.json" in done.stderr
    assert folder.files() == before
