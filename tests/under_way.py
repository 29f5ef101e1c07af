"""A folder in which an experiment is under way, as its status is asked for."""

import json
import os
import subprocess
import sys
import time
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snaking import ROOT, distilbench

from workflow.grid.artifact import Artifact
from workflow.jobs.jobs import Jobs


@dataclass(frozen=True)
class Folder:
    """A folder in which an experiment is under way."""

    path: Path
    config: dict[str, Any]

    def ask(self, *options: str) -> subprocess.CompletedProcess[str]:
        """`distilbench status` as a user starts it."""
        name = f"{self.config['experiment']}.json"
        (self.path / name).write_text(json.dumps(self.config))
        return distilbench(self.path, "status", name, *options)

    def write(self, path: str, text: str, age: float = 0) -> None:
        """A file, last written to so many seconds ago."""
        file = self.path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        os.utime(file, (time.time() - age,) * 2)

    def make(self, jobs: Jobs, artifact: Artifact, age: float) -> None:
        """An artifact as far as its manifest."""
        manifest = {"id": artifact.id, "code": jobs.code(artifact), "settings": {}, "inputs": {}}
        self.write(f"{artifact.path}/manifest.json", json.dumps(manifest), age)

    def begin(self, artifact: Artifact, age: float) -> None:
        """Snakemake's note that a job was started."""
        record = urlsafe_b64encode(artifact.path.encode()).decode()
        self.write(f".snakemake/incomplete/{record}", "{}", age)

    def log(self, artifact: Artifact, text: str, age: float = 0) -> None:
        """What a job says."""
        _, stage, id = artifact.path.split("/")
        self.write(f"results/logs/{stage}/{id}.log", text, age)


def note(folder: Folder, experiment: str) -> subprocess.Popen[str]:
    """A process that tells of itself what a Snakemake does which works on an experiment."""
    code = (
        f"from workflow.launch import run_lock; run_lock.register_snakemake({experiment!r}); "
        "print(flush=True); input()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=folder.path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline()
    return process
