"""A state on the disk: digested while it is written, and whole or not there."""

import errno
import hashlib
import json
from itertools import islice
from pathlib import Path

import pytest
from players import Setup, run

from pipeline.artifacts import checksums
from pipeline.training import checkpoint
from pipeline.training.loop import train
from pipeline.training.state import initial_state


def test_a_state_is_digested_as_it_is_written(tmp_path: Path) -> None:
    made = run(Setup("sft", steps=2, batch_size=2))
    state = initial_state(made)
    list(islice(train(made, state), 1))
    checkpoint.save(tmp_path, made, state, "job")
    folder = tmp_path / "step-00000001"
    data = (folder / checkpoint.FILE).read_bytes()
    manifest = json.loads((folder / "manifest.json").read_bytes())
    expected = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    assert manifest["files"] == {checkpoint.FILE: expected}
    assert checksums.is_intact(folder)


def test_a_disk_that_is_full_in_the_course_is_told_as_such() -> None:
    made = run(Setup("sft", steps=2, batch_size=2))
    state = initial_state(made)
    list(islice(train(made, state), 1))
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no disk that is always full")
    with pytest.raises(OSError, match="No space left") as caught:
        checkpoint._write({"student": made.student.state_dict()}, full)
    assert caught.value.errno == errno.ENOSPC
