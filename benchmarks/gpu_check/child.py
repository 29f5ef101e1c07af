"""One check in a process of its own: its figures go to a file, a line each, as they are measured.

python -m benchmarks.gpu_check.child NAME DEVICE FILE
"""

import importlib
import json
import sys
from dataclasses import asdict
from pathlib import Path

from benchmarks.gpu_check.skipping import EXIT_STATUS, CannotRun


def main() -> None:
    """Runs the check. Exit status 77: it cannot be run here, and the last line says why."""
    name, device_name, out = sys.argv[1:]
    import torch

    device = torch.device(device_name)
    check = importlib.import_module(f"benchmarks.gpu_check.checks.{name}")
    with Path(out).open("a", encoding="utf-8") as file:
        try:
            for figure in check.measure(device):
                file.write(json.dumps(asdict(figure)) + "\n")
                file.flush()
        except CannotRun as error:
            print(error)
            raise SystemExit(EXIT_STATUS) from None


if __name__ == "__main__":
    main()
