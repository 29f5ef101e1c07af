"""Commands of Python in processes that are forked from loaded libraries: starts without imports.

Torch takes some seconds to import, and Snakemake one, for each of some hundred processes.
"""

import json
import os
import select
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO

from workflow.launch import preload_server

SCRIPT = Path(__file__).with_name("fork_server.py")
OF_SNAKEMAKE = (
    "snakemake.cli",
    "snakemake.report",
    "docutils",
    "filelock",
    "jinja2",
    "numpy",
    "pulp",
    "pyarrow.parquet",
    "pydantic",
    "rich.table",
    "sqlmodel",
    "tokenizers",
    "yaml",
    "yte",
)
OF_JOBS = (
    *preload_server.LIBRARIES,
    "filelock",
    "peft",
    "psutil",
    "pandas",  # and what reports need, which end each run
    "scipy.stats",
    "jinja2",
    "matplotlib.figure",
    "matplotlib.backends.backend_pdf",
)


@dataclass
class Process:
    """A process forked by a server, with the part of Popen's interface that tests use."""

    pid: int
    reply: IO[bytes]
    returncode: int | None = None

    def poll(self) -> int | None:
        """Its exit status, once it has ended; -9 if signal 9 has ended it."""
        if self.returncode is None and select.select([self.reply], [], [], 0)[0]:
            self.wait()
        return self.returncode

    def wait(self, seconds: float | None = None) -> int:
        """Its exit status when it has ended."""
        if self.returncode is None:
            if not select.select([self.reply], [], [], seconds)[0]:
                raise subprocess.TimeoutExpired(str(self.pid), seconds or 0)
            self.returncode = int(self.reply.readline())
            self.reply.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Sends it a signal, unless it is known to have ended."""
        if self.poll() is None:
            os.kill(self.pid, number)


@dataclass(frozen=True)
class ForkServer:
    """A process that has loaded libraries, and ends with this one."""

    process: "subprocess.Popen[bytes]"
    requests: socket.socket

    @classmethod
    def started(cls, libraries: Sequence[str]) -> "ForkServer":
        """A server that is loading these libraries; requests wait until it has."""
        ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with its:
            process = subprocess.Popen(
                [sys.executable, str(SCRIPT), str(its.fileno()), *libraries],
                env=os.environ | {"HF_HUB_OFFLINE": "1"},
                pass_fds=[its.fileno()],
            )
        return cls(process, ours)

    def begin(
        self,
        words: Sequence[str],
        folder: Path,
        environment: Mapping[str, str],
        streams: Sequence[int],
    ) -> Process:
        """The process of `python WORDS` in a folder, with its three standard streams."""
        request = {"words": words, "folder": str(folder), "environment": dict(environment)}
        read, write = os.pipe()
        message = json.dumps(request).encode()
        socket.send_fds(self.requests, [message], [*streams, write])
        os.close(write)
        reply = os.fdopen(read, "rb", buffering=0)
        return Process(int(reply.readline()), reply)

    def run(
        self, words: Sequence[str], folder: Path, environment: Mapping[str, str] = os.environ
    ) -> subprocess.CompletedProcess[str]:
        """`python WORDS` after its end, with what it has written."""
        with Path(os.devnull).open() as nothing, _file() as out, _file() as error:
            streams = [nothing.fileno(), out.fileno(), error.fileno()]
            status = self.begin(words, folder, environment, streams).wait()
            written = [file.read() for file in (out, error) if file.seek(0) == 0]
        return subprocess.CompletedProcess(words, status, *written)


def _file() -> IO[str]:
    return tempfile.TemporaryFile("w+", encoding="utf-8")


@cache
def snakemake() -> ForkServer:
    """This process's server of Snakemake's libraries."""
    return ForkServer.started(OF_SNAKEMAKE)


@cache
def jobs() -> ForkServer:
    """This process's server of the libraries of jobs."""
    return ForkServer.started(OF_JOBS)
