"""Runs a command, and a server that has loaded its jobs' libraries and forks for each job.

Torch, transformers and lm-eval take some seconds to import, which a grid of small models would pay
for every checkpoint. `workflow.launch.run_stage` has its job run by the server where there is one.

    python -m workflow.launch.preloaded snakemake --cores all

Whichever of its processes is killed, none outlives the run: jobs save their state and end.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from pipeline.runtime.progress import log
from pipeline.runtime.streams import prepare_streams
from workflow.launch import processes, run_lock
from workflow.launch.preload_client import SERVER_ADDRESS
from workflow.launch.preload_server import serve
from workflow.launch.temporary_folder import temporary_folder

MAX_SERVERS = 5  # of a run, each started when the one before it was killed
COMMAND_STOPS_ON = signal.SIGINT  # in the handler of SIGTERM, Snakemake 9 may wait for itself
NO_COMMAND = 127  # the status of a shell that finds none
SOCKET = "socket"
CACHES = "XDG_CACHE_HOME"
SAVE_SECONDS = 60.0  # that jobs have to save their state when the run ends without them


@dataclass
class Supervisor:
    """The command and the server, both children of this process."""

    listener: socket.socket
    command: "subprocess.Popen[bytes]"
    server: int | None = None  # its process id
    servers_started: int = 0
    is_stopping: bool = False

    def run(self) -> int:
        """The command's exit status; a server that is killed meanwhile is replaced."""
        signal.signal(signal.SIGINT, lambda *_: None)  # the command decides what to do about it
        self._start_server()  # first: between fork and its own handler, SIGTERM is to end it
        signal.signal(signal.SIGTERM, self._stop)
        while True:
            process, status = os.wait()
            if process == self.command.pid:
                self.command.returncode = os.waitstatus_to_exitcode(status)
                break
            if process == self.server:
                self._replace_server()
        if self.server:
            os.kill(self.server, signal.SIGTERM)
            self.server = None  # a further SIGTERM is no longer for it
        self.listener.close()  # the connection of a client that still waits is refused
        processes.wait_for_children(SAVE_SECONDS)
        return self._status(self.command.returncode)

    def _start_server(self) -> None:
        server = os.fork()
        if server == 0:
            serve(self.listener)
        self.server = server
        self.servers_started += 1

    def _replace_server(self) -> None:
        self.server = None
        if self.is_stopping:
            return
        log("the server of preloaded libraries was killed, and its jobs with it")
        if self.servers_started < MAX_SERVERS:
            self._start_server()
        else:
            self.listener.close()  # from now on each job loads its libraries itself

    def _stop(self, signal_number: int, _frame: object) -> None:
        self.is_stopping = True
        log("asked to stop: the jobs save their state and end; start again to resume")
        if self.command.returncode is None:
            os.kill(self.command.pid, COMMAND_STOPS_ON)
        if self.server:
            os.kill(self.server, signal_number)
        self.listener.close()  # of clients that a server has yet to accept, the wait ends with it

    def _status(self, code: int) -> int:
        if self.is_stopping:
            return os.EX_TEMPFAIL
        if code >= 0:
            return code
        log(f"signal {-code} ended the command: start it again to resume from what is finished")
        return 128 - code  # as a shell reports it


def main() -> None:
    """Serves while the command runs; exits with the command's status."""
    prepare_streams()
    if sys.argv[1:] in ([], ["-h"], ["--help"]):
        print((__doc__ or "").strip())
        raise SystemExit(0 if sys.argv[1:] else os.EX_USAGE)
    if not shutil.which(sys.argv[1]):
        log(f"there is no command {sys.argv[1]!r}; name one that can be run, such as snakemake")
        raise SystemExit(NO_COMMAND)
    processes.adopt_orphans()
    with run_lock.registered_run(log) as run, temporary_folder() as (folder, lock):
        _keep_temporary_files_in(folder)
        listener = socket.socket(socket.AF_UNIX)
        with contextlib.chdir(folder):  # an address has at most 103 bytes, and a path may have more
            listener.bind(SOCKET)
        listener.listen()
        command = subprocess.Popen(
            sys.argv[1:],
            env=os.environ | {SERVER_ADDRESS: str(folder / SOCKET), CACHES: _caches(folder)},
            pass_fds=[run.inherited_lock, lock],
            preexec_fn=_stop_with_parent,
        )
        status = Supervisor(listener, command).run()
        run.was_killed = command.returncode < 0
    raise SystemExit(status)


def _keep_temporary_files_in(folder: Path) -> None:
    """Sets the variables that tell the processes of the run where such files are."""
    compiled = Path(tempfile.gettempdir()) / f"torchinductor_{os.getuid()}"
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(compiled))  # of use to later runs
    os.environ["TMPDIR"] = str(folder)
    tempfile.tempdir = None  # it is asked for again


def _caches(folder: Path) -> str:
    """The user's folder of caches; the run's own one where Snakemake could not write to that."""
    with contextlib.suppress(OSError, RuntimeError):  # RuntimeError: the user has no home
        caches = Path(os.environ.get(CACHES) or Path("~/.cache").expanduser())
        (caches / "snakemake").mkdir(parents=True, exist_ok=True)
        if os.access(caches / "snakemake", os.W_OK):
            return str(caches)
    return str(folder)


def _stop_with_parent() -> None:
    """Makes the command's process stop on a signal, and when the supervisor dies."""
    signal.signal(COMMAND_STOPS_ON, signal.SIG_DFL)  # a script's background job starts ignoring it
    processes.end_with_parent(COMMAND_STOPS_ON)


if __name__ == "__main__":
    main()
