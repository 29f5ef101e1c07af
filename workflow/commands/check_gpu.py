"""Runs the checks of benchmarks/gpu_check, where the checkout has them."""

import importlib.util
import subprocess
import sys


def main(*, arguments: list[str]) -> int:
    """The number of checks that failed."""
    if importlib.util.find_spec("benchmarks") is None:
        sys.exit("benchmarks/ is not here: run this in a checkout of the project")
    command = [sys.executable, "-m", "benchmarks.gpu_check", *arguments]
    return subprocess.run(command, check=False).returncode
