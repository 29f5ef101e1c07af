"""The state of a training run on disk, so that a kill costs no more than the last interval."""

import shutil
from pathlib import Path

import torch

from pipeline import artifacts
from pipeline.training import Run, State

FILE = "state.pt"


def save(folder: Path, run: Run, state: State, job_key: str) -> None:
    """Everything that the next step depends on, under its name only when whole."""
    value = {
        "job": job_key,
        "student": run.student.state_dict(),
        "optimizer": state.optimizer.state_dict(),
        "update": run.update.state_dict() if run.update is not None else None,
        "step": state.step,
        "seconds": state.seconds,
        "loss": state.loss,
        "policy": state.policy,
        "rows": state.rows,
    }
    with artifacts.whole(folder / FILE) as temporary:
        torch.save(value, temporary)


def resume(folder: Path, run: Run, state: State, job_key: str) -> bool:
    """Puts a saved state back into `run` and `state`; False where there is none for this job.

    A state of another job under the same id (settings or code changed) is not taken.
    """
    path = folder / FILE
    if not path.exists():
        return False
    value = torch.load(path, map_location=run.student.device, weights_only=True)
    if value["job"] != job_key:
        return False

    run.student.load_state_dict(value["student"])
    state.optimizer.load_state_dict(value["optimizer"])
    if run.update is not None:
        run.update.load_state_dict(value["update"])
    state.step, state.seconds = value["step"], value["seconds"]
    state.loss, state.policy, state.rows = value["loss"], value["policy"], value["rows"]
    return True


def forget(folder: Path) -> None:
    """Removes a state that is no longer needed."""
    shutil.rmtree(folder, ignore_errors=True)
