"""The machine that a job ran on, and the commit that its code was checked out from.

Both are recorded with an artifact and are a part of no digest: another machine, or another commit
with the same code, makes the same artifact.
"""

import functools
import os
import platform
import re
import socket
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("pipeline", "workflow")  # what a result may depend on
CPU_INFO = Path("/proc/cpuinfo")
# of a remote: https://user:password@host/path.git, ssh://git@host:22/path, git@host:path.git
REMOTE = re.compile(
    r"(?:(?:https?|ssh|git)://(?:[^/@]*@)?([^/:]+)(?::\d+)?/|[\w.-]+@([^/:]+):)(.+?)(?:\.git)?/?"
)
TIMEOUT = 20  # seconds: a checkout on a network file system that doesn't answer stops no job


@functools.cache
def machine() -> dict[str, object]:
    """Host, processor, cores that this process may use, memory, and the GPUs that it used."""
    return {
        "host": socket.gethostname(),
        "cpu": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "gpus": _gpus(),
    }


def _processor() -> str:
    text = CPU_INFO.read_text(encoding="utf-8", errors="replace") if CPU_INFO.is_file() else ""
    model = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return model[1] if model else platform.machine()


def _gpus() -> list[str]:
    # looking for a GPU would start CUDA in jobs that have no use for it
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return []
    return [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]


@functools.cache
def checkout() -> dict[str, object]:
    """The commit of this code, its name and remote, and which files are not as it has them.

    Empty where the code is no checkout of git, or git is not installed.
    """
    tops = _git("rev-parse", "--show-toplevel", "HEAD").split("\n")
    # a virtual environment that the code is installed in may lie within a checkout of another
    if len(tops) < 2 or Path(tops[0]).resolve() != ROOT.resolve():
        return {}
    status = _git("status", "--porcelain", "--no-renames", "-z", "-uall", "--", *PACKAGES)
    return {
        "commit": tops[1],
        "name": _git("describe", "--always", "--tags"),
        "remote": web_address(_git("remote", "get-url", "origin")),
        "changed": sorted(entry[3:] for entry in status.split("\0") if entry),
    }


def web_address(remote: str) -> str:
    """The page of a remote, without a password; nothing for a folder, which only its owner has."""
    parts = REMOTE.fullmatch(remote)
    return f"https://{parts[1] or parts[2]}/{parts[3]}" if parts else ""


def _git(*arguments: str) -> str:
    """What git prints of this checkout; nothing where it fails."""
    outside = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(
            ["git", "-C", str(ROOT), *arguments],
            env=outside | {"GIT_OPTIONAL_LOCKS": "0"},  # other jobs ask at the same time
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=True,
            timeout=TIMEOUT,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.rstrip("\n")
