"""Runs the checks one after the other, each in a process of its own with a time limit.

A broken CUDA context, a hang or a crash costs one check.
"""

import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.gpu_check.figures import Figure, Outcome
from benchmarks.gpu_check.skipping import EXIT_STATUS

# In this order the first three minutes decide whether anything works at all.
CHECKS = (
    "machine",
    "caches",
    "capture",
    "methods",
    "waits",
    "logits",
    "cached_step",
    "generation",
    "on_policy",
    "heldout",
    "capture_speed",
    "resume",
    "sharing",
    "memory",
    "lm_eval",
)
LOG = 4000  # characters kept of what a check printed
GRACE = 5.0  # seconds between the request to end and the kill


@dataclass(frozen=True)
class Plan:
    """What is run where."""

    device: str  # cuda or cpu; on a CPU everything is small, and no target of speed is held
    names: tuple[str, ...] = CHECKS
    seconds: float = 450.0  # for all of it; a check that has no time left is skipped


def outcomes(plan: Plan) -> Iterator[Outcome]:
    """How each check ended, as it ends."""
    end = time.monotonic() + plan.seconds
    for name in plan.names:
        check = importlib.import_module(f"benchmarks.gpu_check.checks.{name}")
        left = end - time.monotonic()
        if left < 1:
            reason = f"the {plan.seconds:.0f} s for the whole run are over"
            yield Outcome(name, check.TITLE, "skipped", 0.0, reason=reason)
            continue
        yield one(name, check.TITLE, plan.device, min(check.SECONDS, left))


def one(name: str, title: str, device: str, seconds: float) -> Outcome:
    """How a single check ended within so many seconds."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        figures, log = Path(folder) / "figures.jsonl", Path(folder) / "log"
        command = [sys.executable, "-m", "benchmarks.gpu_check.child", name, device, str(figures)]
        with log.open("wb") as out:
            # a session of its own, so that what the check began ends with it
            process = subprocess.Popen(
                command, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
            )
            code = _wait(process, seconds)
        text = log.read_text(errors="replace")
        measured = _figures(figures)
    took = time.monotonic() - began
    if code is None:
        reason = f"no end after {seconds:.0f} s"
        return Outcome(name, title, "timed out", took, measured, reason, text[-LOG:])
    if code == EXIT_STATUS:
        return Outcome(name, title, "skipped", took, measured, _last_line(text), text[-LOG:])
    if code != 0:
        reason = f"exit status {code}: {_last_line(text)}"
        return Outcome(name, title, "failed", took, measured, reason, text[-LOG:])
    return Outcome(name, title, "ok", took, measured)


def _wait(process: subprocess.Popen[bytes], seconds: float) -> int | None:
    """The exit status; None, and nothing of its session left, where the time was over."""
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(process.pid, number)
                process.wait(GRACE)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                continue
        return None


def _figures(path: Path) -> tuple[Figure, ...]:
    if not path.exists():
        return ()
    lines = path.read_text(encoding="utf-8").splitlines()
    return tuple(Figure(**json.loads(line)) for line in lines)


def _last_line(text: str) -> str:
    lines: Sequence[str] = [line for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "nothing was printed"
