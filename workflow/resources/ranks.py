"""How many ranks share a job, what each has to do and to hold, and what they send each other.

A job has the ranks that the profile gives it. Where its models don't fit one GPU, it has twice as
many, and again, up to all GPUs of as many nodes as it may have, and shards its models: each rank
then holds a share of the weights, gradients and moments, and beside it what is gathered at a time.
"""

import math
from collections.abc import Iterator
from dataclasses import replace

from workflow.resources.fit import USABLE, Fit, Workload, fit_job, fit_to, least_mb, seconds
from workflow.resources.machine import CPU, Machine

# What a GPU sends to others, in bytes per second: expectations, of NVLink between H100s of a node
# and of an InfiniBand card of 400 Gbit/s for each GPU, both at two thirds of what they can do
NODE_BYTES_PER_SECOND, NETWORK_BYTES_PER_SECOND = 3e11, 3.3e10
CPU_BYTES_PER_SECOND = 1e9  # gloo over the loopback device


def fit_ranks(workload: Workload, machine: Machine) -> Fit:
    """How a job uses a machine with as many ranks as it needs, or at most gets."""
    alone = fit_job(workload, machine)
    if workload.step_texts == 1:
        return alone
    if not alone.machine.device_memory_mb:
        used = replace(CPU, ranks_per_job=machine.ranks_per_job, shard=machine.shard)
        return _fit_as(workload, used, used.ranks_per_job, is_sharded(workload, used))
    choices = [_fit_as(workload, machine, *choice) for choice in _choices(workload, machine)]
    return next((fit for fit in choices if _has_room(workload, fit)), choices[-1])


def is_sharded(workload: Workload, machine: Machine) -> bool:
    """Whether the profile has jobs of several ranks sharded, of those that can be."""
    ranks = machine.gpus_per_job if machine.device_memory_mb else machine.ranks_per_job
    return bool(machine.shard and _can_be_sharded(workload) and ranks > 1)


def _can_be_sharded(workload: Workload) -> bool:
    return workload.unshared > 0 and not workload.kept_whole


def _choices(workload: Workload, machine: Machine) -> Iterator[tuple[int, bool]]:
    """Numbers of ranks, and whether they share the weights: the first that fits is taken."""
    ranks = machine.gpus_per_job
    yield ranks, is_sharded(workload, machine)
    most = min(machine.gpus_per_node * machine.nodes_per_job, workload.step_texts)
    while _can_be_sharded(workload) and ranks <= most:
        if ranks > 1:
            yield ranks, True
        ranks *= 2


def _fit_as(workload: Workload, machine: Machine, ranks: int, sharded: bool) -> Fit:
    """The faster way: larger micro-batches of layers that are recomputed gather weights less."""
    work = work_of_rank(workload, Fit(machine, 0, False, 0, ranks, sharded))
    fits = [
        replace(fit_to(work, machine, recomputes), machine=machine, ranks=ranks, is_sharded=sharded)
        for recomputes in (False, True)[: 1 + sharded]
    ]
    return min(fits, key=lambda fit: seconds(work, fit) + exchange_seconds(workload, fit))


def _has_room(workload: Workload, fit: Fit) -> bool:
    needed = least_mb(work_of_rank(workload, fit), fit.machine)
    return needed <= USABLE * fit.machine.device_memory_mb


def work_of_rank(workload: Workload, fit: Fit) -> Workload:
    """What one of the ranks of a job computes and holds."""
    if fit.ranks == 1:
        return workload
    resident = workload.resident
    if fit.is_sharded:
        resident = workload.unshared + math.ceil(workload.shared / fit.ranks)
    # a step's texts are written side by side, however few; those of other jobs in groups
    written = workload.written_positions / (1 if workload.trained else fit.ranks)
    return replace(
        workload,
        operations=workload.operations / fit.ranks,
        step_positions=math.ceil(workload.step_positions / fit.ranks),
        written_positions=written,
        logits=math.ceil(workload.logits / fit.ranks),
        resident=resident,
    )


def exchange_seconds(workload: Workload, fit: Fit) -> float:
    """How long ranks wait for what they send each other, were nothing computed meanwhile.

    Gradients in float32 are added up once in a step: each rank sends and gets them less its own
    share, once to add and once to spread them. Sharded, it is for each micro-batch that weights
    are gathered twice and gradients added up, of which each rank keeps its share; those of a model
    that only reads and writes are gathered once, for each micro-batch and for each token.
    """
    if fit.ranks == 1:
        return 0.0
    others = (fit.ranks - 1) / fit.ranks
    per_exchange = 2 * 4 * workload.trained
    exchanges = workload.steps
    if fit.is_sharded:
        own = work_of_rank(workload, fit)
        exchanges *= math.ceil(own.step_positions / fit.micro_batch)
        if workload.trained:
            per_exchange = 2 * workload.loaded + 4 * workload.trained
        else:
            per_exchange = workload.shared
            exchanges += own.written_positions
    return exchanges * others * per_exchange / bytes_per_second(fit)


def bytes_per_second(fit: Fit) -> float:
    """How fast ranks send, which is as fast as the slowest part of their way."""
    if not fit.machine.device_memory_mb:
        return CPU_BYTES_PER_SECOND
    return NETWORK_BYTES_PER_SECOND if fit.nodes > 1 else NODE_BYTES_PER_SECOND
