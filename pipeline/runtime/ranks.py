"""Ranks: the processes of one job that train or evaluate together, each with its own device.

A launcher starts the same command once for each rank, with torchrun's variables in its environment.
A process without them is alone, and everything here costs it nothing. Sums, gathers and barriers
are collective: every rank must call them in the same order, or the job waits until its time-out.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from pipeline.runtime import progress
from pipeline.runtime.rank_variables import RANK, VARIABLES

Item = TypeVar("Item")

# longer than the first rank takes to write the state of a large model, while others wait for it
TIMEOUT = timedelta(minutes=30)
BUCKET = 1 << 26  # numbers that are sent at a time: a flat copy of all gradients may not fit


@dataclass(frozen=True)
class Ranks:
    """The place of a process among the ranks of its job."""

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this rank writes what the job makes."""
        return self.rank == 0

    @property
    def facts(self) -> dict[str, object]:
        """What a manifest says of the ranks that made an artifact: nothing of a single one."""
        return {"ranks": self.size} if self.size > 1 else {}

    def log(self, text: str) -> None:
        """Logs what all ranks would say: on the first one alone."""
        if self.is_first:
            progress.log(text)

    def share(self, items: Sequence[Item]) -> list[Item]:
        """Every `size`-th item, from this rank's first one on."""
        return [items[place] for place in range(self.rank, len(items), self.size)]

    def sum_in_place(self, tensors: Sequence[Tensor]) -> None:
        """Replaces each tensor by its sum over the ranks, equal to the last bit on all of them."""
        if self.size == 1:
            return
        for bucket in _buckets(tensors):
            flat = torch.cat([tensor.detach().reshape(-1) for tensor in bucket])
            with _connected():
                dist.all_reduce(flat)
            totals = flat.split([tensor.numel() for tensor in bucket])
            for tensor, total in zip(bucket, totals, strict=True):
                tensor.detach().copy_(total.view_as(tensor))

    def gather(self, value: Item) -> list[Item]:
        """The values of all ranks, in their order; any that can be pickled."""
        if self.size == 1:
            return [value]
        values = [value] * self.size
        with _connected():
            dist.all_gather_object(values, value)
        return values

    def of_first(self, work: Callable[[], Item]) -> Item:
        """What `work` returns on the first rank, which alone does it; where it exits, all do."""
        if self.size == 1:
            return work()
        status, values = None, list[Item]()
        if self.is_first:
            try:
                values.append(work())
            except SystemExit as leaving:
                status = leaving.code
        status, values = self.gather((status, values))[0]
        if not values:
            leave()
            raise SystemExit(status)
        return values[0]

    def highest(self, number: int) -> int:
        """The greatest of the numbers of all ranks."""
        if self.size == 1:
            return number
        greatest = torch.tensor(int(number))  # on the host: no device is waited for
        with _connected():
            dist.all_reduce(greatest, op=dist.ReduceOp.MAX)
        return int(greatest)

    def barrier(self) -> None:
        """Waits until all ranks are here."""
        self.highest(0)


ALONE = Ranks()


def of_environment() -> Ranks:
    """The place that the launcher gave this process. Raises ValueError for half a place."""
    if RANK not in os.environ:
        return ALONE
    if missing := [name for name in VARIABLES if name not in os.environ]:
        raise ValueError(
            f"RANK = {os.environ['RANK']} is set in the environment, but not {', '.join(missing)}; "
            "start the ranks with the launcher or torchrun, or unset RANK to run alone"
        )
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    if not 0 <= rank < size:
        raise ValueError(f"RANK = {rank} is not below WORLD_SIZE = {size}; start the ranks again")
    return Ranks(rank, size)


def join() -> Ranks:
    """The place of this process, connected with the other ranks and on its own device.

    NCCL moves what is on GPUs where each rank of the node has its own, and gloo everything else.
    """
    ranks = of_environment()
    if ranks.size == 1 or dist.is_initialized():
        return ranks
    local, count = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
    if count:
        torch.cuda.set_device(local % count)
    # a scheduler may show each rank no GPU but its own
    own_gpu = count == 1 or count >= int(os.environ["LOCAL_WORLD_SIZE"])
    with _connected():
        dist.init_process_group("cpu:gloo,cuda:nccl" if own_gpu else "gloo", timeout=TIMEOUT)
    return ranks


@contextmanager
def one_at_a_time(ranks: Ranks) -> Iterator[None]:
    """Lets the ranks of a node through one after the other: the host has room for one model."""
    local = count = 0
    if ranks.size > 1:
        local, count = int(os.environ["LOCAL_RANK"]), int(os.environ["LOCAL_WORLD_SIZE"])
    for _ in range(local):
        ranks.barrier()
    yield
    for _ in range(local, count):
        ranks.barrier()


def leave() -> None:
    """Closes the connections, at the end of work that went well on all ranks."""
    if dist.is_initialized():
        dist.destroy_process_group()


@contextmanager
def _connected() -> Iterator[None]:
    """Words for the failure of a connection; the libraries' own are about sockets."""
    try:
        yield
    except RuntimeError as error:
        raise ConnectionError("another rank of this job has ended or hangs; see its log") from error


def _buckets(tensors: Sequence[Tensor]) -> list[list[Tensor]]:
    """The tensors in their order, in groups of one type and of limited size."""
    buckets: list[list[Tensor]] = []
    room, kind = 0, None
    for tensor in tensors:
        if tensor.numel() > room or (tensor.dtype, tensor.device) != kind:
            buckets.append([])
            room, kind = BUCKET, (tensor.dtype, tensor.device)
        buckets[-1].append(tensor)
        room -= tensor.numel()
    return buckets
