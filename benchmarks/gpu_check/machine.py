"""What a machine has: the versions and devices that a bug report needs."""

import os
import platform
import shutil
import subprocess
import sysconfig
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

LIBRARIES = ("torch", "transformers", "triton", "pandas", "pyarrow", "numpy")


def describe(device: str) -> dict[str, str]:
    """The machine in words, without starting CUDA in this process."""
    return {
        "python": platform.python_version(),
        **{name: _version(name) for name in LIBRARIES},
        "commit": _output(["git", "rev-parse", "--short", "HEAD"]),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cores": str(len(os.sched_getaffinity(0))),
        "device": _gpu() if device == "cuda" else "cpu",
        "C compiler": _compiler(),
        "Python.h": "yes" if _has_headers() else "no: torch.compile needs it",
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _gpu() -> str:
    """Name, driver and memory of the GPUs, as the driver tells them."""
    query = "--query-gpu=name,driver_version,memory.total"
    return _output(["nvidia-smi", query, "--format=csv,noheader"]).replace("\n", "; ")


def _compiler() -> str:
    for name in ("cc", "gcc", "clang"):
        if path := shutil.which(name):
            return _output([path, "--version"]).splitlines()[0]
    return "none: torch.compile needs one"


def _has_headers() -> bool:
    return (Path(sysconfig.get_path("include")) / "Python.h").exists()


def _output(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20)
    except (OSError, subprocess.SubprocessError) as error:
        return f"unknown ({type(error).__name__})"
    return done.stdout.strip()
