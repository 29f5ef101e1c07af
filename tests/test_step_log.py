"""The steps of a training run as they come, and the trackers that are told them, each step once."""

import importlib.util
import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from snaking import ROOT

from pipeline.training import step_log, trackers
from pipeline.training.step_log import StepLog
from pipeline.training.trackers import TrackedRun, TrackerName

KEY, STEPS = "a job and what it reads", 20


def row(step: int) -> dict[str, float | None]:
    """A step of 2 seconds and 100 response tokens."""
    values = {"step": step, "loss_nats": 3 - step / 10, "response_tokens": 100, "seconds": 2 * step}
    return values | {"validation_nll_nats": 2.5 if step % 5 == 0 else None}


def rows(count: int) -> list[dict[str, float | None]]:
    return [row(step) for step in range(1, count + 1)]


@dataclass
class Heard:
    """A tracker's run that remembers what it was told."""

    steps: list[int] = field(default_factory=list)

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        assert None not in metrics.values()
        self.steps.append(step)

    def flush(self) -> None: ...

    def close(self) -> None: ...


def begun(folder: Path, resumed: int, heard: Heard, key: str = KEY) -> StepLog:
    """The log of a run that has resumed after so many steps."""
    tracked = step_log.steps_before(folder, key)
    return StepLog(folder, key, STEPS, rows(resumed), heard, tracked)


def lines(folder: Path) -> list[int]:
    heading, *steps = (folder / step_log.FILE).read_text().splitlines()
    assert json.loads(heading)["steps"] == STEPS
    return [json.loads(line)["step"] for line in steps]


def test_steps_can_be_read_while_the_run_goes_on(tmp_path: Path):
    log = begun(tmp_path, 0, Heard())
    log.append(rows(3))
    time.sleep(step_log.SECONDS)
    log.append(rows(4))
    logged = step_log.read(tmp_path)
    log.close()
    assert logged is not None
    assert (logged.last, logged.steps) == (4, STEPS)
    assert logged.seconds_per_step == 2
    assert logged.describe() == "step 4/20  loss 2.6000 nats  50 response tok/s"


def test_after_a_kill_no_step_is_there_twice_and_none_is_told_twice(tmp_path: Path):
    heard = Heard()
    killed = begun(tmp_path, 0, heard)
    killed.append(rows(9))
    killed.close()
    with (tmp_path / step_log.FILE).open("a") as file:
        file.write('{"step": 10, "lo')  # cut in the middle of a line
    with closing(begun(tmp_path, 6, heard)) as log:  # the last saved state is of step 6
        log.append(rows(8))
        log.append(rows(12))
    assert lines(tmp_path) == list(range(1, 13))
    assert heard.steps == list(range(1, 13))


def test_steps_of_other_code_are_told_anew(tmp_path: Path):
    heard = Heard()
    with closing(begun(tmp_path, 0, heard, "the job by other code")) as log:
        log.append(rows(3))
    assert step_log.steps_before(tmp_path, KEY) == 0
    with closing(begun(tmp_path, 0, heard)) as log:
        log.append(rows(2))
    assert heard.steps == [1, 2, 3, 1, 2]
    assert lines(tmp_path) == [1, 2]


def test_the_end_of_a_long_log_is_read(tmp_path: Path):
    with closing(begun(tmp_path, 0, Heard())) as log:
        log.append(rows(5000))
    logged = step_log.read(tmp_path)
    assert logged is not None
    assert logged.last == 5000
    assert 1 < len(logged.rows) < 500
    assert logged.tokens_per_second == pytest.approx(50)


def test_without_a_log_nothing_is_told(tmp_path: Path):
    assert step_log.read(tmp_path / "none") is None
    (tmp_path / step_log.FILE).write_text('{"job": "a')
    assert step_log.read(tmp_path) is None


def test_a_tracker_without_its_library_is_refused_with_the_command_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ValueError, match=r"pip install distilbench\[wandb\]"):
        trackers.begin(TrackerName.WANDB, TrackedRun("jsd.small-1a", {}, tmp_path, 0))
    assert trackers.begin(TrackerName.NONE, TrackedRun("jsd.small-1a", {}, tmp_path, 0)) is None


