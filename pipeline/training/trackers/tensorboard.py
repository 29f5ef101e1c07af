"""TensorBoard: event files in a folder for each run. `tensorboard --logdir results/trackers`."""

from collections.abc import Mapping

from torch.utils.tensorboard import SummaryWriter

from pipeline.training.trackers import TrackedRun


class TensorBoardRun:
    """A run's event files; a run that starts again hides the steps of an earlier one."""

    def __init__(self, run: TrackedRun):
        folder = run.folder / "tensorboard" / run.id
        self._writer = SummaryWriter(str(folder), purge_step=run.last_step + 1)

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Takes the metrics of a step."""
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, step)

    def flush(self) -> None:
        """Writes what was taken."""
        self._writer.flush()

    def close(self) -> None:
        """Ends the run."""
        self._writer.close()


begin = TensorBoardRun
