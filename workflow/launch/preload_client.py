"""A job that the server of preloaded libraries runs: what it is told, and how it is waited for."""

import contextlib
import json
import os
import signal
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

from pipeline.runtime.progress import STOPPED, log
from pipeline.runtime.rank_variables import VARIABLES
from workflow.launch import gpu_lease

# path of the socket of the server of preloaded libraries, set by `workflow.launch.preloaded`: a
# variable, since Snakemake starts the jobs and passes them no argument of its parent's
SERVER_ADDRESS = "DISTILBENCH_PRELOADED"
ALLOCATOR = "PYTORCH_CUDA_ALLOC_CONF"  # its successor of a shorter name is not read everywhere yet
COMPILE_THREADS = "TORCHINDUCTOR_COMPILE_THREADS"  # else a process for each of up to 32 cores
THREADS = "OMP_NUM_THREADS"  # of torch and of other libraries, as each sees it when it is imported
# variables that limit what a job uses, and that tell its ranks apart
LIMITS = (gpu_lease.VISIBLE, ALLOCATOR, COMPILE_THREADS, THREADS, *VARIABLES)
FORWARDED = (signal.SIGTERM, signal.SIGINT)


class JobRequest(TypedDict):
    """A job as the server of preloaded libraries is asked to run it, as a line of JSON.

    The client first sends its standard input, output and error with an empty byte. While the job
    runs, each further byte is a signal for it; the reply is its exit status.
    """

    module: str
    arguments: list[str]
    folder: str
    environment: dict[str, str]  # where it must differ from the server's


def connect_to_server() -> socket.socket | None:
    """A connection to the server of preloaded libraries, or None if there is no server."""
    address = os.environ.get(SERVER_ADDRESS)
    if address is None:
        return None
    folder, name = os.path.split(address)
    server = socket.socket(socket.AF_UNIX)
    try:
        with contextlib.chdir(folder):  # the whole path may be too long for an address
            server.connect(name)
    except (ConnectionRefusedError, FileNotFoundError):  # it was killed too often, or has ended
        return None
    return server


def run_on_server(server: socket.socket, module: str, arguments: Sequence[str]) -> int:
    """The exit status of a module that the server of preloaded libraries runs for this process."""
    request = JobRequest(
        module=module,
        arguments=list(arguments),
        folder=str(Path.cwd()),
        environment={name: os.environ[name] for name in LIMITS if name in os.environ},
    )
    reply = b""
    with contextlib.suppress(ConnectionError):
        # a signal that came before it can be forwarded would end this process, and thereby the job
        signal.pthread_sigmask(signal.SIG_BLOCK, FORWARDED)
        try:
            socket.send_fds(server, [b"\0"], [0, 1, 2])
            server.sendall(json.dumps(request).encode() + b"\n")
            _forward_signals(server)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, FORWARDED)
        reply = server.recv(64)
    if not reply:
        log(f"{STOPPED} with the server that ran it: run again to resume")
        return os.EX_TEMPFAIL
    status = json.loads(reply)
    return status if status >= 0 else 128 - status  # as a shell reports a signal


def _forward_signals(server: socket.socket) -> None:
    def forward(signal_number: int, _frame: object) -> None:
        with contextlib.suppress(ConnectionError):  # the job has ended
            server.sendall(bytes([signal_number]))

    for signal_number in FORWARDED:
        signal.signal(signal_number, forward)
