"""Bytes of tensors that training holds on each of several processes, beside what is reckoned.

    python -m benchmarks.rank_memory [--ranks 1 2 4] [--out rank_memory.json]

A Llama of 2.4 million weights trains for two steps on the CPU, with micro-batches of one text.
The storages of all tensors are added up after each operation, and their highest sum is taken: what
is held at the peak, whatever the allocator keeps of what was freed. Beside it stands what requests
to a scheduler are made from (docs/scale.md): weights, gradients, moments and gathered units, what
the positions of a micro-batch leave for the backward pass, and its logits.
"""

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.distributed.tensor import DTensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from benchmarks import results
from benchmarks.gpu_check.subjects import budget_of, run, texts
from benchmarks.workbench import SHAPES, from_ranks, model, size_of, write_as_first
from pipeline.methods.catalogue import METHODS
from pipeline.methods.method import resolve
from pipeline.models.lora import attach
from pipeline.models.sharding import mesh_of
from pipeline.models.teacher import LiveTeacher
from pipeline.runtime.ranks import Ranks, join, leave
from pipeline.settings.training import Lora
from pipeline.training.loop import train
from pipeline.training.state import TrainingRun, initial_state
from workflow.resources.fit import Fit
from workflow.resources.machine import CPU
from workflow.resources.ranks import work_of_rank
from workflow.resources.training_memory import held_in_training

SHAPE, DEVICE = "2m", torch.device("cpu")
BATCH, POSITIONS, STEPS = 4, 64, 2  # texts of a step, the most positions of one
ADAPTERS = Lora(rank=8, alpha=16.0, dropout=0.0, targets=["q_proj", "v_proj"])


@dataclass(frozen=True)
class Case:
    """A training of some kind."""

    name: str
    method: str = "sft"
    lora: Lora | None = None


STUDENT = Case("a student alone")
CASES = (
    STUDENT,
    Case("beside a live teacher", "reverse_kl"),
    Case("adapters", lora=ADAPTERS),
)


@dataclass(frozen=True)
class Row:
    """A case on some ranks."""

    case: str
    ranks: int
    sharded: bool
    held_mb: float  # the most of all ranks
    kept_mb: float  # after the last step: weights and moments
    reckoned_mb: float


class TensorBytes(TorchDispatchMode):
    """The most bytes that tensors hold together: of some at first, and of all that come to be."""

    def __init__(self, first: Iterable[Tensor]) -> None:
        super().__init__()
        self.storages: dict[int, StorageWeakRef] = {}
        for tensor in first:
            self._note(tensor)
        self.highest = self.held()

    def __torch_dispatch__(
        self, operation: OpOverload, _: object, args: Sequence[Any] = (), options: Any = None
    ) -> Any:
        """The operation, and then a look at what is held."""
        result = operation(*args, **(options or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self._note(leaf)
        self.highest = max(self.highest, self.held())
        return result

    def held(self) -> int:
        """The bytes that are held now: storages are freed, or emptied to be filled again."""
        total = 0
        for place in list(self.storages):
            storage = torch.UntypedStorage._new_with_weak_ptr(place)
            if storage is None:
                del self.storages[place]
            else:
                total += storage.nbytes()
        return total

    def _note(self, tensor: Tensor) -> None:
        own = tensor.to_local() if isinstance(tensor, DTensor) else tensor
        reference = StorageWeakRef(own.untyped_storage())
        self.storages.setdefault(reference.cdata, reference)


def player(case: Case, ranks: Ranks) -> TrainingRun:
    """The training of a case, with whole weights."""
    student = model(SHAPE, 1, DEVICE).eval()
    if case.lora:
        attach(student, case.lora, 0)
    teacher = LiveTeacher(model(SHAPE, 2, DEVICE).eval().requires_grad_(False))
    pool = texts(STEPS * BATCH, SHAPES[SHAPE].vocabulary, longest=POSITIONS - 4)
    training = budget_of(STEPS, BATCH, "float32").model_copy(update={"lora": case.lora})
    return replace(run(case.method, student, teacher, pool, training, 1, POSITIONS), ranks=ranks)


def measure(case: Case, ranks: Ranks, sharded: bool) -> Row:
    """Trains as one of the ranks of this process's environment."""
    made = player(case, ranks)
    if sharded:
        made.shard(mesh_of(ranks, DEVICE))
    models = [made.student]
    if isinstance(made.teacher, LiveTeacher):
        models.append(made.teacher.model)
    state = initial_state(made)
    with TensorBytes(weight for each in models for weight in each.parameters()) as tensors:
        for _ in train(made, state):
            pass
    held, kept = (max(ranks.gather(size / 1e6)) for size in (tensors.highest, tensors.held()))
    return Row(case.name, ranks.size, sharded, held, kept, reckoned(case, ranks.size, sharded))


def reckoned(case: Case, ranks: int, sharded: bool) -> float:
    """Megabytes of a rank by the scheduler's formula."""
    size = size_of(model(SHAPE, 1, DEVICE))
    method = resolve(METHODS[case.method], {}).settings
    lora = case.lora.model_dump() if case.lora else None
    settings = {"method": method, "training": {"precision": "float32", "lora": lora}}
    live = size if method["teacher"] == "live" else None
    whole = held_in_training(size, live, settings)
    own = work_of_rank(whole, Fit(CPU, POSITIONS, False, 0, ranks, sharded))
    logits = POSITIONS * size.vocabulary * (40 if live else 16)
    return (own.resident + POSITIONS * own.per_position + logits) / 1e6


def rows_of(ranks: Ranks) -> list[Row]:
    """All cases on the ranks of this process's environment."""
    torch.set_num_threads(1)
    kinds = (False, True)[: 1 + (ranks.size > 1)]
    return [measure(case, ranks, sharded) for case in CASES for sharded in kinds]


def main() -> None:
    """Prints a table, and writes it as JSON."""
    parser = results.parser(__doc__, "rank_memory.json")
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--rank-out", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.rank_out:
        ranks = join()
        write_as_first(options.rank_out, [asdict(row) for row in rows_of(ranks)])
        leave()
        return
    rows = [
        Row(**row) for ranks in options.ranks for row in from_ranks("benchmarks.rank_memory", ranks)
    ]
    print(f"{'case':<22} {'ranks':>5} {'sharded':>8} {'held MB':>8} {'reckoned':>9} {'share':>6}")
    for row in rows:
        print(
            f"{row.case:<22} {row.ranks:>5} {'yes' if row.sharded else 'no':>8} "
            f"{row.held_mb:>8.1f} {row.reckoned_mb:>9.1f} {row.held_mb / row.reckoned_mb:>6.2f}"
        )
    results.write(options.out, rows)


if __name__ == "__main__":
    main()
