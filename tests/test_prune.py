"""Pruning: what no given experiment needs is listed, and deleted only when told to."""

import contextlib
import io
import json
import os
import shutil
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from snaking import edited

from workflow.commands.main import main
from workflow.config.validate import validate
from workflow.grid.grid import Grid
from workflow.jobs import grid_csv


@dataclass(frozen=True)
class Done:
    """The end of a command."""

    returncode: int
    stdout: str
    stderr: str


@dataclass(frozen=True)
class Folder:
    """A folder with made-up artifacts of two experiments, and who needs what of them."""

    path: Path
    first: set[str]
    second: set[str]

    def prune(self, *arguments: str) -> Done:
        """`distilbench prune` in this folder."""
        out, errors = io.StringIO(), io.StringIO()
        with (
            contextlib.chdir(self.path),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(errors),
        ):
            try:
                code = main(["prune", *arguments])
            except (SystemExit, FileNotFoundError) as end:
                code = 1
                errors.write(str(end))
        return Done(code, out.getvalue(), errors.getvalue())

    def files(self) -> set[str]:
        """All files in the results."""
        paths = (self.path / "results").rglob("*")
        return {str(path.relative_to(self.path)) for path in paths if path.is_file()}


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
    gone = before - folder.files()
    names = {Path(path).name for path in folder.first - folder.second}
    assert gone == {path for path in before if any(name in path for name in names)}
    assert len(gone) == 5 * len(names)  # the artifact, its job, log, seconds and saved state


def test_sizes_and_ages_are_told(folder: Folder):
    (path,) = (path for path in folder.first if "/students/jsd" in path)
    write(folder.path / path / "weights", "w" * 3_000_000)
    os.utime(folder.path / path / "weights", (0, 0))
    lines = folder.prune("second.json").stdout.splitlines()
    (line,) = (line for line in lines if line.endswith(path))
    assert line.split()[:4] == ["3.0", "MB", "0.0", "days"]  # its folder is of today


def test_what_it_has_no_name_for_stays(folder: Folder):
    kept = [
        write(folder.path / "results" / name)
        for name in (
            "published/first/index.html",
            "first/report/index.html",
            "first/grid.csv",
            "jobs/first/report.json",
            "jobs/first/grid.csv",
            "students/notes.txt",
            "students/.lock",
            "students/holiday-0123abcd/photo.jpg",
            "students/.notes.1.tmp",
            "damaged/notes.txt",
            "damaged/students/notes.txt",
            "sources/notes.txt",
            "my_own/folder-0123abcd/file",
        )
    ]
    for path in kept:
        os.utime(path, (0, 0))
    done = folder.prune("second.json", "--drop", "first", "--delete")
    assert done.returncode == 0, done.stderr
    assert all(path.is_file() for path in kept)


