"""A process that has loaded the libraries of all jobs, and forks one for each job that asks.

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
LOOK_SECONDS = 0.02  # how often the server looks whether a job has ended


@dataclass
class Server:
    """Jobs under way, each with the connection to whoever asked for it."""

    listening: socket.socket
    selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)
    jobs: dict[int, socket.socket] = field(default_factory=dict)  # by process id
    is_stopping: bool = False

    def serve(self) -> None:
        """Forks and reaps until it is told to stop and its last job has ended."""
        self.selector.register(self.listening, selectors.EVENT_READ)
        while self.jobs or not self.is_stopping:
            for key, _ in self.selector.select(LOOK_SECONDS):
                if key.fileobj is not self.listening:
                    self._hear(key.fileobj, key.data)
                elif not self.is_stopping:
                    self._begin(self.listening.accept()[0])
            for process in list(self.jobs):
                self._reap(process)

    def stop(self, number: int, _frame: object) -> None:
        """Asks the jobs to save and end, and begins no more."""
        self.is_stopping = True
        for process in self.jobs:
            os.kill(process, number)

    def _begin(self, asker: socket.socket) -> None:
        try:
            length, files, _, _ = socket.recv_fds(asker, LENGTH_BYTES, 3)
            with asker.makefile("rb") as stream:
                request = json.loads(stream.read(int.from_bytes(length)))
        except (OSError, json.JSONDecodeError):  # it was killed before it had said what it wants
            asker.close()
            return
        process = os.fork()
        if process == 0:
            self.selector.close()
            self.listening.close()
            _run(request, files)
        for file in files:
            os.close(file)
        self.jobs[process] = asker
        self.selector.register(asker, selectors.EVENT_READ, process)

    def _hear(self, asker: socket.socket, process: int) -> None:
        """A signal to pass on; silence for good means that the asker was killed."""
        try:
            heard = asker.recv(1)
        except ConnectionResetError:
            heard = b""
        os.kill(process, heard[0] if heard else signal.SIGKILL)
        if not heard:
            self.selector.unregister(asker)

    def _reap(self, process: int) -> None:
        done, status = os.waitpid(process, os.WNOHANG)
        if not done:
            return
        asker = self.jobs.pop(process)
        with contextlib.suppress(KeyError):
            self.selector.unregister(asker)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            asker.sendall(json.dumps(os.waitstatus_to_exitcode(status)).encode())
        asker.close()


def _run(request: dict, files: list[int]) -> NoReturn:
    """The job, in the forked process, as if it had been started by its asker."""
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
    except SystemExit as left:
        code = left.code if isinstance(left.code, int) else int(left.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)  # nothing of the server's is to be cleaned up here


def _bound_compilers() -> None:
    """Torch has read how many compilers it may start when the server loaded it: too early."""
    config = sys.modules.get("torch._inductor.config")
    if config is not None and COMPILERS in os.environ:
        config.compile_threads = int(os.environ[COMPILERS])


def serve(listening: socket.socket) -> NoReturn:
    """Loads the libraries, then serves; SIGTERM ends it, and its parent's death does."""
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # there is no job yet to be waited for
        signal.signal(signal.SIGINT, lambda *_: None)  # Ctrl-C is for the command; its end is ours
        processes.end_with_parent(signal.SIGTERM)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of third parties, and said to nobody
            for library in LIBRARIES:
                importlib.import_module(library)
        server = Server(listening)
        signal.signal(signal.SIGTERM, server.stop)
        server.serve()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(0)  # what stands around this call is the parent's to clean up
