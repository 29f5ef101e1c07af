"""Runs a stage's module: in a process forked from preloaded libraries where there are any, or here.

python -m workflow.job pipeline.distill JOB --start ...
"""

import json
import os
import runpy
import signal
import socket
import sys
from pathlib import Path
from types import FrameType

ADDRESS = "DISTILBENCH_PRELOADED"  # where `workflow.preloaded` listens
LENGTH_BYTES = 8  # of the number that says how long a request is


def ask(address: str, module: str, arguments: list[str]) -> int:
    """The exit status of a stage that a server of preloaded libraries runs for this process."""
    request = {"module": module, "arguments": arguments, "folder": str(Path.cwd())}
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(address)
        text = json.dumps(request).encode()
        socket.send_fds(server, [len(text).to_bytes(LENGTH_BYTES)], [0, 1, 2])
        server.sendall(text)

        def pass_on(number: int, _: FrameType | None) -> None:
            server.sendall(bytes([number]))

        signal.signal(signal.SIGTERM, pass_on)
        status = json.loads(server.recv(64) or b"1")
    return status if status >= 0 else 128 - status  # as a shell says that a signal ended it


def main() -> None:
    """Runs the named module with the arguments that follow."""
    module, arguments = sys.argv[1], sys.argv[2:]
    address = os.environ.get(ADDRESS)
    if address:
        raise SystemExit(ask(address, module, arguments))
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
