"""Jobs forked from the process that has the libraries loaded can use the GPU, several at a time."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import torch

from benchmarks.gpu_check.figures import Figure

TITLE = "forked jobs use the GPU"
SECONDS = 40
ROOT = Path(__file__).parents[3]
JOBS = 2
FORK = """
import os, sys, torch
import transformers.modeling_utils
started = torch.cuda.is_initialized()
children = []
for _ in range(int(sys.argv[2])):
    child = os.fork()
    if child == 0:
        x = torch.ones(64, 64, device=sys.argv[1])
        os._exit(0 if (x @ x).sum().item() == 64**3 else 1)
    children.append(child)
codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
print(started, sum(codes))
"""


def measure(device: torch.device) -> Iterator[Figure]:
    """Whether the parent has started CUDA, and how many of its children failed."""
    done = subprocess.run(
        [sys.executable, "-c", FORK, device.type, str(JOBS)],
        cwd=ROOT,
        env=os.environ,
        capture_output=True,
        text=True,
        check=True,
    )
    started, failed = done.stdout.split()[-2:]
    yield Figure("CUDA was started before the fork", started, equals="False")
    yield Figure("forked jobs that failed", int(failed), f"of {JOBS}", equals=0)
