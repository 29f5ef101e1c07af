"""What every stage's command line does the same way."""

import argparse
import sys
from collections.abc import Callable

from pipeline.artifacts import Job


def parser(doc: str | None) -> argparse.ArgumentParser:
    """A parser that expects the job's JSON and an output; a stage adds a flag for each input."""
    first_line = (doc or "").strip().splitlines()[0]
    parsing = argparse.ArgumentParser(description=first_line)
    parsing.add_argument("job", type=Job.parse, help="id, code and settings as one JSON value")
    parsing.add_argument("--out", required=True, help="the artifact to write")
    return parsing


def run(main: Callable[[], None]) -> None:
    """Runs a stage; a fault of its input ends it with one line instead of a traceback."""
    try:
        main()
    except (ValueError, FileNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from error


def progress(text: str) -> None:
    """One line for whoever watches the log."""
    print(text, file=sys.stderr, flush=True)
