"""Weights & Biases, offline unless WANDB_MODE says otherwise: `wandb sync` uploads later.

Its own process writes every quarter of a minute or so: a run that is killed by SIGKILL leaves a
gap of as many seconds, which the artifact's `steps.parquet` has not.
"""

import importlib
import os
from collections.abc import Mapping

from pipeline.training.trackers import PROJECT, TrackedRun


class WandbRun:
    """A run whose id is the artifact's."""

    def __init__(self, run: TrackedRun):
        wandb = importlib.import_module("wandb")
        self._run = wandb.init(
            project=PROJECT,
            id=run.id,
            name=run.id,
            config=dict(run.settings),
            dir=str(run.folder),
            mode=os.environ.get("WANDB_MODE", "offline"),
            resume="allow" if run.last_step else None,  # None: it takes the place of an old one
            settings=wandb.Settings(console="off", silent=True),
        )

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Takes the metrics of a step."""
        self._run.log(dict(metrics), step=step)

    def flush(self) -> None:
        """Does nothing: the other process writes when it likes."""

    def close(self) -> None:
        """Ends the run."""
        self._run.finish()


begin = WandbRun
