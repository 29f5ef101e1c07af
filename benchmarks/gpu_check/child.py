"""A check in a process of its own: its figures go to a file, a line each, as they are measured."""

import importlib
import json
import os
from dataclasses import asdict
from pathlib import Path

import torch

from benchmarks.gpu_check.skipping import EXIT_STATUS, CannotRun


def main(name: str, device_name: str, figures: Path, log: Path) -> None:
    """Runs the check; what it prints, and its error, go to `log`.

    Raises: SystemExit with status 77 if it cannot be run here; the last line of `log` says why.
    """
    os.setsid()  # so that what the check begins can be ended with it
    _print_to(log)
    device = torch.device(device_name)
    if device.type == "cpu":
        torch.set_num_threads(1)  # the models are too small to share among threads
    check = importlib.import_module(f"benchmarks.gpu_check.checks.{name}")
    with figures.open("a", encoding="utf-8") as file:
        try:
            for figure in check.measure(device):
                file.write(json.dumps(asdict(figure)) + "\n")
                file.flush()
        except CannotRun as error:
            print(error)
            raise SystemExit(EXIT_STATUS) from None


def _print_to(log: Path) -> None:
    """Also what libraries and further processes print."""
    with log.open("wb") as file:
        for standard in (1, 2):
            os.dup2(file.fileno(), standard)
