"""The environments that users have: commands and jobs work in them, or say in a line what to do."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from snaking import Copy

from workflow.config.validate import validate
from workflow.grid.grid import Grid

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("chain_again")]
DISTILBENCH = [sys.executable, "-m", "workflow.commands.main"]
NO_FOLDER = "/dev/null/home"  # it is not there, and nobody can make it
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
STRANGE = ASCII | {
    "HOME": NO_FOLDER,
    "PATH": "",
    "COLUMNS": "1",
    "PYTHONOPTIMIZE": "2",
    "PYTHONWARNINGS": "error",
}


def ran(
    copy: Copy, *command: str, shell: str = "", **variables: str
) -> subprocess.CompletedProcess[str]:
    """A command in an environment of these variables alone, after lines of a shell."""
    return subprocess.run(
        ["/bin/sh", "-c", f'{shell}\nexec "$@"', "sh", *command],
        cwd=copy.folder,
        env={"PYTHONPATH": str(copy.folder), "CUDA_VISIBLE_DEVICES": "", **variables},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )


def lose(copy: Copy, tiny: dict[str, Any]) -> None:
    """Deletes one artifact of each kind of job: of data, of a model's texts, and the report."""
    grid = Grid(validate(tiny))
    evaluation = grid.evaluations[grid.student("jsd", "small", "large", 1)]
    for path in (grid.data().path, evaluation.path, "results/tiny/report"):
        shutil.rmtree(copy.folder / path)


def test_a_run_has_the_same_scores_in_the_strangest_environment(
    chain: Copy, tiny: dict[str, Any], tmp_path: Path
):
    chain.made(tiny)  # other tests may have left a report on results of edited code
    scores = chain.folder / "results/tiny/report/scores.parquet"
    before, temporary = pd.read_parquet(scores), tmp_path / ("x" * 150)
    temporary.mkdir()
    lose(chain, tiny)
    limits = "umask 077; ulimit -n 128; exec <&-"
    run = [*DISTILBENCH, "run", "tiny.json", "--cores", "2"]
    done = ran(chain, *run, shell=limits, TMPDIR=str(temporary), **STRANGE)
    assert done.returncode == 0, done.stdout + done.stderr + chain.logs()
    pd.testing.assert_frame_equal(pd.read_parquet(scores), before, check_exact=True)
    assert {path.name for path in temporary.iterdir()} <= {f"torchinductor_{os.getuid()}"}


def test_a_workflow_runs_where_its_environment_is_not_activated(chain: Copy, tiny: dict[str, Any]):
    shutil.rmtree(chain.folder / Grid(validate(tiny)).data().path)
    snakemake = [sys.executable, "-m", "snakemake", "--configfile", "tiny.json", "--cores", "1"]
    done = ran(chain, *snakemake, PATH="/usr/bin:/bin", TMPDIR=NO_FOLDER)
    assert done.returncode == 0, done.stdout + done.stderr + chain.logs()


@pytest.mark.parametrize("command", ["plan", "status", "report"])
def test_a_command_says_the_same_in_the_strangest_environment(chain: Copy, command: str):
    usual = ran(chain, *DISTILBENCH, command, "tiny.json", LC_ALL="C.UTF-8")
    assert (usual.returncode, usual.stderr) == (0, "")
    strange = ran(
        chain, *DISTILBENCH, command, "tiny.json", shell="umask 077; ulimit -n 64", **STRANGE
    )
    assert (strange.returncode, strange.stderr) == (0, "")
    escaped = usual.stdout.encode("ascii", errors="backslashreplace").decode()
    assert strange.stdout == escaped


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_no_file_takes_the_place_of_a_closed_stream(chain: Copy, closed: str, tmp_path: Path):
    # the file is the first that is opened: it would get the number of the closed stream
    code = (
        "import sys; from pipeline.runtime.streams import prepare_streams; prepare_streams(); "
        "file = open(sys.argv[1], 'w'); print('said'); print('said', file=sys.stderr); "
        "sys.stdin.read(); file.write(str(file.fileno() > 2))"
    )
    done = ran(chain, sys.executable, "-c", code, str(tmp_path / "file"), shell=f"exec {closed}")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "file").read_text() == "True"


def test_what_the_machine_refuses_is_one_line_with_a_way_out(chain: Copy):
    done = ran(chain, *DISTILBENCH, "methods", shell="exec >/dev/full")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: [Errno 28] No space left on device; make room")
