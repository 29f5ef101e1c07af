"""How far every loss on a teacher's top-K support is from its value on the whole vocabulary.

Teacher and student read the same texts. Losses have their default hyperparameters and stand where
they do at the first step of a training; what is defined over a step (medians, ranks, whitening) is
over all texts. Those of gold text serve as the teacher's and the student's in turn, for losses that
tell the two apart, and count as written with the student's own probabilities. Supports are made
from the live teacher: the half precision of a cache is no part of what is measured.
"""

import argparse
import csv
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from benchmarks import results
from pipeline.artifacts import artifact
from pipeline.data.batch import Batch, Text, micro_batches, read_texts, token_context
from pipeline.distributions.log_probs import (
    LogProbs,
    PerToken,
    TokenContext,
    dense,
    log_probs_on,
    target_log_prob,
    top_k,
)
from pipeline.losses import StepStatisticLoss, build_loss, initial_state
from pipeline.methods import components
from pipeline.models import vocabulary
from pipeline.models.language_model import default_device, load, response_logits
from pipeline.runtime.progress import log
from pipeline.stages import command_line

SUPPORTS = (8, 16, 64, 256)
# those over spans read what a cache has stored of a teacher's own tokens, not a support
LOSSES = [
    name
    for name in components.names("losses")
    if not components.class_constant("losses", name, "over_spans", False)
]
FOLDER = Path(__file__).parent.parent / "docs" / "sparse_support"
NEEDS_WHOLE_VOCABULARY = {
    name for name in components.names("losses") if components.on_sparse_support(name) == "refused"
}

Losses = Mapping[str, Any]
Values = Mapping[tuple[str, int | None], Tensor]  # of each token, by loss and K; None: dense


@dataclass(frozen=True)
class Row:
    """A loss on a support: means over tokens; no errors where it refuses the support."""

    loss: str
    k: int
    dense_nats: float
    mean_error_nats: float | None = None
    mean_abs_error_nats: float | None = None
    relative_error: float | None = None  # of the mean


@dataclass(frozen=True)
class Reading:
    """Both distributions on a support, and what else a loss may know."""

    teacher: LogProbs
    student: LogProbs
    tokens: TokenContext


@dataclass(frozen=True)
class Subjects:
    """The two models, and the texts that they read in micro-batches."""

    teacher: PreTrainedModel
    student: PreTrainedModel
    texts: Sequence[Text]
    budget: int  # positions in a micro-batch: changes no result

    def batches(self) -> Iterator[Batch]:
        """The texts, every other one as if the student had written it."""
        authors = [
            replace(text, author=("teacher", "student")[number % 2])
            for number, text in enumerate(self.texts)
        ]
        return micro_batches(authors, self.budget, self.student.device)


PerLoss = Callable[[str, int | None, Reading], PerToken]


@torch.no_grad()
def measure(subjects: Subjects, supports: Sequence[int]) -> list[Row]:
    """A row for every loss on every support."""
    losses = {name: build_loss(name, {}) for name in LOSSES}
    states = {name: initial_state(loss) for name, loss in losses.items()}
    with_statistic = [name for name, loss in losses.items() if isinstance(loss, StepStatisticLoss)]

    def statistic(name: str, _: int | None, reading: Reading) -> PerToken:
        tokens, loss = replace(reading.tokens, state=states[name]), losses[name]
        assert isinstance(loss, StepStatisticLoss)
        return loss.step_statistic(reading.teacher, reading.student, tokens)

    statistics = over_texts(subjects, supports, with_statistic, statistic)

    def value(name: str, k: int | None, reading: Reading) -> PerToken:
        tokens = replace(
            reading.tokens, state=states[name], step_statistics=statistics.get((name, k))
        )
        return losses[name](reading.teacher, reading.student, tokens)

    values = over_texts(subjects, supports, list(losses), value)
    return [row(name, k, values) for name in losses for k in supports]


