"""Memory for each GPU, step times and caches of large models, by the formulas of the scheduler.

    python -m benchmarks.several_gpus

prints the tables of docs/scale.md. Nothing here is measured: memory and time follow from
workflow/resources.
"""

from collections.abc import Iterator, Sequence

from benchmarks import results
from pipeline.settings.memory import CONTEXT_MB
from workflow.resources.fit import MB, Fit, Workload, seconds
from workflow.resources.machine import Machine
from workflow.resources.model_sizes import Size
from workflow.resources.ranks import (
    NETWORK_BYTES_PER_SECOND,
    NODE_BYTES_PER_SECOND,
    exchange_seconds,
    work_of_rank,
)
from workflow.resources.training_memory import frozen_bytes, frozen_unit, held_in_training

RANKS = (1, 2, 4, 8)
POSITIONS = 4_096  # of a micro-batch on each GPU
STEP_POSITIONS = 65_536  # 64 texts of 1,024 tokens
LOGITS = 1 << 28  # of a chunk on a large GPU
# shapes of public models of these sizes: Llama 3.2, Qwen2.5 and Qwen3, Llama 3
MODELS = {
    "1B": Size(1_235_814_400, 16, 2_048, 128_256, "llama", is_tied=True),
    "3B": Size(3_212_749_824, 28, 3_072, 128_256, "llama", is_tied=True),
    "7B": Size(7_615_616_512, 28, 3_584, 152_064, "qwen2"),
    "14B": Size(14_768_307_200, 40, 5_120, 151_936, "qwen3"),
    "32B": Size(32_762_123_264, 64, 5_120, 151_936, "qwen3"),
    "70B": Size(70_553_706_496, 80, 8_192, 128_256, "llama"),
}
STUDENTS, TEACHERS = ("1B", "3B", "7B", "14B"), ("7B", "32B", "70B")
CACHED = {"method": {"policy": "fixed", "loss": "forward_kl", "teacher": "cache", "update": None}}
TRAINING = {"training": {"precision": "auto"}}
TOKENS = 10**9  # of a large cache
SUPPORT = 64


def student(name: str) -> Workload:
    """What a student holds that learns from a cache, with the positions of a micro-batch."""
    model = MODELS[name]
    held = held_in_training(model, None, CACHED | TRAINING)
    return Workload(
        **{
            **vars(held),
            "operations": 6 * model.parameters * STEP_POSITIONS,
            "step_texts": 64,
            "step_positions": STEP_POSITIONS,
            "trained": model.parameters,
        }
    )


def teacher(name: str) -> Workload:
    """What a teacher holds whose cache is captured."""
    model = MODELS[name]
    return Workload(
        operations=2 * model.parameters,
        step_texts=64,
        loaded=4 * model.parameters,
        resident=frozen_bytes(model, half=True),
        shared=frozen_bytes(model, half=True),
        unshared=frozen_unit(model, half=True),
        per_position=8 * model.depth + 12 * model.vocabulary,
    )


def fit(ranks: int, nodes: int = 1) -> Fit:
    """A job on as many GPUs, sharded where there are several."""
    machine = Machine(80_000, gpus_per_node=ranks // nodes, nodes_per_job=nodes)
    return Fit(machine, POSITIONS, False, 0, ranks, ranks > 1)


def gigabytes(work: Workload, ranks: int, checkpointed: bool = False) -> float:
    """Memory of each GPU."""
    own = work_of_rank(work, fit(ranks))
    position = own.checkpointed if checkpointed else own.per_position
    logits = 16 * LOGITS if own.trained else 0
    return CONTEXT_MB * MB / 1e9 + (own.resident + logits + POSITIONS * position) / 1e9


def memory_table() -> Iterator[Sequence[str]]:
    """Memory by model and GPUs."""
    yield ("model", *(f"{ranks} GPU{'s' * (ranks > 1)}" for ranks in RANKS))
    for name in STUDENTS:
        for checkpointed in (False, True):
            label = f"{name} student{', checkpointed' * checkpointed}"
            yield (
                label,
                *(f"{gigabytes(student(name), each, checkpointed):.0f} GB" for each in RANKS),
            )
    for name in TEACHERS:
        yield (
            f"{name} teacher",
            *(f"{gigabytes(teacher(name), each):.0f} GB" for each in RANKS),
        )


def time_table() -> Iterator[Sequence[str]]:
    """Seconds of a training step: computed, and sent if nothing is computed meanwhile."""
    yield ("student", "GPUs", "computing", "sending in a node", "sending between nodes")
    for name in STUDENTS:
        work = student(name)
        for ranks in (2, 8, 16):
            on_node = fit(ranks)
            computing = seconds(work_of_rank(work, on_node), on_node)
            computing -= on_node.machine.speed.start_seconds
            sent = exchange_seconds(work, on_node)
            over = sent * NODE_BYTES_PER_SECOND / NETWORK_BYTES_PER_SECOND
            in_node = f"{sent:.2f} s" if ranks <= 8 else "-"
            yield (name, str(ranks), f"{computing:.2f} s", in_node, f"{over:.2f} s")


def cache_table() -> Iterator[Sequence[str]]:
    """What a cache of a billion response tokens takes."""
    yield ("teacher", "tier", "bytes for each token", "size", "GPU-hours", "jobs of 8 hours")
    for name in TEACHERS:
        model = MODELS[name]
        hours = 2 * TOKENS * 2 * model.parameters / 1.5e14 / 3600  # as many tokens of prompts
        tiers = {f"top {SUPPORT}": 3 * SUPPORT + 16, "hidden": 2 * model.width}
        for tier, each in tiers.items():
            head = 4 * model.vocabulary * model.width if tier == "hidden" else 0
            size = (TOKENS * each + head) / 1e12
            ranks = next(each for each in RANKS if gigabytes(teacher(name), each) < 0.85 * 80)
            jobs = -(-hours // (8 * ranks))
            yield (
                name,
                tier,
                f"{each:,}",
                f"{size:.2f} TB",
                f"{hours:,.0f}",
                f"{jobs:.0f} of {ranks} GPU{'s' * (ranks > 1)}",
            )


def tables() -> list[str]:
    """The tables as docs/scale.md has them."""
    kinds = (memory_table(), time_table(), cache_table())
    return [results.markdown(next(rows), rows) for rows in kinds]


def main() -> None:
    """Prints the tables."""
    print(*tables(), sep="\n\n")


if __name__ == "__main__":
    main()
