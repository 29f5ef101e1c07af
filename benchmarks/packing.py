"""Texts of unequal lengths, read in two ways: padded beside others of like length, or in a row.

python -m benchmarks.packing [--student narrow] [--data FILE] [--texts 128] [--budget 2048]
                             [--repeats 5] [--out packing.json]

Forward and backward through the body, in micro-batches of at most `--budget` positions. Padded is
what `pipeline.data.batch` does: sorted by length, padded at the right, causal attention. Packed
lays
texts one after another in one row, with positions that start anew and a mask that is
block-diagonal, as transformers makes it for such positions; without padding, but attention is over
the whole row. (Flash attention over rows of unequal length, which has neither, is for GPUs alone.)
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedModel

from benchmarks.result_file import result_file
from benchmarks.workbench import SHAPES, model, natural, synchronize, synthetic
from pipeline.data.batch import Batch, Text, micro_batches
from pipeline.models.language_model import default_device, response_hidden
from pipeline.runtime.meter import device_name


@dataclass(frozen=True)
class Row:
    """A way to read, and how fast it is."""

    what: str
    tokens_per_second: float
    padding_share: float
    largest_gap: float  # of a gradient, relative to the largest gradient; to that when padded


def padded(texts: Sequence[Text], budget: int, device: torch.device) -> Iterator[Batch]:
    """Texts of like length side by side."""
    return micro_batches(texts, budget, device)


def packed(texts: Sequence[Text], budget: int, device: torch.device) -> Iterator[list[Tensor]]:
    """Ids, positions and places of the responses' predicting positions: rows of whole texts."""
    row: list[Text] = []
    for text in texts:
        if row and sum(placed.length for placed in row) + text.length > budget:
            yield _packed(row, device)
            row = []
        row.append(text)
    yield _packed(row, device)


def _packed(texts: Sequence[Text], device: torch.device) -> list[Tensor]:
    ids, positions, places, first = [], [], [], 0
    for text in texts:
        ids += [*text.prompt_ids, *text.response_ids[:-1]]
        positions += range(text.length)
        places += range(first + len(text.prompt_ids) - 1, first + text.length)
        first += text.length
    return [torch.tensor(values, device=device) for values in (ids, positions, places)]


def read_padded(student: PreTrainedModel, batch: Batch) -> Tensor:
    """Hidden states of the response tokens."""
    return response_hidden(student, batch)


def read_packed(student: PreTrainedModel, batch: Sequence[Tensor]) -> Tensor:
    """The same, from a packed row."""
    ids, positions, places = batch
    body = student.base_model(input_ids=ids[None], position_ids=positions[None], use_cache=False)
    return body.last_hidden_state[0].index_select(0, places)


def seconds(student: PreTrainedModel, read: Callable, batches: Sequence, repeats: int) -> float:
    """The fastest pass over all batches, forward and backward; leaves its gradients."""
    durations = []
    for _ in range(1 + repeats):
        student.zero_grad()
        synchronize(student.device)
        began = time.perf_counter()
        for batch in batches:
            read(student, batch).square().sum().backward()
        synchronize(student.device)
        durations.append(time.perf_counter() - began)
    return min(durations[1:])


def measured(
    student: PreTrainedModel, texts: Sequence[Text], budget: int, repeats: int
) -> list[Row]:
    """Both ways over the same texts."""
    rows, expected, real = [], None, sum(text.length for text in texts)
    for what, lay_out, read in (("padded", padded, read_padded), ("packed", packed, read_packed)):
        batches = list(lay_out(texts, budget, student.device))
        took = seconds(student, read, batches, repeats)
        places = sum(
            (batch.input_ids if what == "padded" else batch[0]).numel() for batch in batches
        )
        gradient = torch.cat([weight.grad.flatten() for weight in student.base_model.parameters()])
        expected = gradient if expected is None else expected
        gap = ((gradient - expected).abs().max() / expected.abs().max()).item()
        rows.append(Row(what, real / took, 1 - real / places, gap))
    return rows


def main() -> None:
    """Prints a table, and writes it as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--student", choices=SHAPES, default="narrow")
    parser.add_argument("--data", type=Path, help="texts get the lengths of these")
    parser.add_argument("--texts", type=int, default=128)
    parser.add_argument("--budget", type=int, default=2048)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=result_file, default=Path("packing.json"))
    options = parser.parse_args()
    student = model(options.student, 1, default_device())
    lengths = (options.texts, SHAPES[options.student].vocabulary)
    texts = natural(options.data, *lengths) if options.data else synthetic(*lengths)
    rows = measured(student, texts, options.budget, options.repeats)
    for row in rows:
        speed = f"{row.what:<8}{row.tokens_per_second:>10.0f} tok/s"
        print(f"{speed}{row.padding_share:>8.1%} padding{row.largest_gap:>10.1e} apart")
    task = {name: str(value) for name, value in vars(options).items()}
    record = {"device": device_name(student.device), "task": task}
    record |= {"rows": [asdict(row) for row in rows]}
    options.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
