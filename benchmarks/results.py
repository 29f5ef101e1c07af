"""What benchmarks print and write: tables in Markdown, and the file that `--out` names."""

import argparse
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path


def parser(description: str | None, out: str) -> argparse.ArgumentParser:
    """A parser with the first line of a description, and with `--out`, which `write` writes."""
    made = argparse.ArgumentParser(description=(description or "").splitlines()[0])
    made.add_argument("--out", type=result_file, default=Path(out), help="a JSON file")
    return made


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


def write(path: Path, result: object) -> None:
    """A result as JSON; rows are dataclasses."""
    path.write_text(json.dumps(result, indent=1, default=asdict) + "\n", encoding="utf-8")


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    first, *others = (f"| {' | '.join(cells)} |" for cells in (head, *rows))
    return "\n".join([first, "|---" * len(head) + "|", *others])
