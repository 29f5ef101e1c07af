"""What is recorded of the machine and of the commit that an artifact was made on."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from snaking import ROOT

from pipeline.artifacts import artifact, environment
from pipeline.artifacts.artifact import Job
from pipeline.reporting.analysis import origin

FILES = (
    "pipeline/__init__.py",
    "pipeline/artifacts/__init__.py",
    "pipeline/artifacts/environment.py",
)
GIT = ("git", "-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false")


def git(folder: Path, *arguments: str) -> str:
    command = [*GIT, "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def recorded(folder: Path, **variables: str) -> dict[str, Any]:
    """The checkout, as code in the folder tells it."""
    code = "import json; from pipeline.artifacts import environment as e; "
    code += "print(json.dumps(e.checkout()))"
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env=kept | variables,
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """The code in a folder that git knows nothing of."""
    for name in FILES:
        (tmp_path / "code" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / "code" / name)
    return tmp_path / "code"


@pytest.fixture
def committed(sources: Path) -> Path:
    """The same as a repository with one commit."""
    git(sources, "init", "-q")
    git(sources, "add", ".")
    git(sources, "commit", "-q", "-m", "first")
    return sources


def test_a_commit_is_recorded_with_its_name(committed: Path) -> None:
    commit = git(committed, "rev-parse", "HEAD")
    told = recorded(committed)
    assert told == {"commit": commit, "name": commit[:7], "remote": "", "changed": []}
    git(committed, "tag", "v1.0")
    assert recorded(committed)["name"] == "v1.0"


def test_files_that_the_commit_lacks_or_has_otherwise_are_named(committed: Path) -> None:
    edited, added = "pipeline/artifacts/environment.py", "pipeline/losses/mine ü.py"
    (committed / "config.yaml").write_text("experiment: mine")  # an input, recorded otherwise
    with (committed / edited).open("a") as file:
        file.write("# edited\n")
    (committed / added).parent.mkdir()
    (committed / added).write_text("")
    told = recorded(committed)
    assert told["changed"] == [edited, added]
    assert origin.commit(told) == f"{told['name']}, 2 files changed"


def test_without_git_nothing_is_recorded_and_nothing_fails(sources: Path, tmp_path: Path) -> None:
    assert recorded(sources) == {}  # a tarball
    git(sources.parent, "init", "-q")
    assert recorded(sources) == {}  # installed somewhere within another repository
    assert recorded(sources, PATH=str(tmp_path)) == {}  # git is not installed


def test_a_hook_of_another_repository_does_not_answer(committed: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    git(tmp_path / "other", "init", "-q")
    told = recorded(committed, GIT_DIR=str(tmp_path / "other/.git"))
    assert told["commit"] == git(committed, "rev-parse", "HEAD")


@pytest.mark.parametrize(
    ("remote", "address"),
    [
        ("https://someone:secret@github.com/lab/bench.git", "https://github.com/lab/bench"),
        ("git@github.com:lab/bench.git", "https://github.com/lab/bench"),
        ("ssh://git@git.example.org:2222/lab/bench", "https://git.example.org/lab/bench"),
        ("https://gitlab.com/lab/group/bench/", "https://gitlab.com/lab/group/bench"),
        ("/home/someone/bench", ""),
        ("../bench.git", ""),
        ("", ""),
    ],
)
def test_a_remote_is_a_web_page_without_a_password(remote: str, address: str) -> None:
    assert environment.web_address(remote) == address


@pytest.mark.parametrize(
    ("remote", "folder"),
    [
        ("https://github.com/lab/bench", "https://github.com/lab/bench/blob/abc/"),
        ("https://bitbucket.org/lab/bench", "https://bitbucket.org/lab/bench/src/abc/"),
        ("https://codeberg.org/lab/bench", "https://codeberg.org/lab/bench/src/commit/abc/"),
        ("", ""),
    ],
)
def test_a_file_has_an_address_where_the_commit_has_it(remote: str, folder: str) -> None:
    checkout = {"commit": "abc", "name": "abc", "remote": remote, "changed": ["pipeline/a.py"]}
    assert origin.file_address(checkout, "pipeline/b.py") == (folder and f"{folder}pipeline/b.py")
    assert origin.file_address(checkout, "pipeline/a.py") == ""
    assert origin.file_address({}, "pipeline/b.py") == ""


def test_machine_and_commit_are_a_part_of_no_digest(tmp_path: Path) -> None:
    jobs = [
        Job("tiny-12345678", "0a1b", {}, checkout={"commit": commit, "changed": []})
        for commit in ("abc", "def")
    ]
    for job in jobs:
        (tmp_path / job.checkout["commit"]).mkdir()
        artifact.write_manifest(tmp_path / job.checkout["commit"], job, {})
    first, second = (
        artifact.read_json(tmp_path / name / "manifest.json") for name in ("abc", "def")
    )
    assert first["checkout"] != second["checkout"]
    assert first["content"] == second["content"]
    assert artifact.resume_key(jobs[0], {}) == artifact.resume_key(jobs[1], {})
    assert artifact.is_up_to_date(tmp_path / "abc", jobs[1], {})


def test_a_machine_is_told_in_a_line() -> None:
    facts = environment.machine()
    assert {"host", "cpu", "cores", "memory_bytes", "gpus"} == set(facts)
    gpu = {"host": "node7", "cpu": "EPYC", "cores": 16, "memory_bytes": 2**36, "gpus": ["H100"] * 2}
    assert origin.machine(gpu) == "node7: EPYC, 16 cores, 64 GiB, 2 × H100"


@pytest.mark.parametrize(("seconds", "shown"), [(20, "20 s"), (300, "5 min"), (9000, "2.5 h")])
def test_the_time_of_the_jobs_is_never_rounded_to_zero(seconds: float, shown: str):
    assert origin.Origin("", "", (), (), seconds).job_time == shown
