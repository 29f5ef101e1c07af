"""Whole runs of Snakemake whose processes are found and killed."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fault_injection import LONG, children, command, forks, kill, waited
from snaking import Copy

from pipeline import integrity


@dataclass(frozen=True)
class Workflow:
    """A run of Snakemake under the server of preloaded libraries, as `make` starts one."""

    process: "subprocess.Popen[str]"
    copy: Copy

    @classmethod
    def begin(cls, copy: Copy, config: Mapping[str, object], *before: str) -> "Workflow":
        """Started, with its output on a pipe. `before` is a command around it."""
        path = copy.folder / f"{config['experiment']}.json"
        path.write_text(json.dumps(config))
        options = ["--configfile", path.name, "--cores", "2", "--keep-going", "--quiet"]
        snakemake = [sys.executable, "-m", "snakemake", *options, "--rerun-incomplete"]
        machine = os.environ | {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HF_HUB_OFFLINE": "1",
        }
        process = subprocess.Popen(
            [*before, sys.executable, "-m", "workflow.preloaded", *snakemake],
            cwd=copy.folder,
            env=machine,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        return cls(process, copy)

    def snakemake(self) -> int | None:
        """Its process, once it is there."""
        found = [one for one in children(self.process.pid) if b"snakemake" in command(one)[:4]]
        return found[0] if found else None

    def server(self) -> int | None:
        """The server's process, once it is there."""
        found = forks(self.process.pid)
        return found[0] if found else None

    def job(self) -> int | None:
        """A job's process, if there is one."""
        server = self.server()
        found = children(server) if server else []
        return found[0] if found else None

    def strike(self, victim: str) -> None:
        """Kills one of its processes, as soon as there is one to hit."""
        find = {"snakemake": self.snakemake, "server": self.server, "job": self.job}
        if victim == "supervisor":
            self.process.kill()
        else:
            waited(lambda: (found := find[victim]()) is not None and kill(found), 0)

    def end(self) -> tuple[int, str]:
        """Its exit status, and what it said."""
        said, _ = self.process.communicate(timeout=LONG)
        return self.process.returncode, said


def finished(copy: Copy) -> dict[Path, int]:
    """The artifacts that are there, and the file number of each manifest: no two have the same.

    The report is left out: it tells how long everything took.
    """
    found = (copy.folder / "results").glob(f"[a-z]*/[!.]*/{integrity.MANIFEST}")
    return {path: path.stat().st_ino for path in found if path.parent.name != "report"}
