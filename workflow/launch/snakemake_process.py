"""Snakemake as a process of its own, whose output goes to a file while something else is shown."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import FrameType

from workflow.launch import processes


def command(config: Path | None, cores: str, profile: Path, snakemake: list[str]) -> list[str]:
    """Snakemake's command line; without a configuration the Snakefile reads config.yaml."""
    if not Path("Snakefile").is_file():
        sys.exit(f"{Path.cwd()} has no Snakefile: run this in the folder of the project")
    configured = ["--configfile", str(config)] if config else []
    machine = ["--cores", cores, "--workflow-profile", str(profile)]
    preloaded = [sys.executable, "-m", "workflow.launch.preloaded", sys.executable]
    return [*preloaded, "-m", "snakemake", *configured, *machine, *snakemake]


def environment() -> dict[str, str]:
    """The environment of a run: its jobs start the `python` that runs this command."""
    path = os.environ.get("PATH") or os.defpath
    return os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{path}",
        "PYTHONOPTIMIZE": "",  # transformers reads its docstrings, which this may leave out
    }


class SnakemakeProcess:
    """A run in the background, which SIGINT and SIGTERM of this process ask to stop.

    It has a session of its own: Ctrl-C on the terminal reaches this process alone, and is passed on
    once. Its jobs then save their state and end, as they do if this process is killed.
    """

    def __init__(self, command: list[str], log: Path):
        self.log, self.is_stopping = log, False
        with log.open("wb") as file:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                env=environment(),
                preexec_fn=_stop_with_parent,
                start_new_session=True,
            )
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._stop)

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        if not self.is_stopping and self._process.returncode is None:
            self.is_stopping = True
            self._process.terminate()

    def has_ended(self, seconds: float) -> bool:
        """Whether it has ended, at the latest after some seconds."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    @property
    def status(self) -> int:
        """The exit status of a run that has ended."""
        return self._process.returncode


def _stop_with_parent() -> None:
    """Ends the run, after its jobs have saved their state, if this process is killed."""
    processes.end_with_parent(signal.SIGKILL)
