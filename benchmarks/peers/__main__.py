"""Which laws the losses of other projects obey: prints a table in Markdown.

benchmarks/peers/install FOLDER; PYTHONPATH=FOLDER python -m benchmarks.peers [PEER ...]

A peer that is not installed is left out, and named.
"""

import importlib
import sys
import warnings
from pathlib import Path

from benchmarks.peers import Peer
from distilbench_conformance import check, markdown

NAMES = sorted(each.stem for each in Path(__file__).parent.glob("[!_]*.py"))


def losses(name: str) -> list[Peer]:
    """The losses of a peer; none where it is not installed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of other projects, about their own dependencies
            return importlib.import_module(f"benchmarks.peers.{name}").LOSSES
    except ModuleNotFoundError as missing:
        print(f"{name} is left out: {missing}", file=sys.stderr)
        return []


def main() -> None:
    """Prints the table of all peers, or of those that the arguments name."""
    peers = [peer for name in sys.argv[1:] or NAMES for peer in losses(name)]
    print(markdown({each.title: check(each.loss, each.divergence) for each in peers}))


if __name__ == "__main__":
    main()
