"""Runs the job that makes one artifact, in this terminal and not under Snakemake."""

from pathlib import Path

from workflow.launch import run_stage


def main(*, path: Path, configfile: Path, profile: Path | None) -> int:
    """Runs the job; its messages go to this terminal, and a failure is its exit status."""
    run_stage.run_stage(*run_stage.prepare_artifact(path, configfile, profile))
    return 0
