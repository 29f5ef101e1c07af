"""Runs a command with the libraries of its jobs loaded once: a server that forks a process a job.

Torch, transformers and lm-eval take some seconds to import, which a grid of small models would pay
for every checkpoint. `workflow.launch.run_stage` finds the server by an environment variable;
without one it
runs the job in its own process, with the same result.

    python -m workflow.launch.preloaded snakemake --cores all

Whatever of it is killed, no process outlives the run: jobs save their state and end.
"""

import os
import signal
import socket
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from workflow.launch import processes, run_lock
from workflow.launch.preload_server import serve
from workflow.launch.run_stage import ADDRESS

SERVERS = 5  # that may be killed in a run, one after the other
COMMAND_STOPS_ON = signal.SIGINT  # in the handler of SIGTERM, Snakemake 9 may wait for itself
LONGEST_ADDRESS = 100  # bytes of a socket's path: Linux takes 107 of them, macOS 103
SAVE_SECONDS = 60.0  # that jobs have to save their state when the run ends without them


@dataclass
class Supervisor:
    """The command and the server, both children of this process."""

    listening: socket.socket
    command: "subprocess.Popen[bytes]"
    server: int | None = None  # its process id
    begun: int = 0
    is_stopping: bool = False

    def run(self) -> int:
        """The command's exit status; a server that is killed on the way is replaced."""
        signal.signal(signal.SIGINT, lambda *_: None)  # the command decides what to do about it
        signal.signal(signal.SIGTERM, self._stop)
        self._begin_server()
        while True:
            ended, status = os.wait()
            if ended == self.command.pid:
                break
            if ended == self.server:
                self._replace_server()
        if self.server:
            os.kill(self.server, signal.SIGTERM)
        self.listening.close()  # whoever still asks is told that the run is over
        processes.wait_for_all(SAVE_SECONDS)
        self.command.returncode = os.waitstatus_to_exitcode(status)
        return self._status(self.command.returncode)

    def _begin_server(self) -> None:
        server = os.fork()
        if server == 0:
            serve(self.listening)
        self.server, self.begun = server, self.begun + 1

    def _replace_server(self) -> None:
        self.server = None
        if self.is_stopping:
            return
        tell("the server of preloaded libraries was killed, and its jobs with it")
        if self.begun < SERVERS:
            self._begin_server()
        else:
            self.listening.close()  # from now on each job loads its libraries itself

    def _stop(self, number: int, _frame: object) -> None:
        self.is_stopping = True
        tell("asked to stop: the jobs save their state and end; start again to go on")
        os.kill(self.command.pid, COMMAND_STOPS_ON)
        if self.server:
            os.kill(self.server, number)

    def _status(self, code: int) -> int:
        if self.is_stopping:
            return os.EX_TEMPFAIL
        if code >= 0:
            return code
        tell(f"signal {-code} ended the command: start it again, it goes on from what is finished")
        return 128 - code  # as a shell says it


def _stoppable() -> None:
    """In the command's process: it stops when asked, and when the supervisor dies."""
    signal.signal(COMMAND_STOPS_ON, signal.SIG_DFL)  # a script's background job starts ignoring it
    processes.end_with_parent(COMMAND_STOPS_ON)


def tell(text: str) -> None:
    """One line for whoever watches."""
    print(text, file=sys.stderr, flush=True)


def _roomy() -> str:
    """A folder for temporary files in which a socket can have an address."""
    given = tempfile.gettempdir()
    is_short = len(os.fsencode(given)) + len("/tmp12345678/socket") <= LONGEST_ADDRESS
    return given if is_short else "/tmp"


def main() -> None:
    """Serves while the command runs; leaves with the command's exit status."""
    processes.adopt_orphans()
    with run_lock.under_way(tell) as run, tempfile.TemporaryDirectory(dir=_roomy()) as folder:
        address = str(Path(folder) / "socket")
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(address)
        listening.listen()
        command = subprocess.Popen(
            sys.argv[1:],
            env=os.environ | {ADDRESS: address},
            pass_fds=[run.number],
            preexec_fn=_stoppable,
        )
        status = Supervisor(listening, command).run()
        run.was_killed = command.returncode < 0
    raise SystemExit(status)


if __name__ == "__main__":
    main()
