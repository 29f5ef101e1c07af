"""`transformers serve` of a small model: a server of the OpenAI API that isn't ours."""

import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from gang import free_port
from model_server import ModelServer, small_server

COMMAND = [sys.executable, "-m", "transformers.cli.transformers", "serve"]
CHAT = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
PATIENCE = 120.0  # seconds until it answers


@dataclass
class ServedFolder:
    """A model's folder, and the process that serves it while it runs."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def name(self) -> str:
        """What a request must call the model."""
        return str(self.folder)

    @contextmanager
    def running(self) -> Iterator["ServedFolder"]:
        """The server, which answers."""
        arguments = [self.name, "--host", "127.0.0.1", "--port", str(self.port), "--device", "cpu"]
        log = self.folder.parent / "serve.log"
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [*COMMAND, *arguments],
                stdout=output,
                stderr=output,
                env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
            )
        try:
            self._wait(log)
            yield self
        finally:
            self.kill()

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def _wait(self, log: Path) -> None:
        assert self.process is not None
        health, end = self.url.replace("/v1", "/health"), time.monotonic() + PATIENCE
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        while time.monotonic() < end and self.process.poll() is None:
            with suppress(OSError), opener.open(health, timeout=5):
                return
            time.sleep(0.1)
        raise AssertionError(log.read_text())


def served_folder(folder: Path, model: ModelServer | None = None) -> ServedFolder:
    """A small model in a new folder, whose chats are their messages one after the other."""
    small = model or small_server()
    small.model.save_pretrained(folder)
    small.tokenizer.chat_template = CHAT
    small.tokenizer.save_pretrained(folder)
    return ServedFolder(folder, free_port())
