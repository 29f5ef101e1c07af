"""Kill a run anywhere: Snakemake, its jobs and what serves them; take its disk; damage its files.

The next run goes on, makes nothing again that was finished, and ends with the scores of a run that
nothing happened to.
"""

import contextlib
import os
import shutil
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from damage import cut
from fault_injection import agree, fill, is_running, kill, small_disk, waited
from fault_runs import Workflow, finished
from snaking import Copy

from workflow.commands.run import fresh_log, last_words
from workflow.config.validate import validate
from workflow.grid.artifact import Artifact
from workflow.grid.grid import Grid

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("faults")]
COMPILED = f"torchinductor_{os.getuid()}"  # what a GPU's compiler has made: of use to later runs
Told = Callable[[str, object], None]  # what is injected, and how often


@dataclass(frozen=True)
class Hit:
    """The kill of a process of a run while an artifact is made, and how the run then ends."""

    victim: str
    artifact: Artifact
    moment: str  # when the artifact's log says so
    code: int
    told: str


@pytest.fixture(scope="module")
def killed(chain: Copy, tmp_path_factory: pytest.TempPathFactory) -> Copy:
    """The source of the project once more, without results."""
    folder = tmp_path_factory.mktemp("killed")
    ignored = shutil.ignore_patterns("results", ".snakemake")
    return Copy(Path(shutil.copytree(chain.folder, folder, ignore=ignored, dirs_exist_ok=True)))


def scores(copy: Copy) -> pd.DataFrame:
    return pd.read_parquet(copy.folder / "results/tiny/report/scores.parquet")


def test_a_run_killed_again_and_again_ends_with_the_scores_of_an_unbroken_one(
    chain: Copy, killed: Copy, tiny: dict[str, Any], record_property: Told
):
    record_property("injected", ["kills of a process of a run", 4])
    record_property("injected", ["kills of all of a run but a job", 1])
    grid, kept = Grid(validate(tiny)), {}
    student = grid.student("jsd", "small", "large", 1)
    hits = [  # each needs what the one before it was kept from making
        Hit("Snakemake", grid.teacher("large"), "step 1/", 137, "signal 9 ended the command"),
        Hit("the server", grid.signals("large"), "", 1, "libraries was killed, and its jobs with"),
        Hit("a job", student, "step 1/", 1, ""),
        Hit("the supervisor", grid.evaluations[student], "", -9, ""),
    ]
    for hit in hits:
        run = Workflow.begin(killed, tiny)
        run.strike(hit.victim, hit.artifact, hit.moment)
        code, output = run.end()
        assert code == hit.code, output
        assert hit.told in output, output
        assert not list(killed.folder.glob("results/[a-z]*/.*.tmp/manifest.json"))
        assert kept.items() <= finished(killed).items(), "a finished artifact was made again"
        kept = finished(killed)
        assert killed.folder / hit.artifact.path / "manifest.json" not in kept

    abandoned = Workflow.begin(killed, tiny)
    with abandoned.holding(grid.evaluations[student], ""):  # a job that outlives its run
        processes = [abandoned.process.pid, abandoned.snakemake(), abandoned.server()]
        for process in processes:
            assert process is not None
            assert kill(process)
        waited(lambda: not any(map(is_running, processes)))  # a large one takes a while to end
        last = Workflow.begin(killed, tiny)
        assert "killed: waiting for its jobs" in last.output.readline()
        assert last.snakemake() is None
    abandoned.end()
    code, output = last.end()
    assert code == 0, output + killed.logs()
    assert kept.items() <= finished(killed).items(), "a finished artifact was made again"
    assert {path.name for path in (killed.folder / "tmp").iterdir()} <= {COMPILED}
    assert set(finished(killed)) == {
        killed.folder / path.relative_to(chain.folder) for path in finished(chain)
    }
    for path in finished(chain):
        if path.parent.name == "report":
            continue  # it tells seconds; its scores are compared below
        assert agree(killed.folder / path.parent.relative_to(chain.folder), path.parent), path
    pd.testing.assert_frame_equal(scores(killed), scores(chain), check_exact=True)
    assert not list((killed.folder / "results/state").iterdir())
    assert not list(killed.folder.glob("results/*/.*.tmp"))


