"""Whole runs of Snakemake whose processes are found and killed."""

import contextlib
import fcntl
import json
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import forked
from fault_injection import children, command, forks, kill, waited
from snaking import Copy, environment
from stage_commands import LONG

from pipeline.artifacts import checksums
from workflow.grid.artifact import Artifact


@dataclass(frozen=True)
class Workflow:
    """A run of Snakemake under the server of preloaded libraries, as `make` starts one."""

    process: forked.Process
    copy: Copy
    output: IO[str]

    @classmethod
    def begin(cls, copy: Copy, config: Mapping[str, object]) -> "Workflow":
        """Started, with its output on a pipe."""
        path = copy.folder / f"{config['experiment']}.json"
        path.write_text(json.dumps(config))
        options = ["--configfile", path.name, "--cores", "2", "--keep-going", "--quiet"]
        snakemake = [sys.executable, "-m", "snakemake", *options, "--rerun-incomplete"]
        (copy.folder / "tmp").mkdir(exist_ok=True)
        machine = environment() | {"TMPDIR": str(copy.folder / "tmp")}
        read, write = os.pipe()
        fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 1 << 20)  # nobody reads before the end
        command = ["-m", "workflow.launch.preloaded", *snakemake]
        with Path(os.devnull).open() as nothing:
            streams = [nothing.fileno(), write, write]
            process = forked.jobs().begin(command, copy.folder, machine, streams)
        os.close(write)
        return cls(process, copy, os.fdopen(read))

    def snakemake(self) -> int | None:
        """Its process, once it is there."""
        processes = children(self.process.pid)
        return next((child for child in processes if b"snakemake" in command(child)[:4]), None)

    def server(self) -> int | None:
        """The server's process, once it is there."""
        return next(iter(forks(self.process.pid)), None)

    def job(self, artifact: Artifact) -> int | None:
        """The process that makes an artifact, while it does: it writes to the artifact's log."""
        log = self.copy.folder / f"results/logs/{artifact.stage}/{artifact.id}.log"
        server = self.server()
        for process in children(server) if server else []:
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                if Path(f"/proc/{process}/fd/2").samefile(log):
                    return process
        return None

    @contextlib.contextmanager
    def holding(self, artifact: Artifact, message: str) -> Iterator[int]:
        """The process that makes an artifact, stopped as soon as its log says something.

        As long as it is held, its run has something to do.
        """
        process = waited(lambda: self._held(artifact, message), 0.001)
        assert process is not None
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):  # whoever was killed took it along
                os.kill(process, signal.SIGCONT)

    def _held(self, artifact: Artifact, message: str) -> int | None:
        """The process that makes an artifact, which this stops, if its log says something."""
        log = self.copy.folder / f"results/logs/{artifact.stage}/{artifact.id}.log"
        process = self.job(artifact)
        if process is None or message not in log.read_text():
            return None
        os.kill(process, signal.SIGSTOP)
        return process

    def strike(self, victim: str, artifact: Artifact, message: str) -> None:
        """Kills one of its processes while an artifact is being made.

        The job goes on only when it is told to stop, or is gone: a short one would end before that.
        """
        with self.holding(artifact, message) as job:
            process = {
                "Snakemake": self.snakemake(),
                "the server": self.server(),
                "the supervisor": self.process.pid,
                "a job": job,
            }[victim]
            assert process is not None
            assert kill(process)
            waited(lambda: is_asked_to_stop(job))

    def end(self) -> tuple[int, str]:
        """Its exit status, and what it said."""
        status = self.process.wait(LONG)
        with self.output:
            return status, self.output.read()


def is_asked_to_stop(process: int) -> bool:
    """Whether a process has a SIGTERM waiting for it, or isn't there any more."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True
    fields = dict(line.split(":", 1) for line in status.splitlines())
    pending = int(fields["SigPnd"], 16) | int(fields["ShdPnd"], 16)
    return bool(pending >> signal.SIGTERM - 1 & 1) or fields["State"].split()[0] == "Z"


def finished(copy: Copy) -> dict[Path, int]:
    """The artifacts that are there, and the file number of each manifest: no two have the same.

    The report is left out: it tells how long everything took.
    """
    manifests = (copy.folder / "results").glob(f"[a-z]*/[!.]*/{checksums.MANIFEST}")
    return {path: path.stat().st_ino for path in manifests if path.parent.name != "report"}
