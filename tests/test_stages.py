"""The command line of the stages: what it parses, refuses, and leaves unloaded."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from stage_commands import ROOT, run_stage

from pipeline.artifacts.stages import STAGES as FOLDERS
from pipeline.stages.options import STAGES

HEAVY = {"numpy", "pyarrow", "pydantic", "torch", "transformers"}


def ran(code: str) -> subprocess.CompletedProcess[str]:
    """What a new Python says that runs some code."""
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)


def test_help_loads_none_of_the_libraries_of_the_work():
    code = (
        "import runpy, sys, contextlib\n"
        "sys.argv = ['pipeline', 'train', '--help']\n"
        "with contextlib.suppress(SystemExit): runpy.run_module('pipeline', run_name='__main__')\n"
        "print(*sorted(sys.modules), file=sys.stderr)"
    )
    done = ran(code)
    assert "usage: python -m pipeline train" in done.stdout
    assert "--gradient-checkpointing" in done.stdout
    assert not HEAVY & set(done.stderr.split())


def test_what_every_start_of_snakemake_loads_has_no_library_of_jobs():
    code = "import sys; from workflow.commands import partial_report; print(*sys.modules)"
    done = ran(code)
    loaded = set(done.stdout.split())
    assert "workflow.config.report_checks" in loaded
    assert not {"matplotlib", "pandas", "torch", "transformers"} & loaded


def test_each_stage_is_a_module_with_options():
    shared = {"cached_teachers", "divided", "evaluator", "training_run"}
    not_stages = {"__init__", "command_line", "options", *shared}
    modules = {path.stem for path in ROOT.glob("pipeline/stages/*.py")} - not_stages
    assert modules == set(STAGES)


def test_every_stage_makes_artifacts_but_the_check_of_a_cache():
    assert {*FOLDERS.values(), "ask", "judge", "report"} == set(STAGES) - {"verify_cache"}


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("sing",), "invalid choice: 'sing'"),
        (("prepare_data",), "--job, --out"),
        (("train", "--out", "x", "--threads", "two"), "invalid int value: 'two'"),
        (("prepare_data", "--out", "x", "--job", "nowhere.json"), "nowhere.json"),
    ],
)
def test_a_faulty_command_line_is_refused_with_the_fault(arguments: tuple[str, ...], word: str):
    done = run_stage(*arguments)
    assert done.returncode == 2
    assert word in done.stderr


def test_a_job_file_without_settings_is_refused(tmp_path: Path):
    job = tmp_path / "job.json"
    job.write_text(json.dumps({"id": "x", "code": ""}))
    done = run_stage("prepare_data", job=job, out=tmp_path / "out")
    assert done.returncode == 2
    assert "id, code and settings" in done.stderr
