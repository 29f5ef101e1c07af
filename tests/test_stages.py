"""The command line of each stage: it answers before it loads the libraries of its work."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
STAGES = sorted(path.parent.name for path in ROOT.glob("pipeline/stages/*/__main__.py"))
HEAVY = {"numpy", "pyarrow", "pydantic", "torch", "transformers"}


@pytest.mark.parametrize("stage", STAGES)
def test_help_is_given_without_loading_the_libraries_of_the_work(stage: str):
    code = (
        "import runpy, sys, contextlib\n"
        "sys.argv = ['stage', '--help']\n"
        f"with contextlib.suppress(SystemExit): runpy.run_module('pipeline.stages.{stage}', "
        "run_name='__main__', alter_sys=True)\n"
        "print(*sorted(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert f"usage: python -m pipeline.stages.{stage} " in done.stdout
    assert not HEAVY & set(done.stderr.split())


def test_every_stage_that_a_rule_runs_has_such_a_command_line():
    rules = "".join(path.read_text() for path in ROOT.glob("workflow/rules/*.smk"))
    run = {
        word.removeprefix("pipeline.stages.")
        for word in rules.split()
        if word.startswith("pipeline.")
    }
    assert run
    assert run == set(STAGES)
