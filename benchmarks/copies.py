"""A copy of the project, to run Snakemake in. It imports next to nothing.

What a process holds counts in the peak of memory of those that it begins.
"""

import shutil
from pathlib import Path

ROOT = Path(__file__).parent.parent
SOURCES = ("Snakefile", "environment.yml", "pipeline", "workflow")


def copy_project(folder: Path) -> None:
    """The project's sources into a folder, with their bytecode, but for what is there already."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in SOURCES:
        source = ROOT / name
        if (folder / name).exists():
            continue
        if source.is_dir():
            shutil.copytree(source, folder / name)
        else:
            shutil.copy(source, folder / name)