def test_leftovers_of_killed_jobs_damaged_artifacts_and_states_that_are_done_go(folder: Folder):
    gone = [
        write(folder.path / "results" / name)
        for name in (
            "students/.jsd.small-0123abcd.4711.tmp/weights",
            "students/.jsd.small-0123abcd.lock",
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


def test_a_link_is_not_followed_out_of_the_results(folder: Folder, tmp_path: Path):
    (artifact,) = (path for path in folder.first if "/students/jsd" in path)
    stage, id = artifact.split("/")[1:]
    outside = tmp_path / "outside"
    elsewhere = [
        write(outside / id / "weights"),  # behind a link in the artifact's place
        write(outside / "models/mine-0123abcd/manifest.json", '{"id": "mine-0123abcd"}'),
    ]
    shutil.rmtree(folder.path / artifact)
    (folder.path / artifact).symlink_to(outside / id, target_is_directory=True)
    shutil.rmtree(folder.path / "results/models")
    (folder.path / "results/models").symlink_to(outside / "models", target_is_directory=True)
    inside = folder.path / f"results/{stage}/{id.replace('jsd', 'gkd')}/weights"
    write(inside.parent / "manifest.json", json.dumps({"id": inside.parent.name}))
    inside.symlink_to(elsewhere[0])

    done = folder.prune("second.json", "--delete")
    assert done.returncode == 0, done.stderr
    assert all(path.is_file() for path in elsewhere)
    assert not (folder.path / artifact).is_symlink()
    assert not inside.parent.exists()


def test_results_on_another_disk_are_pruned_all_the_same(folder: Folder, tmp_path: Path):
    (folder.path / "results").rename(tmp_path / "disk")
    (folder.path / "results").symlink_to(tmp_path / "disk", target_is_directory=True)
    done = folder.prune("second.json", "--delete")
    assert done.returncode == 0, done.stderr
    assert not any((folder.path / path).exists() for path in folder.first - folder.second)
    assert all((folder.path / path).exists() for path in folder.second)


def run_of_first(folder: Folder, *, finished: bool) -> None:
    """What a run of the first experiment leaves: its cells, and what each job reads."""
    grid = Grid(validate(json.loads((folder.path / "first.json").read_text())))
    cells = grid_csv.text(grid_csv.rows(grid))
    write(folder.path / "results/jobs/first/grid.csv", cells)
    if finished:
        write(folder.path / "results/first/grid.csv", cells)
    for path, artifact in grid.artifacts.items():
        inputs = [[role, input.path] for role, input in artifact.inputs]
        job = folder.path / "results/jobs" / path.removeprefix("results/")
        write(job.with_name(f"{job.name}.json"), json.dumps({"inputs": inputs}))
        if finished:
            ids = {role: input.id for role, input in artifact.inputs}
            manifest = {"id": artifact.id, "inputs": ids}
            write(folder.path / path / "manifest.json", json.dumps(manifest))


@pytest.mark.parametrize("finished", [True, False])
def test_an_experiment_that_is_not_named_keeps_what_its_cells_need(folder: Folder, finished: bool):
    run_of_first(folder, finished=finished)
    stray = write(folder.path / "results/students/gkd.small-0123abcd/manifest.json")
    stray.write_text(json.dumps({"id": stray.parent.name}))
    before = folder.files() - {str(stray.relative_to(folder.path))}

    for arguments in (["second.json"], []):
        done = folder.prune(*arguments, "--delete")
        assert done.returncode == 0, done.stderr
        assert f"first ({len(folder.first)} artifacts)" in done.stdout
        gone = before - folder.files()
        assert finished or not gone
        assert all("/state/" in path for path in gone)  # of jobs that are done
    assert not stray.parent.exists()

    done = folder.prune("second.json", "--drop", "first", "--delete")
    assert done.returncode == 0, done.stderr
    assert not any((folder.path / path).exists() for path in folder.first - folder.second)
    assert (folder.path / "results/jobs/first/grid.csv").exists()


def test_cells_that_cannot_be_read_are_no_reason_to_delete(folder: Folder):
    write(folder.path / "results/first/grid.csv", "kind,teac")
    before = folder.files()
    done = folder.prune("second.json", "--delete")
    assert done.returncode == 1
    assert "results/first/grid.csv can't be read" in done.stderr
    assert "--drop first" in done.stderr

    done = folder.prune("second.json", "--drop", "third", "--delete")
    assert done.returncode == 1
    assert "--drop third: no experiment of results/; there are: first" in done.stderr
    assert folder.files() == before


def test_what_a_job_is_making_stays(folder: Folder):
    (artifact,) = (path for path in folder.first if "/students/jsd" in path)
    path = folder.path / artifact
    lock = path.with_name(f".{path.name}.lock")
    with FileLock(lock):
        done = folder.prune("second.json", "--delete")
        assert lock.exists()
    assert done.returncode == 0, done.stderr
    assert path.is_dir()
    assert path.name not in done.stdout
    assert folder.prune("second.json", "--delete").returncode == 0
    assert not path.exists()


def test_records_of_snakemake_go_with_their_artifacts(folder: Folder):
    (gone,) = (path for path in folder.first if "/students/jsd" in path)
    kept = next(iter(folder.second))
    folders = [folder.path / ".snakemake" / name for name in ("metadata", "incomplete")]
    for path in (gone, kept, "results/first/report"):
        for records in folders:
            write(records / urlsafe_b64encode(path.encode()).decode())
    logs = [write(folder.path / f".snakemake/log/{name}.snakemake.log") for name in ("old", "new")]
    os.utime(logs[0], (0, 0))

    assert folder.prune("second.json", "--delete").returncode == 0
    for records in folders:
        left = {urlsafe_b64decode(record.name).decode() for record in records.iterdir()}
        assert left == {kept, "results/first/report"}
    assert [log.exists() for log in logs] == [False, True]


def test_nothing_goes_without_a_configuration_or_beside_a_snakemake(folder: Folder):
    before = folder.files()
    done = folder.prune("--delete")
    assert done.returncode == 1
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
