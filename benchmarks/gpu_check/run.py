"""Runs the checks one after the other, each in a process of its own with a time limit.

A broken CUDA context, a hang or a crash costs one check.
"""

import importlib
import json
import multiprocessing
import os
import signal
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from pathlib import Path

from benchmarks.gpu_check import checks, child
from benchmarks.gpu_check.figures import Figure, Outcome, Status
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
WHOLE_RUN = 450.0  # seconds for all checks on a GPU
CPU_PATIENCE = 6  # a CPU is given so many times the limits of a GPU: it may be slow, and shared


@dataclass(frozen=True)
class Plan:
    """What is run where."""

    device: str  # cuda or cpu; on a CPU everything is small, and no target of speed is held
    names: tuple[str, ...] = CHECKS
    seconds: float = WHOLE_RUN  # for all of it on a GPU; a check that has no time left is not run

    @property
    def patience(self) -> int:
        """How many times its limit on a GPU a check may take."""
        return CPU_PATIENCE if self.device == "cpu" else 1


def outcomes(plan: Plan) -> Iterator[Outcome]:
    """How each check ended, as it ends."""
    seconds = plan.seconds * plan.patience
    end = time.monotonic() + seconds
    for name in plan.names:
        check = importlib.import_module(f"benchmarks.gpu_check.checks.{name}")
        left = end - time.monotonic()
        if left < 1:
            reason = f"the {seconds:.0f} s for the whole run are over"
            yield Outcome(name, check.TITLE, "not run", 0.0, reason=reason)
            continue
        yield run_check(name, check.TITLE, plan.device, min(check.SECONDS * plan.patience, left))


def run_check(name: str, title: str, device: str, seconds: float) -> Outcome:
    """How a single check ended within so many seconds."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        figures, log = Path(folder) / "figures.jsonl", Path(folder) / "log"
        process = _processes(device).Process(target=child.main, args=(name, device, figures, log))
        process.start()
        try:
            code = _wait(process, seconds)
        finally:
            _end(process)
        text = log.read_text(errors="replace") if log.exists() else ""
        measured = _figures(figures)
    status, reason = _how_it_ended(code, seconds, text)
    kept = "" if status == "ok" else text[-LOG:]
    return Outcome(name, title, status, time.monotonic() - began, measured, reason, kept)


def _processes(device: str) -> BaseContext:
    """How processes begin: on a CPU forked from one that has the checks' libraries loaded.

    On a GPU each begins as a new program, for nothing of CUDA may be shared.
    """
    if device != "cpu":
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([f"{checks.__name__}.{name}" for name in CHECKS])
    return context


def _wait(process: BaseProcess, seconds: float) -> int | None:
    """The exit status; None where the time was over."""
    process.join(seconds)
    return process.exitcode


def _end(process: BaseProcess) -> None:
    """Leaves nothing of a process and of what it began."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.exitcode is not None:
            return
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:  # it has no session of its own yet
            os.kill(process.pid, number)
        process.join(GRACE)


def _how_it_ended(code: int | None, seconds: float, log: str) -> tuple[Status, str]:
    """In a word, and in a sentence where it is not well."""
    if code is None:
        return "timed out", f"no end after {seconds:.0f} s"
    if code == EXIT_STATUS:
        return "skipped", _last_line(log)
    if code != 0:
        return "failed", f"exit status {code}: {_last_line(log)}"
    return "ok", ""


def _figures(path: Path) -> tuple[Figure, ...]:
    if not path.exists():
        return ()
    lines = path.read_text(encoding="utf-8").splitlines()
    return tuple(Figure(**json.loads(line)) for line in lines)


def _last_line(text: str) -> str:
    lines: Sequence[str] = [line for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "nothing was printed"
