"""A step of training on several processes of this CPU: its seconds, and what each of them holds.

    python -m benchmarks.rank_steps [--ranks 1 2] [--steps 6] [--out rank_steps.json]

Each rank computes on one core. A Llama of 24 million weights trains by SFT on 16 texts a step, with
whole weights on each rank and sharded. What a rank holds is the greatest of its anonymous memory
over all steps less that before the model was there; beside it stands what the requests to a
scheduler reckon for weights, gradients and moments (docs/scale.md), without activations.
"""

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from statistics import median

import torch

from benchmarks import results
from benchmarks.gpu_check.subjects import budget_of, run, texts
from benchmarks.measuring import held_mb, watched_memory
from benchmarks.workbench import from_ranks, model, size_of, write_as_first
from pipeline.models.sharding import mesh_of
from pipeline.runtime.ranks import join, leave
from pipeline.training.loop import train
from pipeline.training.state import initial_state
from workflow.resources.fit import Fit
from workflow.resources.machine import CPU
from workflow.resources.model_sizes import Size
from workflow.resources.ranks import work_of_rank
from workflow.resources.training_memory import held_in_training

SHAPE = "24m"
BATCH, POSITIONS = 16, 256  # texts of a step, positions of a micro-batch
METHOD = {"policy": "fixed", "loss": "cross_entropy", "teacher": "none", "update": None}


@dataclass(frozen=True)
class Row:
    """What was measured with a number of ranks."""

    ranks: int
    sharded: bool
    step_seconds: float  # median, of the first rank
    loss_nats: float  # of the last step
    held_mb: float  # most of all ranks
    reckoned_mb: float


def measure(steps: int, sharded: bool) -> Row:
    """Trains as one of the ranks of this process's environment."""
    torch.set_num_threads(1)
    ranks, before = join(), held_mb()
    student, pool = model(SHAPE, 1, torch.device("cpu")), texts(4 * BATCH, longest=128)
    training = budget_of(steps, BATCH, "float32")
    size = size_of(student)  # of whole weights
    player = replace(run("sft", student, None, pool, training, 1, POSITIONS), ranks=ranks)
    if sharded:
        player.shard(mesh_of(ranks, torch.device("cpu")))
    state, times = initial_state(player), [time.perf_counter()]
    with watched_memory() as megabytes:
        for _ in train(player, state):
            times.append(time.perf_counter())
    seconds = median(end - begin for begin, end in pairwise(times[1:]))
    held = max(ranks.gather(max(megabytes) - before))
    loss = float(state.rows[-1]["loss_nats"] or 0)
    leave()
    return Row(ranks.size, sharded, seconds, loss, held, reckoned(size, ranks.size, sharded))


def reckoned(size: Size, ranks: int, sharded: bool) -> float:
    """Megabytes of weights and what belongs to them on each rank, by the scheduler's formula."""
    training = {"training": {"precision": "float32"}}
    whole = held_in_training(size, None, {"method": METHOD} | training)
    return work_of_rank(whole, Fit(CPU, POSITIONS, False, 0, ranks, sharded)).resident / 1e6


def measured(counts: Sequence[int], steps: int) -> Iterator[Row]:
    """The rows, each by processes of its own."""
    for ranks in counts:
        for sharded in (False, True)[: 1 + (ranks > 1)]:
            flags = ["--steps", str(steps), *["--sharded"] * sharded]
            yield Row(**from_ranks("benchmarks.rank_steps", ranks, *flags))


def main() -> None:
    """Prints a table, and writes it as JSON."""
    parser = results.parser(__doc__, "rank_steps.json")
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--rank-out", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--sharded", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.rank_out:
        write_as_first(options.rank_out, asdict(measure(options.steps, options.sharded)))
        return
    rows = []
    print(f"{'ranks':>5} {'sharded':>8} {'s a step':>9} {'loss':>9} {'held MB':>8} {'reckoned':>9}")
    for row in measured(options.ranks, options.steps):
        print(
            f"{row.ranks:>5} {'yes' if row.sharded else 'no':>8} {row.step_seconds:>9.3f} "
            f"{row.loss_nats:>9.5f} {row.held_mb:>8.0f} {row.reckoned_mb:>9.0f}",
            flush=True,
        )
        rows.append(asdict(row))
    results.write(options.out, rows)


if __name__ == "__main__":
    main()
