"""Snakemake as a user starts it, in a copy of the project, and what it says that it would do."""

import contextlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
JOB = re.compile(r"^(?:local)?(?:rule|checkpoint) (\w+):\n((?:    .*\n)*)", re.MULTILINE)
OUTPUT = re.compile(r"^    output: (.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Copy:
    """A copy of the project's source."""

    folder: Path

    def snakemake(
        self, config: Mapping[str, Any], *options: str, offline: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Snakemake on a configuration."""
        path = self.folder / f"{config['experiment']}.json"
        path.write_text(json.dumps(config))
        command = [sys.executable, "-m", "snakemake", "--configfile", path.name, *options]
        machine = os.environ | {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HF_HUB_OFFLINE": "1" if offline else "0",
        }
        return subprocess.run(
            command, cwd=self.folder, env=machine, capture_output=True, text=True, check=False
        )

    def planned(self, config: Mapping[str, Any]) -> set[str]:
        """The outputs that a dry run would make, without `results/`."""
        done = self.snakemake(config, "--dry-run", "--quiet", "host")
        assert done.returncode == 0, done.stdout + done.stderr
        outputs = [OUTPUT.findall(block) for rule, block in JOB.findall(done.stdout)]
        return {one.removeprefix("results/") for found in outputs for one in found}

    @contextlib.contextmanager
    def edit(self, file: str, old: str, new: str) -> Iterator[None]:
        """The copy with an edit in one of its source files, for as long as it lasts."""
        path = self.folder / file
        text = path.read_text()
        assert old in text, f"{file} has no {old!r}"
        path.write_text(text.replace(old, new, 1))
        try:
            yield
        finally:
            path.write_text(text)

    def logs(self) -> str:
        """What the jobs have said."""
        paths = sorted((self.folder / "results/logs").rglob("*.log"))
        return "\n".join(f"--- {path.name}\n{path.read_text()}" for path in paths)
