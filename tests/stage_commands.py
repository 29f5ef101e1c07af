"""Stages run as a rule runs them, by their command line."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import forked

ROOT = Path(__file__).parent.parent
LONG = 600.0  # seconds: nothing that tests wait for takes so long, however busy the machine is


def job_file(path: Path, id: str, settings: Mapping[str, object], code: str = "") -> Path:
    """The file that tells a stage its job."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"id": id, "code": code, "settings": settings}))
    return path


def module_command(module: str, *arguments: str, **limits: str | int) -> list[str]:
    """A process that runs any module as a job is run, within limits of the machine."""
    code = (
        "from workflow.launch.run_stage import MachineLimits, run_module; "
        f"run_module({module!r}, {list(arguments)!r}, MachineLimits(**{limits!r}))"
    )
    return [sys.executable, "-c", code]


def run_stage(
    stage: str, *arguments: str | Path, environment: Mapping[str, str] | None = None, **flags: Path
) -> subprocess.CompletedProcess[str]:
    """A stage in a process of its own, with flags for its files."""
    command = ["-m", "pipeline", stage]
    command += [part for name, path in flags.items() for part in (f"--{name}", str(path))]
    command += map(str, arguments)
    if environment is None:
        return forked.jobs().run(command, ROOT)
    return subprocess.run(  # libraries read some variables as they are loaded
        [sys.executable, *command],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
