"""Experiment trackers: each is a file of this folder, named as in the option, with a `begin`.

A tracker is a choice of the machine and enters no id. Its run has the name of the artifact; a
training run that resumes continues it, and each step is logged once. All of them work offline.
"""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol, runtime_checkable

PROJECT = "distilbench"


class TrackerName(StrEnum):
    """The trackers to choose from."""

    NONE = "none"
    TENSORBOARD = "tensorboard"
    TRACKIO = "trackio"
    WANDB = "wandb"


@runtime_checkable
class Tracker(Protocol):
    """A tracker's run."""

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Takes the metrics of a step."""
        ...

    def flush(self) -> None:
        """Writes what was taken: a kill loses none of it."""
        ...

    def close(self) -> None:
        """Ends the run."""
        ...


@dataclass(frozen=True)
class TrackedRun:
    """What a tracker is told of a training run before its first step."""

    id: str  # of the artifact
    settings: Mapping[str, object]
    folder: Path  # of the files of all trackers
    last_step: int  # that the tracker has of this run; 0: the run is new


def begin(name: TrackerName, run: TrackedRun) -> Tracker | None:
    """The run of a tracker. Raises ValueError where the tracker's library isn't installed."""
    if name is TrackerName.NONE:
        return None
    run.folder.mkdir(parents=True, exist_ok=True)
    try:
        return importlib.import_module(f"{__name__}.{name}").begin(run)
    except ModuleNotFoundError as error:
        raise ValueError(
            f"the tracker {name} needs {error.name}, which is not installed: "
            f"pip install distilbench[{name}]"
        ) from None
