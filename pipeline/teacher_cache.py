"""The teacher cache: one forward pass over the texts, top-K log-probabilities to Parquet."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from pipeline import artifacts, cli, schemas
from pipeline.corpus import read_texts
from pipeline.language_model import default_device, load, parameter_count
from pipeline.settings.teacher import CacheSettings
from pipeline.signal import Signal, of_target
from pipeline.teachers import LiveTeacher
from pipeline.texts import Text, micro_batches

Columns = dict[str, list]


def capture(
    teacher: LiveTeacher, texts: Sequence[Text], budget: int
) -> Iterator[tuple[Text, Signal]]:
    """Each text with the teacher's signal at its response tokens, in an order of its own."""
    for batch in micro_batches(texts, budget, teacher.model.device):
        signal = teacher.signal(batch)
        first = 0
        for text in batch.texts:
            rows = slice(first, first + len(text.response_ids))
            yield text, _rows(signal, rows)
            first = rows.stop


def _rows(signal: Signal, rows: slice) -> Signal:
    support = signal.support
    assert support.ids is not None
    cut = type(support)(target=support.target[rows], ids=support.ids[rows])
    return Signal(signal.log_probs[rows], cut)


def columns_of(captured: Iterator[tuple[Text, Signal]]) -> Columns:
    """The columns of a shard."""
    columns: Columns = {name: [] for name in schemas.SIGNALS.names}
    for text, signal in captured:
        support = signal.support
        assert support.ids is not None
        columns["example_id"].append(text.example_id)
        columns["ids"].append(support.ids.flatten().int().cpu().numpy())
        half = signal.log_probs.flatten().cpu().numpy().astype(np.float16)
        columns["log_probs"].append(half)
        columns["target_log_probs"].append(
            of_target(signal.log_probs, support.target).cpu().numpy()
        )
    return columns


def main() -> None:
    """Writes the cache of one teacher over one set of texts."""
    parser = cli.parser(__doc__)
    parser.add_argument("--teacher", type=Path, required=True)
    parser.add_argument("--tokens", type=Path, required=True)
    parser.add_argument("--micro-batch-tokens", type=int, default=16_384)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    settings = CacheSettings.model_validate(options.job.settings)

    model = load(options.teacher, default_device())
    vocabulary = model.config.vocab_size
    if settings.k > vocabulary:
        raise ValueError(f"teacher_cache.k = {settings.k}: the vocabulary has {vocabulary} tokens")
    teacher = LiveTeacher(model, k=settings.k)
    began, tokens, shards = time.monotonic(), 0, []
    with artifacts.whole(Path(options.out)) as folder:
        folder.mkdir()
        for split in settings.splits:
            texts = read_texts(options.tokens / f"{split}.parquet")
            for first in range(0, len(texts), settings.shard_texts):
                part = texts[first : first + settings.shard_texts]
                name = f"{split}-{first // settings.shard_texts:05d}.parquet"
                columns = columns_of(capture(teacher, part, options.micro_batch_tokens))
                schemas.write(folder / name, columns, schemas.SIGNALS)
                shards.append(name)
                tokens += sum(len(text.response_ids) for text in part)
                seconds = time.monotonic() - began
                cli.progress(
                    f"{split}: {first + len(part)}/{len(texts)} texts, {tokens / seconds:.0f} tok/s"
                )
        artifacts.write_manifest(
            folder,
            options.job,
            {"teacher": options.teacher, "tokens": options.tokens},
            k=settings.k,
            support=settings.k + (settings.k < vocabulary),
            vocabulary=vocabulary,
            shards=shards,
            tokens=tokens,
            bytes=sum(path.stat().st_size for path in folder.glob("*.parquet")),
            parameters=parameter_count(model),
            seconds=time.monotonic() - began,
        )


if __name__ == "__main__":
    cli.run(main)