def lost(copy: Copy, *artifacts: Artifact) -> dict[Path, int]:
    """What is left when some artifacts and the report are gone."""
    for artifact in artifacts:
        shutil.rmtree(copy.folder / artifact.path, ignore_errors=True)
    shutil.rmtree(copy.folder / "results/tiny", ignore_errors=True)
    return finished(copy)


def test_an_input_that_was_cut_is_remade_by_the_next_run_and_nothing_else_is(
    chain: Copy, killed: Copy, tiny: dict[str, Any], record_property: Told
):
    record_property("injected", ["cut inputs in a run", 1])
    grid = Grid(validate(tiny))
    student, cache = grid.student("jsd", "small", "large", 1), grid.signals("large")
    shard = killed.folder / cache.path / "train-00000.parquet"
    cut(shard)
    kept = lost(killed, student, grid.evaluations[student])
    code, output = Workflow.begin(killed, tiny).end()
    assert code == 0, output + killed.logs()
    aside = f"results/damaged/caches/{cache.id}.1"
    assert aside in output
    assert (killed.folder / aside).exists()
    kept.pop(killed.folder / cache.path / "manifest.json")
    assert kept.items() <= finished(killed).items(), "a finished artifact was made again"
    pd.testing.assert_frame_equal(scores(killed), scores(chain), check_exact=True)


def test_a_run_on_a_full_disk_goes_on_when_there_is_room(
    chain: Copy, killed: Copy, tiny: dict[str, Any], tmp_path: Path, record_property: Told
):
    record_property("injected", ["full disks under a run", 1])
    grid = Grid(validate(tiny))
    student = grid.student("jsd", "small", "large", 1)
    with small_disk(tmp_path / "disk", kilobytes=50_000):
        copied = shutil.copytree(killed.folder, tmp_path / "disk/project", symlinks=True)
        copy = Copy(Path(copied))
        kept = lost(copy, student, grid.evaluations[student])
        fill(tmp_path / "disk/filler")
        code, output = Workflow.begin(copy, tiny).end()
        assert code not in (0, os.EX_TEMPFAIL)
        assert "No space left on device" in output + copy.logs()
        (tmp_path / "disk/filler").unlink()
        code, output = Workflow.begin(copy, tiny).end()
        assert code == 0, output + copy.logs()
        assert kept.items() <= finished(copy).items(), "a finished artifact was made again"
        pd.testing.assert_frame_equal(scores(copy), scores(chain), check_exact=True)


def test_of_two_runs_of_the_same_one_is_refused_and_the_other_saves_when_it_is_stopped(
    killed: Copy, tiny: dict[str, Any], record_property: Told
):
    record_property("injected", ["second runs beside one", 1])
    record_property("injected", ["SIGTERM to a run", 1])
    teacher = Grid(validate(tiny)).teacher("large")
    lost(killed, teacher)
    first = Workflow.begin(killed, tiny)
    with first.holding(teacher, "step 1/"):
        code, output = Workflow.begin(killed, tiny).end()
        assert code == 1, output
        assert f"active ({socket.gethostname()}.{first.process.pid}, host and process)" in output
        assert "Directory cannot be locked" in output
        (line,) = last_words(output, ["tiny"])  # Snakemake would have its lock removed
        assert line.startswith("not started: the run of tiny is making the same artifacts")
        with contextlib.chdir(killed.folder):  # the first one's log stays its own
            logs = [fresh_log(experiment).name for experiment in ("tiny", "other")]
        assert logs == ["tiny.second.log", "other.log"]
        assert last_words(output, []) == [row for row in output.splitlines() if row.strip()][-12:]

        assert first.process.poll() is None
        first.process.send_signal(signal.SIGTERM)
    code, output = first.end()
    assert code == os.EX_TEMPFAIL, output
    assert "asked to stop" in output
    assert "stopped by signal 15 after step" in killed.logs()
