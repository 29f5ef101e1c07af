"""A process that has loaded third-party libraries, and forks itself for each command of Python.

It loads nothing of the project, so that each fork runs the code that lies in its own folder.
`tests/forked.py` starts it, and tells what it is asked for.
"""

import atexit
import ctypes
import gc
import importlib
import json
import os
import runpy
import signal
import socket
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

PR_SET_PDEATHSIG = 1  # linux/prctl.h
PATH = "PYTHONPATH"


def next_request(requests: socket.socket) -> dict[str, Any]:
    """Returns in a fork with what it is to run; ends this process when nobody can ask any more."""
    while True:
        message, files, _, _ = socket.recv_fds(requests, 1 << 20, 4)
        if not message:
            os._exit(0)
        if os.fork() == 0:
            requests.close()
            *streams, reply = files
            fork_and_report(reply)
            return json.loads(message) | {"streams": streams}
        for file in files:
            os.close(file)


def fork_and_report(reply: int) -> None:
    """Returns in a fork once more; this process reports the fork's id and its exit status."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    process = os.fork()
    if process == 0:
        os.close(reply)
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)  # with the server
    os.closerange(0, min(reply, 3))
    os.write(reply, f"{process}\n".encode())
    _, status = os.waitpid(process, 0)
    os.write(reply, f"{os.waitstatus_to_exitcode(status)}\n".encode())
    os._exit(0)


def become(request: dict[str, Any]) -> None:
    """Gives this process its streams, folder and variables."""
    for number, file in enumerate(request["streams"]):
        os.dup2(file, number)
        os.close(file)
    sys.stdin = os.fdopen(0, closefd=False)
    sys.stdout = os.fdopen(1, "w", buffering=1, closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
    os.chdir(request["folder"])
    ours = os.environ.get(PATH, "").split(os.pathsep)
    os.environ.clear()
    os.environ.update(request["environment"])
    theirs = [folder for folder in os.environ.get(PATH, "").split(os.pathsep) if folder]
    sys.path[:] = [request["folder"], *theirs, *(path for path in sys.path[1:] if path not in ours)]
    tempfile.tempdir = None  # it is asked for again


def run(words: list[str]) -> None:
    """Does what `python WORDS` does, WORDS being `[-W error] (-m MODULE | -c CODE | FILE) ...`."""
    if words[:2] == ["-W", "error"]:
        warnings.simplefilter("error")
        words = words[2:]
    if words[0] == "-m":
        sys.argv = words[1:]
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    elif words[0] == "-c":
        sys.argv = ["-c", *words[2:]]
        exec(compile(words[1], "<string>", "exec"), {"__name__": "__main__"})
    else:
        sys.argv = words
        sys.path[0] = str(Path(words[0]).parent)
        runpy.run_path(words[0], run_name="__main__")


class Ending:
    """The end of a fork, which leaves the loaded libraries as they are.

    If the interpreter took them apart, the kernel would copy what it touches: 0.4 s for each fork.
    """

    def __init__(self) -> None:
        self.status = 1  # of an exception
        atexit.register(self.end)  # before all libraries: what they have registered comes first

    def end(self) -> None:
        """Ends this process, when all else that was to be done at its end is done."""
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(self.status)

    def run(self, words: list[str]) -> None:
        """Runs a command and remembers its exit status."""
        try:
            run(words)
            self.status = 0
        except SystemExit as exit:
            self.status = exit.code if isinstance(exit.code, int) else int(exit.code is not None)
            raise
        except KeyboardInterrupt:
            atexit.unregister(self.end)  # the interpreter ends by the signal
            raise


def main() -> None:
    """Loads `fork_server.py SOCKET LIBRARY ...`, then serves."""
    ending = Ending()
    requests = socket.socket(fileno=int(sys.argv[1]))
    gc.disable()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of third parties, about their own code
        for library in sys.argv[2:]:
            importlib.import_module(library)
    gc.freeze()  # a collection in a fork touches, and so copies, none of it
    gc.enable()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    request = next_request(requests)
    become(request)
    ending.run(request["words"])


if __name__ == "__main__":
    main()
