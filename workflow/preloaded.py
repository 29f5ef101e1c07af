"""Runs a command with the libraries of its jobs loaded once: a server that forks a process a job.

Torch, transformers and lm-eval take some seconds to import, which a grid of small models would pay
for every checkpoint. The server imports libraries alone, never this project, so that each job runs
the code as it is on disk. `workflow.job` finds the server by an environment variable; without one
it runs the job in its own process, with the same result.

    python -m workflow.preloaded snakemake --cores all
"""

import contextlib
import importlib
import json
import os
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
import warnings
from dataclasses import dataclass, field
from pathlib import Path

from workflow.job import ADDRESS, LENGTH_BYTES

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

    def serve(self) -> None:
        """Forks and reaps until it is terminated."""
        self.selector.register(self.listening, selectors.EVENT_READ)
        while True:
            for key, _ in self.selector.select(LOOK_SECONDS):
                if key.fileobj is self.listening:
                    self._begin(self.listening.accept()[0])
                else:
                    self._hear(key.fileobj, key.data)
            for process in list(self.jobs):
                self._reap(process)

    def _begin(self, asker: socket.socket) -> None:
        length, files, _, _ = socket.recv_fds(asker, LENGTH_BYTES, 3)
        with asker.makefile("rb") as stream:
            request = json.loads(stream.read(int.from_bytes(length)))
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
        heard = asker.recv(1)
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


def _run(request: dict, files: list[int]) -> None:
    """The job, in the forked process, as if it had been started by its asker. Does not return."""
    for number, file in enumerate(files):
        os.dup2(file, number)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.chdir(request["folder"])
    sys.path[0] = request["folder"]
    code = 0
    try:
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


def main() -> None:
    """Serves while the command runs; leaves with the command's exit status."""
    with tempfile.TemporaryDirectory() as folder:
        address = str(Path(folder) / "socket")
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(address)
        listening.listen()
        server = os.fork()
        if server == 0:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of third parties, and said to nobody
                for library in LIBRARIES:
                    importlib.import_module(library)
            Server(listening).serve()
        listening.close()
        try:
            done = subprocess.run(sys.argv[1:], env=os.environ | {ADDRESS: address}, check=False)
        finally:
            os.kill(server, signal.SIGTERM)
            os.waitpid(server, 0)
    raise SystemExit(done.returncode)


if __name__ == "__main__":
    main()
