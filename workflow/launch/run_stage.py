"""Runs a stage's module: in a process forked from preloaded libraries where there are any, or here.

python -m workflow.launch.run_stage pipeline.stages.train JOB --start ...

Before the module stands what the machine gives it: without --device gpu it sees no GPU; with
--gpu-memory-mb it first claims so much memory of one of the machine's GPUs, and takes no more.
"""

import argparse
import contextlib
import json
import os
import runpy
import signal
import socket
import sys
from pathlib import Path
from types import FrameType

from workflow.launch import gpu_lease, processes
from workflow.resources.fit import CONTEXT_MB

ADDRESS = "DISTILBENCH_PRELOADED"  # where `workflow.launch.preloaded` listens
LENGTH_BYTES = 8  # of the number that says how long a request is
ALLOCATOR = "PYTORCH_CUDA_ALLOC_CONF"  # its successor of a shorter name is not read everywhere yet
COMPILERS = "TORCHINDUCTOR_COMPILE_THREADS"  # else a process for each of up to 32 cores
MACHINE = (gpu_lease.VISIBLE, ALLOCATOR, COMPILERS)  # variables that say what a job may use


def ask(server: socket.socket, module: str, arguments: list[str]) -> int:
    """The exit status of a stage that a server of preloaded libraries runs for this process."""
    request = {
        "module": module,
        "arguments": arguments,
        "folder": str(Path.cwd()),
        # the server's own is that of when it was started
        "environment": {name: os.environ[name] for name in MACHINE if name in os.environ},
    }
    said = b""
    with contextlib.suppress(ConnectionError):
        text = json.dumps(request).encode()
        socket.send_fds(server, [len(text).to_bytes(LENGTH_BYTES)], [0, 1, 2])
        server.sendall(text)
        _pass_signals_on(server)
        said = server.recv(64)
    if not said:
        print("the server that ran this job was stopped: start again to go on", file=sys.stderr)
        return os.EX_TEMPFAIL
    status = json.loads(said)
    return status if status >= 0 else 128 - status  # as a shell says that a signal ended it


def _pass_signals_on(server: socket.socket) -> None:
    def pass_on(number: int, _: FrameType | None) -> None:
        with contextlib.suppress(ConnectionError):  # the job has ended
            server.sendall(bytes([number]))

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, pass_on)


def _server() -> socket.socket | None:
    """A connection to the server of preloaded libraries, where there is one."""
    address = os.environ.get(ADDRESS)
    if address is None:
        return None
    server = socket.socket(socket.AF_UNIX)
    try:
        server.connect(address)
    except (ConnectionRefusedError, FileNotFoundError):  # it was given up
        return None
    return server


def main() -> None:
    """Runs the named module with the arguments that follow."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu", help="gpu: if any is")
    parser.add_argument("--gpu-memory-mb", type=int, default=0, help="0: what is visible")
    parser.add_argument("--threads", type=int, default=1, help="for compilers, too")
    parser.add_argument("module")
    parser.add_argument("arguments", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    processes.end_with_parent(signal.SIGTERM)  # a killed Snakemake leaves no job behind
    # Snakemake shows no other log of a failed job once it meets an empty one
    print(f"{options.module} on {socket.gethostname()}", file=sys.stderr, flush=True)
    os.environ.setdefault(COMPILERS, str(options.threads))
    if options.device == "cpu":
        os.environ[gpu_lease.VISIBLE] = ""
    with contextlib.ExitStack() as held:
        found = gpu_lease.installed() if options.gpu_memory_mb else []
        if found:
            _claim(held, found, options.gpu_memory_mb)
        os.environ.setdefault(ALLOCATOR, "expandable_segments:True")
        _run(options.module, options.arguments)


def _claim(held: contextlib.ExitStack, found: list[gpu_lease.Device], memory_mb: int) -> None:
    """Waits for memory of a GPU, shows this process that one alone, and keeps it to its part."""
    asked = f"{memory_mb} MB of a GPU"
    print(f"waiting for {asked}", file=sys.stderr, flush=True)
    device = held.enter_context(gpu_lease.claimed(found, memory_mb, gpu_lease.shelf()))
    os.environ[gpu_lease.VISIBLE] = device.name
    part = (memory_mb - CONTEXT_MB) / device.memory_mb  # the context is beyond the allocator's rule
    if 0 < part < 1:
        keeping = f"expandable_segments:True,per_process_memory_fraction:{part:.4f}"
        os.environ.setdefault(ALLOCATOR, keeping)
    print(f"{asked}: {device.name}", file=sys.stderr, flush=True)


def _run(module: str, arguments: list[str]) -> None:
    server = _server()
    if server is not None:
        with server:
            raise SystemExit(ask(server, module, arguments))
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
