"""The state of a training run on disk, so that a kill costs no more than the last interval."""

import shutil
from dataclasses import asdict
from pathlib import Path

import torch

from pipeline import artifacts, cli, integrity
from pipeline.costs import Usage
from pipeline.distill.run import Run, State
from pipeline.distill.training import settle

FILE = "state.pt"
KEPT = 2  # states: where the last one turns out to be damaged, the one before it serves


def save(folder: Path, run: Run, state: State, job_key: str) -> None:
    """Everything that the next step depends on, under its name only when whole.

    Raises: ValueError when the last step's loss is no finite number: its weights are not saved.
    """
    settle(state)
    value = {
        "student": run.student.state_dict(),
        "optimizer": state.optimizer.state_dict(),
        "update": run.update.state_dict() if run.update is not None else None,
        "step": state.step,
        "usage": asdict(state.usage),
        "work": [asdict(state.student_work), asdict(state.teacher_work)],
        "loss": state.loss,
        "policy": state.policy,
        "rows": state.rows,
    }
    with artifacts.whole(folder / f"step-{state.step:08d}") as temporary:
        temporary.mkdir()
        with (temporary / FILE).open("wb") as file:  # so that a full disk is an OSError
            torch.save(value, file)
        made = {"job": job_key, "files": integrity.digests(temporary)}
        artifacts.write_json(temporary / artifacts.MANIFEST, integrity.sealed(made))
    for old in _saved(folder)[:-KEPT]:
        shutil.rmtree(old)


def resume(folder: Path, run: Run, state: State, job_key: str) -> bool:
    """Puts the last saved state back into `run` and `state`; False where there is none.

    A state of other settings, code or inputs is not taken, nor is a damaged one.
    """
    for saved in reversed(_saved(folder)):
        if not integrity.is_whole(saved):
            cli.progress(f"{saved} is damaged: going back to the state before it, if there is one")
        elif integrity.read_manifest(saved)["job"] == job_key:
            _put_back(saved / FILE, run, state)
            return True
        shutil.rmtree(saved)
    return False


def _saved(folder: Path) -> list[Path]:
    """The states in a folder, the last one last."""
    return sorted(folder.glob("step-*"))


def _put_back(path: Path, run: Run, state: State) -> None:
    value = torch.load(path, map_location=run.student.device, weights_only=True)
    run.student.load_state_dict(value["student"])
    state.optimizer.load_state_dict(value["optimizer"])
    if run.update is not None:
        run.update.load_state_dict(value["update"])
    state.step, state.usage = value["step"], Usage(**value["usage"])
    for work, saved in zip((state.student_work, state.teacher_work), value["work"], strict=True):
        vars(work).update(saved)
    state.loss, state.policy, state.rows = value["loss"], value["policy"], value["rows"]


def forget(folder: Path) -> None:
    """Removes states that are no longer needed."""
    shutil.rmtree(folder, ignore_errors=True)
