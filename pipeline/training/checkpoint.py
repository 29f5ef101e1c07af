"""The state of a training run on disk, so that a kill costs no more than the last interval."""

import hashlib
import io
import shutil
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import torch
from typing_extensions import Buffer

from pipeline.artifacts import artifact, checksums
from pipeline.models.sharding import is_sharded, load_optimizer, whole_state
from pipeline.models.trainable import learned_state, load_learned_state
from pipeline.runtime.costs import Cost
from pipeline.runtime.progress import log
from pipeline.training.checkpoint_selection import BestWeights
from pipeline.training.metrics import flush_metrics
from pipeline.training.state import TrainingRun, TrainingState

FILE = "state.pt"
KEPT = 2  # states: where the last one turns out to be damaged, the one before it serves


class HashedFile(io.FileIO):
    """A file that is digested while it is written, from start to end.

    A state of tens of gigabytes must be on the disk before a scheduler's patience ends: it isn't
    read once more, and a second thread digests each block while it is written.
    """

    def __init__(self, path: Path, digester: Executor):
        super().__init__(path, "wb")
        self._digester, self._sha256, self._size = digester, hashlib.sha256(), 0

    def write(self, data: Buffer) -> int:
        """Writes all of `data`; on return nothing refers to it any longer."""
        block = memoryview(data).cast("B")
        digesting = self._digester.submit(self._sha256.update, block)
        try:
            written = 0
            while written < len(block):  # a system call writes at most 2 GiB
                written += super().write(block[written:])
        finally:
            digesting.result()
        self._size += written
        return written

    def digest(self) -> checksums.Digest:
        """Size and sha256 of all that was written."""
        return {"bytes": self._size, "sha256": self._sha256.hexdigest()}


def save(folder: Path, run: TrainingRun, state: TrainingState, job_key: str) -> None:
    """Saves the training state atomically, the first rank that of all; all ranks must call it.

    Raises: ValueError when the last step's loss is not finite: its weights are not saved.
    """
    flush_metrics(state)
    value = whole_state(_contents(run, state))
    if not run.ranks.is_first:
        return
    with artifact.atomic_write(folder / f"step-{state.step:08d}") as temporary:
        temporary.mkdir()
        manifest = {"job": job_key, "files": {FILE: _write(value, temporary / FILE)}}
        artifact.write_json(temporary / artifact.MANIFEST, checksums.with_checksum(manifest))
    for old in _saved(folder)[:-KEPT]:
        shutil.rmtree(old)


def _contents(run: TrainingRun, state: TrainingState) -> dict[str, object]:
    """What is saved: the same for any number of ranks."""
    return {
        "student": learned_state(run.student),
        "optimizer": state.optimizer.state_dict(),
        "update": run.teacher_update.state_dict() if run.teacher_update is not None else None,
        "projectors": run.features.projectors.state_dict() if run.features else None,
        "step": state.step,
        "usage": asdict(state.usage),
        "work": [asdict(work) for work in state.work],
        "loss": state.loss,
        "policy": state.policy,
        "best": vars(state.best) if state.best else None,
        "rows": state.rows,
    }


def _write(value: dict[str, object], path: Path) -> checksums.Digest:
    with ThreadPoolExecutor(1) as digester, HashedFile(path, digester) as file:
        torch.save(value, file)
    return file.digest()


def resume(folder: Path, run: TrainingRun, state: TrainingState, job_key: str) -> bool:
    """Puts the last saved state back into `run` and `state`; False where there is none.

    A state of other settings, code or inputs is not taken, nor is a damaged one. It may have been
    saved by another number of ranks.
    """
    # one rank alone looks, since it removes what is damaged
    saved = run.ranks.of_first(lambda: _intact(folder, job_key))
    if saved is not None:
        _put_back(saved / FILE, run, state)
    return saved is not None


def _intact(folder: Path, job_key: str) -> Path | None:
    """The last state of a job that is whole; others are removed."""
    for saved in reversed(_saved(folder)):
        if not checksums.is_intact(saved):
            log(f"{saved} is damaged: going back to the state before it, if there is one")
        elif checksums.read_manifest(saved)["job"] == job_key:
            return saved
        shutil.rmtree(saved)
    return None


def _saved(folder: Path) -> list[Path]:
    """The states in a folder, the last one last."""
    return sorted(folder.glob("step-*"))


def _put_back(path: Path, run: TrainingRun, state: TrainingState) -> None:
    sharded = is_sharded(run.student)  # then no device has room for the whole state
    place = torch.device("cpu") if sharded else run.student.device
    value = torch.load(path, map_location=place, mmap=sharded, weights_only=True)
    load_learned_state(run.student, value["student"])
    load_optimizer(state.optimizer, value["optimizer"])
    if run.teacher_update is not None:
        run.teacher_update.load_state_dict(value["update"])
    if run.features is not None:
        run.features.projectors.load_state_dict(value["projectors"])
    state.step, state.usage = value["step"], Cost(**value["usage"])
    for work, saved in zip(state.work, value["work"], strict=True):
        vars(work).update(saved)
    state.loss, state.policy, state.rows = value["loss"], value["policy"], value["rows"]
    if value["best"]:
        saved = value["best"].pop("weights").items() if run.ranks.is_first else ()
        weights = {name: weight.cpu() for name, weight in saved}
        state.best = BestWeights(value["best"]["step"], value["best"]["score"], weights)


def forget(folder: Path) -> None:
    """Removes all saved states."""
    shutil.rmtree(folder, ignore_errors=True)
