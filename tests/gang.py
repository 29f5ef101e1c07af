"""Ranks as real processes on this machine, which do the same work and hand back what they got."""

import multiprocessing
import os
import pickle
import socket
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import TypeVar

from pipeline.runtime.ranks import Ranks, join, leave

Result = TypeVar("Result")
SECONDS = 240  # until a rank that is still waiting for another is ended


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def on_ranks(size: int, work: Callable[[Ranks], Result]) -> list[Result]:
    """What `work` returns on each of several connected ranks, forked from this process.

    Raises: RuntimeError with the words of the ranks that failed.
    """
    context, port = multiprocessing.get_context("fork"), free_port()
    ends = [context.Pipe(duplex=False) for _ in range(size)]
    members = [
        context.Process(target=_member, args=(rank, size, port, work, ends[rank][1]))
        for rank in range(size)
    ]
    for member in members:
        member.start()
    outcomes = [
        pickle.loads(end.recv_bytes()) if end.poll(SECONDS) else (None, f"rank {rank} hangs")
        for rank, (end, _) in enumerate(ends)
    ]
    for member in members:
        member.kill()
        member.join()
    if failures := [failure for _, failure in outcomes if failure]:
        raise RuntimeError("\n".join(failures))
    return [result for result, _ in outcomes]


def _member(
    rank: int, size: int, port: int, work: Callable[[Ranks], Result], end: Connection
) -> None:
    places = {"RANK": rank, "WORLD_SIZE": size, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": size}
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in (places | address).items()})
    try:
        result = work(join())
        leave()
        outcome = (result, None)
    except Exception:
        outcome = (None, f"rank {rank}: {traceback.format_exc()}")
    end.send_bytes(pickle.dumps(outcome))  # tensors as they are, not as memory that is shared
