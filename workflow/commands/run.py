"""Runs Snakemake on an experiment, with the libraries of its jobs loaded once."""

import os
import sys
from pathlib import Path

from workflow.config import load

CONFIG = Path("config.yaml")


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
    folders = [str(Path(sys.executable).parent), *os.environ.get("PATH", "").split(os.pathsep)]
    return os.environ | {"PATH": os.pathsep.join(folders)}


def main(*, config: Path | None, cores: str, profile: Path, snakemake: list[str]) -> int:
    """Becomes Snakemake's process, so that signals reach it and its exit status is this one's.

    The configuration is read before: Snakemake's own reader would run what a file has as code.
    """
    load.plain_data(str(config or CONFIG))
    os.execve(sys.executable, command(config, cores, profile, snakemake), environment())