def over_texts(
    subjects: Subjects, supports: Sequence[int], names: Sequence[str], of: PerLoss
) -> Values:
    """A number for each token of all texts, for each loss, on the vocabulary and each support."""
    values = defaultdict(list)
    for batch in subjects.batches():
        for k, reading in readings(subjects, batch, supports):
            for name in names:
                if k is None or name not in NEEDS_WHOLE_VOCABULARY:
                    values[name, k].append(of(name, k, reading).cpu())
    return {key: torch.cat(parts) for key, parts in values.items()}


def readings(
    subjects: Subjects, batch: Batch, supports: Sequence[int]
) -> Iterator[tuple[int | None, Reading]]:
    """Both distributions on the whole vocabulary, then on each support."""
    teacher, student = (
        response_logits(model, batch).float() for model in (subjects.teacher, subjects.student)
    )
    whole = dense(student, batch.next_ids)
    written = target_log_prob(whole.log_probs, batch.next_ids)
    for k in (None, *supports):
        signal = dense(teacher, batch.next_ids) if k is None else top_k(teacher, batch.next_ids, k)
        tokens = token_context(batch, slice(None), signal.support, progress=0.0, state={})
        tokens = replace(tokens, sampled_log_probs=written, reference_log_probs=written)
        # where every answer is worth as much as any other, and all are right
        has_solution = torch.ones_like(tokens.has_solution)
        tokens = replace(tokens, advantages=torch.zeros_like(written), has_solution=has_solution)
        yield k, Reading(signal.log_probs, log_probs_on(student, signal.support), tokens)


def row(name: str, k: int, values: Values) -> Row:
    """The error of a loss on a support."""
    whole = values[name, None].double()
    if (name, k) not in values:
        return Row(name, k, whole.mean().item())
    error = values[name, k].double() - whole
    return Row(
        loss=name,
        k=k,
        dense_nats=whole.mean().item(),
        mean_error_nats=error.mean().item(),
        mean_abs_error_nats=error.abs().mean().item(),
        relative_error=(error.mean() / whole.mean()).abs().item(),
    )


def markdown(rows: Sequence[Row]) -> str:
    """A line for each loss: its dense value, and on each support both errors."""
    supports = sorted({row.k for row in rows})
    lines = []
    for name in dict.fromkeys(row.loss for row in rows):
        own = {row.k: row for row in rows if row.loss == name}
        cells = [_errors(own[k]) for k in supports]
        lines.append([name, f"{own[supports[0]].dense_nats:.4f}", *cells])
    return results.markdown(["loss", "dense (nats)", *(f"K = {k}" for k in supports)], lines)


def _errors(row: Row) -> str:
    if row.relative_error is None:
        return "dense only"
    return f"{row.mean_abs_error_nats:.4f} ({row.relative_error:.1%})"


def write_csv(path: Path, rows: Iterable[Row]) -> None:
    """The rows with six significant digits; an error that there isn't is empty."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [column.name for column in fields(Row)], lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({key: _number(value) for key, value in asdict(row).items()})


def _number(value: object) -> object:
    return f"{value:.6g}" if isinstance(value, float) else value


def main() -> None:
    """Prints the table and writes its numbers to docs/sparse_support/NAME.csv."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--teacher", type=Path, required=True)
    parser.add_argument("--student", type=Path, required=True)
    parser.add_argument("--tokens", type=Path, required=True)
    parser.add_argument("--name", required=True, help="of the table")
    parser.add_argument("--texts", type=int, default=200, help="so many of the test split")
    parser.add_argument("--micro-batch-tokens", type=int, default=2048)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    for model in (options.teacher, options.student):
        vocabulary.check(model, options.tokens)
    teacher, student = (
        load(folder, default_device()) for folder in (options.teacher, options.student)
    )
    texts = read_texts(options.tokens / "test.parquet")[: options.texts]
    rows = measure(Subjects(teacher, student, texts, options.micro_batch_tokens), SUPPORTS)

    write_csv(FOLDER / f"{options.name}.csv", rows)
    names = [
        artifact.read_id(folder) for folder in (options.teacher, options.student, options.tokens)
    ]
    tokens = sum(len(text.response_ids) for text in texts)
    log(f"{', '.join(names)}: {len(texts)} texts, {tokens} response tokens")
    print(markdown(rows))


if __name__ == "__main__":
    command_line.run(main)
