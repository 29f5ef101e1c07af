"""Trackio: a local database that a dashboard in the browser reads, `trackio show`."""

import importlib
import os
from collections.abc import Mapping

from pipeline.training.trackers import PROJECT, TrackedRun

FOLDER = "TRACKIO_DIR"  # the library reads it when it is imported


class TrackioRun:
    """A run whose name is the artifact's."""

    def __init__(self, run: TrackedRun):
        os.environ.setdefault(FOLDER, str((run.folder / "trackio").resolve()))
        trackio = importlib.import_module("trackio")
        self._run = trackio.init(
            project=PROJECT,
            name=run.id,
            config=dict(run.settings),
            resume="allow" if run.last_step else "never",
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
        )

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Takes the metrics of a step."""
        self._run.log(dict(metrics), step=step)

    def flush(self) -> None:
        """Does nothing: the library writes in a thread of its own, several times a second."""

    def close(self) -> None:
        """Ends the run."""
        self._run.finish()


begin = TrackioRun
