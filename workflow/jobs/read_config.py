"""The jobs of a configuration file, read as Snakemake reads it."""

import sys
from pathlib import Path

from snakemake.common.configfile import load_configfile
from snakemake_interface_common.exceptions import WorkflowError

from workflow.jobs.jobs import Jobs


def jobs(path: Path, keeps_code: bool = False) -> Jobs:
    """The jobs of the experiment in a file; a faulty one ends the process with its faults."""
    try:
        config = load_configfile(path)
    except WorkflowError as error:
        sys.exit(f"config: {path}: {error}")
    return Jobs.of(config, keeps_code=lambda: keeps_code)
