"""The file that a benchmark writes, as its option `--out` names it."""

import argparse
import os
from pathlib import Path


def result_file(text: str) -> Path:
    """The path of a file that can be written.

    Raises ArgumentTypeError, before the run and not after it, where it can't.
    """
    path = Path(text)
    if path.is_dir():
        raise argparse.ArgumentTypeError(f"{text} is a folder: name a file in it")
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"there is no folder {path.parent}: make it first")
    if not os.access(path.parent, os.W_OK):
        raise argparse.ArgumentTypeError(f"nothing can be written in {path.parent}")
    return path