CUT = """
import json, sys
from pathlib import Path
from pipeline.training import step_log, trackers
from test_step_log import KEY, STEPS, rows

name, folder, resumed, count, how = sys.argv[1:]
tracked = step_log.steps_before(Path(folder, "state"), KEY)
run = trackers.TrackedRun("jsd.small-1a2b3c4d", {"seed": 1}, Path(folder), tracked)
tracker = trackers.begin(trackers.TrackerName(name), run)
log = step_log.StepLog(Path(folder, "state"), KEY, STEPS, rows(int(resumed)), tracker, tracked)
for step in range(int(resumed) + 1, int(count) + 1):
    log.append(rows(step))
log._flush()
if how == "killed":
    import os, signal, time
    time.sleep(2)  # for the trackers that write in a thread or a process of their own
    os.kill(os.getpid(), signal.SIGKILL)
log.close()
"""


def told(name: str, folder: Path, cut: str = "killed") -> None:
    """A run that is cut after step 9 and resumes after step 6, in processes of its own."""
    variables = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
    variables["PYTHONPATH"] += os.pathsep + os.environ.get("PYTHONPATH", "")
    for resumed, count, how in (("0", "9", cut), ("6", "12", "whole")):
        command = [sys.executable, "-c", CUT, name, str(folder), resumed, count, how]
        done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
        assert done.returncode == (-9 if how == "killed" else 0), done.stderr


def needs(name: str) -> pytest.MarkDecorator:
    """A mark of tests that need an optional library."""
    is_missing = importlib.util.find_spec(name) is None
    return pytest.mark.skipif(is_missing, reason=f"pip install distilbench[{name}]")


@pytest.mark.slow
@needs("tensorboard")
def test_tensorboard_has_each_step_once_after_a_kill(tmp_path: Path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # pyright: ignore[reportMissingImports]

    told("tensorboard", tmp_path)
    events = EventAccumulator(str(tmp_path / "tensorboard/jsd.small-1a2b3c4d"))
    events.Reload()
    losses = events.Scalars("loss_nats")
    assert [event.step for event in losses] == list(range(1, 13))
    assert [event.value for event in losses] == pytest.approx([3 - s / 10 for s in range(1, 13)])
    assert [event.step for event in events.Scalars("validation_nll_nats")] == [5, 10]


@pytest.mark.slow
@needs("trackio")
def test_trackio_has_each_step_once_after_a_kill(tmp_path: Path):
    told("trackio", tmp_path)
    (database,) = (tmp_path / "trackio").glob("*.db")
    with sqlite3.connect(database) as connection:
        query = "select run_name, step from metrics order by step"
        rows = connection.execute(query).fetchall()
    assert rows == [("jsd.small-1a2b3c4d", step) for step in range(1, 13)]


@pytest.mark.slow
@needs("wandb")
def test_wandb_has_each_step_once_after_a_stop(tmp_path: Path):
    told("wandb", tmp_path, "stopped")
    logs = sorted((tmp_path / "wandb").glob("offline-run-*/run-*.wandb"))
    assert {path.name for path in logs} == {"run-jsd.small-1a2b3c4d.wandb"}
    steps = [step for path in logs for step in steps_of_wandb(path)]
    assert sorted(steps) == list(range(1, 13))


def steps_of_wandb(path: Path) -> Iterator[int]:
    """The steps in a small offline run: after 7 bytes, records behind 4 of CRC, 2 of length, 1."""
    from wandb.proto.wandb_internal_pb2 import Record  # pyright: ignore[reportMissingImports]

    data = path.read_bytes()[7:]
    while len(data) >= 7:
        end = 7 + int.from_bytes(data[4:6], "little")
        record, data = Record.FromString(data[7:end]), data[end:]
        if record.HasField("history"):
            items = {item.key or item.nested_key[0]: item for item in record.history.item}
            yield int(json.loads(items["_step"].value_json))
