"""The teacher cache: bytes, fidelity and trained students by tier, and how fast it is.

python -m benchmarks.teacher_cache --teacher results/models/ID --tokens results/tokens/ID
    [--parts tiers layouts capture reading] [--threads 1] [--out teacher_cache.json]

tiers     One pass of the teacher's body over some texts; from it a cache of each kind, which is
          read again, and of which a fresh small student learns. Scores are those of the students on
          held-out texts, against the teacher's whole distribution.
layouts   Bytes a token of each column of a top 64.
capture   Seconds of the stage's own loop, with its writing, against the bare forward pass over the
          same batches, with logits at the response tokens.
reading   Texts drawn at random from many copies of the cache, with much and with little memory.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transformers import AutoTokenizer

from benchmarks import cache_speed, results
from benchmarks.cache_subjects import TIERS, Options, Read, Row, read_once, size, stored
from benchmarks.gpu_check.subjects import run
from pipeline.data.batch import read_texts
from pipeline.distributions.divergences import kl
from pipeline.distributions.log_probs import log_probs_on
from pipeline.evaluation import heldout
from pipeline.models.language_model import default_device, lm_head, load
from pipeline.runtime.progress import log
from pipeline.settings.models import Shape
from pipeline.settings.training import Training
from pipeline.stages import command_line
from pipeline.stages.prepare_model import from_shape
from pipeline.teacher_cache.capture import Capture
from pipeline.teacher_cache.reader import CachedTeacher
from pipeline.training.loop import train
from pipeline.training.state import initial_state

SMALL = Shape(source="shape", layers=2, width=64, heads=2)
METHODS = {  # what learns of which cache
    "forward_kl": list(TIERS),
    "reverse_kl": ["top 64", "top 256", "hidden state"],
}
SEEDS = (1, 2)


@torch.no_grad()
def errors(options: Options, cached: CachedTeacher, read: Sequence[Read]) -> Tensor:
    """KL of the teacher to what is stored of it, on the stored support, at each token."""
    divergences = []
    for batch, states in read:
        signal = cached.signal(batch)
        exact = log_probs_on(lm_head(options.teacher, states).float(), signal.support)
        divergences.append(kl(exact, signal.log_probs).cpu())
    return torch.cat(divergences)


def scores(
    options: Options, method: str, teacher: CachedTeacher | None, judge: CachedTeacher, seed: int
) -> dict[str, float]:
    """Held-out measures of a fresh student that learnt by a method of a teacher."""
    words = AutoTokenizer.from_pretrained(options.tokenizer)
    training = Training(
        steps=options.steps, batch_size=8, learning_rate=5e-3, schedule="cosine", validations=0
    )
    student = from_shape(SMALL, words, seed).to(default_device())
    made = run(method, student, teacher, options.train, training, 1, options.budget, seed)
    for _ in train(made, initial_state(made)):
        pass
    measured = heldout.measure(student.eval(), options.test, {"": judge}, options.budget)
    items = measured.items.to_pandas()
    means = {}
    for name in ("nll_nats", "kl_to_teacher_nats", "top1_agreement"):
        rows = items[(items["metric"] == name) & (items["slice"] == "")]
        means[name] = float(np.average(rows["value"], weights=rows["weight"]))
    return means


def tiers(options: Options, folder: Path) -> list[Row]:
    """A row for each tier and method, and one for students without a teacher."""
    made = caches(options, folder)
    judge, _ = made["hidden state"]  # the whole distribution
    taught = [("sft", "no teacher")]
    taught += [(method, name) for method, names in METHODS.items() for name in names]
    rows: list[Row] = []
    for method, name in taught:
        cached, row = made.get(name, (None, {}))
        by_seed = [scores(options, method, cached, judge, seed) for seed in SEEDS]
        means = {key: float(np.mean([measures[key] for measures in by_seed])) for key in by_seed[0]}
        spread = float(np.std([measures["kl_to_teacher_nats"] for measures in by_seed], ddof=1))
        rows.append({"method": method, "tier": name} | row | means | {"kl_spread_nats": spread})
        log(f"{rows[-1]}")
    return rows


def caches(options: Options, folder: Path) -> dict[str, tuple[CachedTeacher, Row]]:
    """A cache of each tier, with its bytes and errors."""
    read = read_once(options, [*options.train, *options.test])
    tokens, opened = sum(batch.token_count for batch, _ in read), {}
    for name, settings in TIERS.items():
        place = folder / name.replace(" ", "_")
        capture = Capture(options.teacher, settings, options.budget)
        cached = stored(place, capture, (capture.reduce(*batch) for batch in read))
        row: Row = {"bytes_per_token": size(place) / tokens}
        if settings.draws is None:
            error = errors(options, cached, read)
            row["mean_kl_error_nats"] = error.mean().item()
            row["largest_kl_error_nats"] = error.max().item()
        opened[name] = cached, row
    return opened


def table(rows: Sequence[Row]) -> str:
    """The rows in Markdown."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    return results.markdown(names, ([_cell(row.get(name, "")) for name in names] for row in rows))


def _cell(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


PARTS = {
    "tiers": tiers,
    "layouts": cache_speed.layouts,
    "capture": cache_speed.capture,
    "reading": cache_speed.reading,
}


def main() -> None:
    """Prints a table for each part, and writes all of them as JSON."""
    parser = results.parser(__doc__, "teacher_cache.json")
    parser.add_argument("--teacher", type=Path, required=True)
    parser.add_argument("--tokens", type=Path, required=True)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--texts", type=int, default=120, help="to train on; a quarter as test")
    parser.add_argument("--longest", type=int, default=128, help="positions of a text")
    parser.add_argument("--steps", type=int, default=60, help="of each student")
    parser.add_argument("--micro-batch-tokens", type=int, default=2048)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    texts = read_texts(arguments.tokens / "train.parquet")
    texts = [text for text in texts if text.length < arguments.longest]
    last = arguments.texts + arguments.texts // 4
    options = Options(
        load(arguments.teacher, default_device()).requires_grad_(False),
        arguments.teacher / "model",
        texts[: arguments.texts],
        texts[arguments.texts : last],
        arguments.micro_batch_tokens,
        arguments.steps,
    )
    with tempfile.TemporaryDirectory() as folder:
        tables = {name: list(PARTS[name](options, Path(folder))) for name in arguments.parts}
    results.write(arguments.out, tables)
    print("\n\n".join(f"{name}\n\n{table(rows)}" for name, rows in tables.items()))


if __name__ == "__main__":
    command_line.run(main)
