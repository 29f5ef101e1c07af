"""Draws against a top K at equal bytes: how far forward KL's gradient is from the exact one.

python -m benchmarks.draws --teacher results/teachers/ID --student results/students/ID
    --tokens results/tokens/ID [--texts 800] [--step 16] [--out draws.json]

A cache of each kind is written and read again. The gradient is that of the student's lm_head, and
its error the length of the difference to that of the whole vocabulary, as a share of the exact
one's length: in a step (the mean over steps), and over all texts at once, where chance averages out
and bias stays. Draws that are new in each epoch come from the hidden tier, whose bytes they need.
"""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedModel

from benchmarks import results
from benchmarks.cache_subjects import Options, Read, Row, read_once, size, stored
from benchmarks.teacher_cache import table
from pipeline.data.batch import Batch, read_texts
from pipeline.distributions.divergences import kl
from pipeline.distributions.log_probs import TeacherDistributions, log_probs_on
from pipeline.models.language_model import default_device, lm_head, load, response_hidden
from pipeline.settings.teacher import CacheJob
from pipeline.stages import command_line
from pipeline.teacher_cache.capture import Capture
from pipeline.teacher_cache.reader import CachedTeacher
from pipeline.teacher_cache.reduce import uniform_numbers
from pipeline.training.batches import RedrawnDistributions

TOP = (4, 8, 12, 16, 32, 64)
DRAWS = (6, 12, 25, 50, 100)
EPOCHS = 8

Signals = Callable[[Batch], TeacherDistributions]


def gradient(student: PreTrainedModel, batch: Batch, hidden: Tensor, signals: Signals) -> Tensor:
    """Of the mean forward KL over a batch, with regard to the student's lm_head."""
    signal = signals(batch).chunk(slice(None))
    logits = lm_head(student, hidden).float().requires_grad_()
    loss = kl(signal.log_probs, log_probs_on(logits, signal.support)).mean()
    (of_logits,) = torch.autograd.grad(loss, logits)
    return of_logits.T @ hidden


def errors(student: PreTrainedModel, read: Sequence[Read], exact: Signals, cache: Signals) -> Row:
    """The relative error of the gradient in a step, and over all steps."""
    in_steps, totals = [], [torch.zeros(()), torch.zeros(())]
    for batch, _ in read:
        with torch.no_grad():
            hidden = response_hidden(student, batch)
        true, stored = (gradient(student, batch, hidden, each) for each in (exact, cache))
        in_steps.append(((stored - true).norm() / true.norm()).item())
        totals = [totals[0] + true, totals[1] + stored]
    overall = (totals[1] - totals[0]).norm() / totals[0].norm()
    return {"error_in_a_step": sum(in_steps) / len(in_steps), "error_overall": overall.item()}


def cached(
    options: Options, folder: Path, read: Sequence[Read], settings: CacheJob
) -> tuple[CachedTeacher, float]:
    """A cache of what was read, and its bytes per token."""
    capture = Capture(options.teacher, settings, options.budget)
    cache = stored(folder, capture, (capture.reduce(*batch) for batch in read))
    return cache, size(folder) / sum(batch.token_count for batch, _ in read)


def rows(options: Options, student: PreTrainedModel, step: int, folder: Path) -> list[Row]:
    """A row for each cache."""
    steps = [options.train[first : first + step] for first in range(0, len(options.train), step)]
    read = [batch for texts in steps for batch in read_once(options, texts)]
    hidden, hidden_bytes = cached(options, folder / "hidden", read, CacheJob(tier="hidden"))

    kinds = {f"top {k}": CacheJob(k=k) for k in TOP}
    kinds |= {f"{draws} draws": CacheJob(draws=draws) for draws in DRAWS}
    table_rows = []
    for name, settings in kinds.items():
        cache, cache_bytes = cached(options, folder / name.replace(" ", "_"), read, settings)
        row = errors(student, read, hidden.distributions, cache.distributions)
        table_rows.append({"cache": name, "bytes_per_token": cache_bytes} | row)
    for draws in DRAWS:
        row = errors(student, read, hidden.distributions, _over_epochs(hidden, draws))
        name = f"{draws} draws, new in each of {EPOCHS} epochs"
        table_rows.append({"cache": name, "bytes_per_token": hidden_bytes} | row)
    return table_rows


def _over_epochs(hidden: CachedTeacher, draws: int) -> Signals:
    """All draws of the epochs together, whose gradient is the mean over epochs."""

    def redrawn(batch: Batch) -> TeacherDistributions:
        uniforms = uniform_numbers(batch.texts, EPOCHS * draws, "redrawn/0/0")
        return RedrawnDistributions(hidden.distributions(batch), uniforms.to(batch.next_ids.device))

    return redrawn


def main() -> None:
    """Prints a table, and writes it as JSON."""
    parser = results.parser(__doc__, "draws.json")
    parser.add_argument("--teacher", type=Path, required=True)
    parser.add_argument("--student", type=Path, required=True)
    parser.add_argument("--tokens", type=Path, required=True)
    parser.add_argument("--texts", type=int, default=800)
    parser.add_argument("--step", type=int, default=16, help="texts in a step")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    device = default_device()
    texts = read_texts(arguments.tokens / "train.parquet")[: arguments.texts]
    options = Options(
        load(arguments.teacher, device),
        arguments.teacher / "model",
        texts,
        [],
        budget=10**9,
        steps=0,
    )
    with tempfile.TemporaryDirectory() as folder:
        measured = rows(options, load(arguments.student, device), arguments.step, Path(folder))
    results.write(arguments.out, measured)
    print(table(measured))


if __name__ == "__main__":
    command_line.run(main)
