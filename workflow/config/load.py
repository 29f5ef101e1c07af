"""The experiment in a configuration file; a faulty one ends the process, a line for each fault."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.settings.experiment import Experiment
from workflow.config.config_file import ConfigError, ConfigFile, read
from workflow.config.validate import validate


def of_file(path: Path) -> Experiment:
    """The experiment in a file."""
    file = _read(path)
    return _validated(file.values, file)


def of_snakemake(config: Mapping[str, object], paths: Sequence[str]) -> Experiment:
    """The experiment that Snakemake has read from files and merged with its own `--config`.

    The files are read again: Snakemake's loader keeps neither lines nor what is there twice.
    """
    files = [_read(_shown(Path(path))) for path in paths]
    is_all = len(files) == 1 and files[0].values == config
    return _validated(config, files[0] if is_all else None)


def plain_data(path: str) -> str:
    """The path of a file that Snakemake may read: nothing in it runs."""
    _read(Path(path))
    return path


def _read(path: Path) -> ConfigFile:
    try:
        return read(path)
    except ConfigError as error:
        sys.exit(str(error))


def _validated(config: Mapping[str, object], file: ConfigFile | None) -> Experiment:
    try:
        return validate(config)
    except ConfigError as error:
        faults = str(error).splitlines()
        sys.exit(file.located(faults) if file else "\n".join(f"config: {line}" for line in faults))


def _shown(path: Path) -> Path:
    """A path as a person would write it here."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
