"""How a job fits its machine: where it runs, in which micro-batches, and what can't be made to fit.

A micro-batch is what fits beside the weights, and no more than an optimizer step has. Where not
even the smallest one fits, training keeps the inputs of its layers alone and computes the rest once
more (gradient checkpointing); where that doesn't help either, the job is refused before any begins.
"""

import math
from dataclasses import dataclass, replace

from pipeline.settings.memory import CONTEXT_MB, CPU_LOGITS, KV_CACHE_SHARE, max_logits_on_gpu
from workflow.resources.machine import CPU, Machine

MB = 10**6
GPU_FROM_PARAMETERS = 20 * MB  # smaller models stay on a CPU, unless a GPU is expected to be faster
USABLE = 0.85  # of a GPU's memory: the rest is lost to fragments
CPU_MICRO_BATCH = 2_048
GRAIN = 512  # positions that a micro-batch is a multiple of
LONGEST_MICRO_BATCH = 16_384  # nothing gets faster beyond


@dataclass(frozen=True)
class Workload:
    """What a job computes and holds, whatever the machine. Sizes are in bytes."""

    operations: float = 0
    steps: float = 1  # one after another, each of micro-batches
    step_texts: int = 1  # of a step, which ranks can share; 1: the stage knows no ranks
    step_positions: int = 1  # of the longest step: a micro-batch is never larger
    written_positions: float = 0  # one after another
    loaded: int = 0  # weights
    resident: int = 0  # weights and what belongs to them
    resident_on_cpu: int = 0  # the same on a CPU, where that is more: weights are in float32
    shared: int = 0  # the same where weights are sharded: in equal shares on all ranks
    unshared: int = 0  # and beside its share on each rank; 0: nothing can be sharded
    kept_whole: str = ""  # what keeps a job of this kind from being sharded
    per_position: int = 0  # of a micro-batch
    checkpointed: int = 0  # the same under gradient checkpointing; 0: there are no gradients
    logits: int = 0  # how many a training step has, of which those of a part exist at a time
    logit_bytes: int = 0  # for each of these
    trained: int = 0  # parameters
    writer: int = 0  # a KV cache
    host: int = 0  # data in memory
    seconds: float = 0  # beside what follows from the above
    disk: int = 0
    state: int = 0  # that is written when the job is asked to stop


@dataclass(frozen=True)
class Fit:
    """How a job is to use its machine."""

    machine: Machine  # the CPU, where a GPU would be no gain
    micro_batch: int  # positions, padding counted
    is_checkpointed: bool  # gradients are
    computing: float  # bytes that it then holds while it computes, on each rank
    ranks: int = 1  # processes that share the work, each with a GPU of its own if there are any
    is_sharded: bool = False  # each rank holds a share of the weights

    @property
    def nodes(self) -> int:
        """How many nodes the ranks are on."""
        return math.ceil(self.ranks / self.machine.ranks_of_node)

    @property
    def ranks_of_node(self) -> int:
        """How many ranks a node has."""
        return math.ceil(self.ranks / self.nodes)


def fit_to(workload: Workload, machine: Machine, recomputes: bool = False) -> Fit:
    """How a job uses a machine on its first attempt, if its models run there.

    On a GPU it recomputes its layers if that is wished, or if it has no room otherwise.
    """
    if not machine.device_memory_mb:
        resident = max(workload.resident, workload.resident_on_cpu)
        held = resident + workload.writer + _logits(workload, machine)
        computing = held + CPU_MICRO_BATCH * workload.per_position
        return Fit(CPU, CPU_MICRO_BATCH, False, computing)
    wanted = math.ceil(min(workload.step_positions, LONGEST_MICRO_BATCH) / GRAIN)
    held = _held(workload, machine)
    room = (USABLE * machine.device_memory_mb - CONTEXT_MB) * MB - held
    has_room = room >= GRAIN * workload.per_position
    is_checkpointed = workload.checkpointed > 0 and (recomputes or not has_room)
    each = max(1, workload.checkpointed if is_checkpointed else workload.per_position)
    tokens = GRAIN * max(1, min(math.floor(room / each / GRAIN), wanted))
    return Fit(machine, tokens, is_checkpointed, held + tokens * each)


def least_mb(workload: Workload, machine: Machine) -> int:
    """The memory of a GPU, in megabytes, below which a job fails however it is run."""
    least = workload.checkpointed or workload.per_position
    return CONTEXT_MB + math.ceil((_held(workload, machine) + GRAIN * least) / MB)


def _held(workload: Workload, machine: Machine) -> float:
    """Bytes that are held beside those of a micro-batch."""
    share = KV_CACHE_SHARE * machine.device_memory_mb * MB
    writer = max(workload.writer, share) if workload.writer else 0  # a KV cache
    return workload.resident + _logits(workload, machine) + writer


def _logits(workload: Workload, machine: Machine) -> int:
    return workload.logit_bytes * min(logits_at_once(machine, workload.trained), workload.logits)


def logits_at_once(machine: Machine, parameters: int) -> int:
    """The most logits of a chunk on a machine, where that many parameters are trained."""
    memory = machine.device_memory_mb * MB
    return max_logits_on_gpu(memory, parameters) if memory else CPU_LOGITS


def is_small(workload: Workload) -> bool:
    """Whether starting a GPU may take longer than the job does without one."""
    return workload.loaded < 4 * GPU_FROM_PARAMETERS


def seconds(workload: Workload, fit: Fit) -> float:
    """How long a job takes on its machine."""
    speed = fit.machine.speed
    micro_batches = workload.steps * math.ceil(workload.step_positions / fit.micro_batch)
    # a third more, where layers are computed once more for the backward pass
    operations = workload.operations * (4 / 3 if fit.is_checkpointed else 1)
    return (
        speed.start_seconds
        + workload.seconds
        + operations / speed.operations_per_second
        + micro_batches * speed.batch_seconds
        + workload.written_positions * speed.position_seconds
    )


def share_of(workload: Workload, share: float) -> Workload:
    """A share of what a job computes and writes, as a job of its own."""
    return replace(
        workload,
        operations=share * workload.operations,
        step_positions=math.ceil(share * workload.step_positions),
        written_positions=share * workload.written_positions,
        seconds=share * workload.seconds,
    )


def fit_job(workload: Workload, machine: Machine) -> Fit:
    """How a job uses a machine: a small model stays off the GPU unless it is faster there."""
    on_cpu, on_machine = fit_to(workload, CPU), fit_to(workload, machine)
    if not workload.loaded or (
        is_small(workload) and seconds(workload, on_cpu) <= seconds(workload, on_machine)
    ):
        return on_cpu
    return on_machine
