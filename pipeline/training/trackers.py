"""Experiment trackers: viewers of the curves of training runs, chosen by `--tracker`, all offline.

A tracker is a choice of the machine and enters no id. Its run has the name of the artifact; a
training run that resumes continues it, and each step is logged once. Only W&B, whose own process
writes now and then, lacks some seconds of steps after a SIGKILL; `steps.parquet` has them.
"""

import importlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

PROJECT = "distilbench"


class TrackerName(StrEnum):
    """The trackers to choose from."""

    NONE = "none"
    TENSORBOARD = "tensorboard"
    TRACKIO = "trackio"
    WANDB = "wandb"


@dataclass(frozen=True)
class TrackedRun:
    """What a tracker is told of a training run before its first step."""

    id: str  # of the artifact
    settings: Mapping[str, object]
    folder: Path  # of the files of all trackers
    last_step: int  # that the tracker has of this run; 0: the run is new


@runtime_checkable
class Tracker(Protocol):
    """A tracker's run."""

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Takes the metrics of a step."""
        ...

    def flush(self) -> None:
        """Writes what was taken, so that a kill loses none of it."""
        ...

    def close(self) -> None:
        """Ends the run."""
        ...


def begin(name: TrackerName, run: TrackedRun) -> Tracker | None:
    """The run of a tracker. Raises ValueError where the tracker's library isn't installed."""
    trackers = {
        TrackerName.TENSORBOARD: _TensorBoard,
        TrackerName.TRACKIO: _trackio,
        TrackerName.WANDB: _wandb,
    }
    if name is TrackerName.NONE:
        return None
    run.folder.mkdir(parents=True, exist_ok=True)
    try:
        return trackers[name](run)
    except ModuleNotFoundError as error:
        raise ValueError(
            f"the tracker {name} needs {error.name}, which is not installed: "
            f"pip install distilbench[{name}]"
        ) from None


class _TensorBoard:
    """Event files in a folder for each run: `tensorboard --logdir results/trackers`."""

    def __init__(self, run: TrackedRun):
        from torch.utils.tensorboard import SummaryWriter

        folder = run.folder / "tensorboard" / run.id
        # a viewer hides the later steps of an earlier process
        self._writer = SummaryWriter(str(folder), purge_step=run.last_step + 1)

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, step)

    def flush(self) -> None:
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


class _Own:
    """A run of a library that writes by itself, in a thread or process of its own."""

    def __init__(self, run: Any):
        self._run = run

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        self._run.log(dict(metrics), step=step)

    def flush(self) -> None:
        pass

    def close(self) -> None:
        self._run.finish()


def _trackio(run: TrackedRun) -> _Own:
    """A local database: `TRACKIO_DIR=results/trackers/trackio trackio show`."""
    # the library reads the variable when it is imported
    os.environ.setdefault("TRACKIO_DIR", str((run.folder / "trackio").resolve()))
    trackio = importlib.import_module("trackio")
    return _Own(
        trackio.init(
            project=PROJECT,
            name=run.id,
            config=dict(run.settings),
            resume="allow" if run.last_step else "never",
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
        )
    )


def _wandb(run: TrackedRun) -> _Own:
    """Files that `wandb sync` uploads later, unless WANDB_MODE says otherwise."""
    wandb = importlib.import_module("wandb")
    return _Own(
        wandb.init(
            project=PROJECT,
            id=run.id,
            name=run.id,
            config=dict(run.settings),
            dir=str(run.folder),
            mode=os.environ.get("WANDB_MODE", "offline"),
            resume="allow" if run.last_step else None,  # None: it takes the place of an old one
            settings=wandb.Settings(console="off", silent=True),
        )
    )
