"""The command line of a stage; its libraries are loaded when it is known what to do.

python -m pipeline.stages.cache_teacher JOB --teacher DIR --tokens DIR --state DIR --out
results/caches/ID
python -m pipeline.stages.cache_teacher verify results/caches/ID --teacher DIR --tokens DIR
"""

import argparse
import sys
from pathlib import Path

from pipeline.stages import cache_teacher, command_line


def main() -> None:
    """Reads the command line, then loads and does the work."""
    if sys.argv[1:2] == ["verify"]:
        hold_against_teacher()
        return
    parser = command_line.parser(cache_teacher)
    parser.epilog = "`verify --help`: how to hold a finished cache against its teacher"
    for role in ("teacher", "tokens", "state"):
        parser.add_argument(f"--{role}", type=Path, required=True)
    _add_machine(parser)
    options = parser.parse_args()

    from pipeline.stages.cache_teacher import stage

    stage.run(options)


def hold_against_teacher() -> None:
    """The same for a cache that is to be verified."""
    name = f"python -m {cache_teacher.__name__} verify"
    said = "Recomputes a random share of a cache with its teacher, and prints the largest error."
    parser = argparse.ArgumentParser(prog=name, description=said)
    parser.add_argument("cache", type=Path, help="the cache to check")
    for role in ("teacher", "tokens"):
        parser.add_argument(f"--{role}", type=Path, required=True)
    parser.add_argument("--share", type=float, default=0.01, help="of the texts, one at least")
    parser.add_argument("--seed", type=int, default=0, help="of which texts are drawn")
    _add_machine(parser)
    options = parser.parse_args(sys.argv[2:])

    from pipeline.stages.cache_teacher import verify

    verify.run(options)


def _add_machine(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--micro-batch-tokens", type=int, default=16_384)
    parser.add_argument("--threads", type=int, default=1)


if __name__ == "__main__":
    command_line.run(main)
