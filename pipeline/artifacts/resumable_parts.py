"""Finished pieces of a long job, on disk until the whole is made: a kill costs no more than one."""

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.artifacts import artifact, checksums
from pipeline.artifacts.artifact import Job


@dataclass(frozen=True)
class ResumableParts:
    """The pieces of one job. Those of another code, or of other inputs, are not taken."""

    folder: Path
    job: Job
    inputs: Mapping[str, Path]

    def is_finished(self, name: str) -> bool:
        """Whether an earlier run has left a piece, whole."""
        return artifact.is_up_to_date(self.folder / name, self.job, self.inputs)

    def get_or_make(self, name: str, make: Callable[[Path], Mapping[str, object]]) -> Path:
        """The folder of a piece, as an earlier run has left it, or made now.

        `make` puts files into a new folder and says facts of it, such as the seconds it took.
        """
        folder = self.folder / name
        if not self.is_finished(name):
            with artifact.create(folder, self.job, self.inputs) as (temporary, record):
                record["facts"] = make(temporary)
        return folder

    def facts(self, name: str) -> dict:
        """The facts recorded with a finished part."""
        return checksums.read_manifest(self.folder / name)["facts"]

    def discard(self) -> None:
        """Removes the pieces: the whole is made."""
        shutil.rmtree(self.folder, ignore_errors=True)


def link(file: Path, target: Path) -> None:
    """The same file under another name; a copy where the file system knows no links."""
    try:
        os.link(file, target)
    except OSError:
        shutil.copyfile(file, target)
