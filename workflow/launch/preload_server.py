"""A server that has preloaded the libraries of all jobs and forks a process for each job.

It imports libraries alone, never this project, so that each job runs the code as it is on disk.
"""

import contextlib
import importlib
import json
import os
import runpy
import selectors
import signal
import socket
import sys
import traceback
import warnings
from dataclasses import dataclass, field
from typing import NoReturn

from workflow.launch import processes
from workflow.launch.run_stage import COMPILERS, LENGTH_BYTES

LIBRARIES = (
    "pydantic",
    "pyarrow.parquet",
    "torch",
    "transformers.modeling_utils",
    "transformers.models.auto.modeling_auto",
    "transformers.models.llama.modeling_llama",
    "transformers.tokenization_utils_tokenizers",
    "lm_eval.evaluator",
    "lm_eval.tasks",
    "lm_eval.models.huggingface",
    "rouge_score.rouge_scorer",
)
POLL_SECONDS = 0.02  # how often the server looks whether a job has ended


@dataclass
class Server:
    """The running jobs, each with the connection to the client that requested it."""

    listening: socket.socket
    selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)
    jobs: dict[int, socket.socket] = field(default_factory=dict)  # by process id
    is_stopping: bool = False

    def serve(self) -> None:
        """Forks and reaps until it is told to stop and its last job has ended."""
        self.selector.register(self.listening, selectors.EVENT_READ)
        while self.jobs or not self.is_stopping:
            for key, _ in self.selector.select(POLL_SECONDS):
                if key.fileobj is not self.listening:
                    self._hear(key.data)
                elif not self.is_stopping:
                    self._begin(self.listening.accept()[0])
            for process in list(self.jobs):
                self._reap(process)

    def stop(self, number: int, _frame: object) -> None:
        """Asks the jobs to save and end; no more are started."""
        self.is_stopping = True
        for process in self.jobs:
            os.kill(process, number)

    def _begin(self, client: socket.socket) -> None:
        try:
            length, files, _, _ = socket.recv_fds(client, LENGTH_BYTES, 3)
            with client.makefile("rb") as stream:
                request = json.loads(stream.read(int.from_bytes(length)))
        except (OSError, json.JSONDecodeError):  # it was killed while sending its request
            client.close()
            return
        process = os.fork()
        if process == 0:
            self.selector.close()
            self.listening.close()
            _run(request, files)
        for file in files:
            os.close(file)
        self.jobs[process] = client
        self.selector.register(client, selectors.EVENT_READ, process)

    def _hear(self, process: int) -> None:
        """Passes a signal on to a job; a closed connection means that its client was killed."""
        client = self.jobs[process]
        try:
            signals = client.recv(1)
        except ConnectionResetError:
            signals = b""
        os.kill(process, signals[0] if signals else signal.SIGKILL)
        if not signals:
            self.selector.unregister(client)

    def _reap(self, process: int) -> None:
        done, status = os.waitpid(process, os.WNOHANG)
        if not done:
            return
        client = self.jobs.pop(process)
        with contextlib.suppress(KeyError):
            self.selector.unregister(client)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            client.sendall(json.dumps(os.waitstatus_to_exitcode(status)).encode())
        client.close()


def _run(request: dict, files: list[int]) -> NoReturn:
    """Runs the job in the forked process as if its client had started it."""
    code = 0
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        processes.end_with_parent(signal.SIGTERM)
        for number, file in enumerate(files):
            os.dup2(file, number)
        os.environ.update(request["environment"])
        _bound_compilers()
        os.chdir(request["folder"])
        sys.path[0] = request["folder"]
        sys.argv = [request["module"], *request["arguments"]]
        runpy.run_module(request["module"], run_name="__main__", alter_sys=True)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)  # skips the cleanup that is the server's


def _bound_compilers() -> None:
    """Sets the number of compiler processes, which torch read when the server loaded it."""
    if COMPILERS in os.environ and "torch._inductor.config" in sys.modules:
        from torch._inductor import config

        config.compile_threads = int(os.environ[COMPILERS])


def serve(listening: socket.socket) -> NoReturn:
    """Loads the libraries, then serves; SIGTERM ends it, and its parent's death does."""
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # there is no job yet to be waited for
        signal.signal(signal.SIGINT, lambda *_: None)  # Ctrl-C is for the command: we follow it
        processes.end_with_parent(signal.SIGTERM)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # those of third parties: no job can heed them
            for library in LIBRARIES:
                importlib.import_module(library)
        server = Server(listening)
        signal.signal(signal.SIGTERM, server.stop)
        server.serve()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(0)  # skips the cleanup that is the parent's
