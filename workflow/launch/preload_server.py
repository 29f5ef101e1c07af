"""A process that has loaded the libraries of all jobs, and forks itself for each job.

It imports libraries but no stage of the pipeline, so that each job runs the code as it is on disk.
"""

import contextlib
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

from pipeline.runtime.imports import import_for_good
from workflow.launch import processes
from workflow.launch.preload_client import COMPILE_THREADS, THREADS, JobRequest

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
POLL_SECONDS = 0.02  # how often the server checks whether a job has ended


def serve(listener: socket.socket) -> NoReturn:
    """Loads the libraries, then serves until SIGTERM or until its parent dies."""
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # there is no job yet to wait for
        signal.signal(signal.SIGINT, lambda *_: None)  # Ctrl-C is for the command alone
        processes.end_with_parent(signal.SIGTERM)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of third parties, about their own code
            for library in LIBRARIES:
                import_for_good(library)
        server = Server(listener)
        signal.signal(signal.SIGTERM, server.stop)
        server.serve()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(0)  # open files and temporary folders are the parent's to clean up


@dataclass
class Server:
    """The running jobs, each with the connection to the client that waits for it."""

    listener: socket.socket
    selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)
    clients: dict[int, socket.socket] = field(default_factory=dict)  # by the job's process id
    is_stopping: bool = False

    def serve(self) -> None:
        """Starts jobs and reports their exit status, until it is stopped and the last has ended."""
        self.selector.register(self.listener, selectors.EVENT_READ)
        while self.clients or not self.is_stopping:
            for key, _ in self.selector.select(POLL_SECONDS):
                if key.data is not None:
                    self._forward_signal(*key.data)
                elif not self.is_stopping:
                    self._start_job(self.listener.accept()[0])
            for job in list(self.clients):
                self._reap(job)

    def stop(self, signal_number: int, _frame: object) -> None:
        """Asks the jobs to save their state and end, and starts no more."""
        self.is_stopping = True
        for job in self.clients:
            os.kill(job, signal_number)

    def _start_job(self, client: socket.socket) -> None:
        try:
            _, files, _, _ = socket.recv_fds(client, 1, 3)
            with client.makefile("rb", buffering=0) as stream:  # signals may follow the line
                request: JobRequest = json.loads(stream.readline())
        except (OSError, json.JSONDecodeError):  # the client was killed before it had sent it all
            client.close()
            return
        job = os.fork()
        if job == 0:
            self.selector.close()
            self.listener.close()
            _run_job(request, files)
        for file in files:
            os.close(file)
        self.clients[job] = client
        self.selector.register(client, selectors.EVENT_READ, (client, job))

    def _forward_signal(self, client: socket.socket, job: int) -> None:
        """Sends a job the signal that its client has sent, or kills it if the client was killed."""
        try:
            message = client.recv(1)
        except ConnectionResetError:
            message = b""
        os.kill(job, message[0] if message else signal.SIGKILL)
        if not message:
            self.selector.unregister(client)

    def _reap(self, job: int) -> None:
        process, status = os.waitpid(job, os.WNOHANG)
        if not process:
            return
        client = self.clients.pop(job)
        with contextlib.suppress(KeyError):
            self.selector.unregister(client)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            client.sendall(json.dumps(os.waitstatus_to_exitcode(status)).encode())
        client.close()


def _run_job(request: JobRequest, files: list[int]) -> NoReturn:
    """Runs the job in the forked process, as if its client had started it."""
    code = 0
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        processes.end_with_parent(signal.SIGTERM)
        _take_over(request, files)
        runpy.run_module(request["module"], run_name="__main__", alter_sys=True)
    except SystemExit as exit:
        code = exit.code if isinstance(exit.code, int) else int(exit.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)  # nothing of the server's is to be cleaned up here


def _take_over(request: JobRequest, files: list[int]) -> None:
    """Gives this process the client's terminal, folder, arguments and limits."""
    for number, file in enumerate(files):
        os.dup2(file, number)
    # what the server's own streams have found out of their files, such as seeking, may not hold
    sys.stdin = os.fdopen(0, closefd=False)
    sys.stdout = os.fdopen(1, "w", buffering=1, closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    sys.path[0] = request["folder"]
    sys.argv = [request["module"], *request["arguments"]]
    # the server has imported torch before the limits were known
    if THREADS in os.environ:
        import torch

        torch.set_num_threads(int(os.environ[THREADS]))
    if COMPILE_THREADS in os.environ:
        from torch._inductor import config

        config.compile_threads = int(os.environ[COMPILE_THREADS])
