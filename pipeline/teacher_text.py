"""A model writes its own responses to training prompts: what SeqKD and its kin train on."""

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from pipeline import artifacts, cli, schemas, vocabulary
from pipeline.corpus import read_texts
from pipeline.language_model import default_device, load, parameter_count
from pipeline.settings.writing import TextJob
from pipeline.texts import Text
from pipeline.writing import sampler, write

CHUNK = 2000  # texts between two lines of progress


def prompts(texts: list[Text], settings: TextJob) -> list[Text]:
    """The prompts to answer, each as often as wished; a subset is a draw, not a front part.

    Raises: ValueError if there are too few for a half to have one.
    """
    count = min(settings.prompts or len(texts), len(texts))
    if settings.half and count < 2:
        raise ValueError(f"teacher_text.prompts: {count} has no two halves; allowed: 2 or more")
    middle = count // 2
    part = {None: slice(count), "first": slice(middle), "second": slice(middle, count)}
    order = np.random.default_rng(settings.seed).permutation(len(texts))
    chosen = order[part[settings.half]]
    asked = [texts[at] for at in sorted(chosen)]
    if settings.samples == 1:
        return asked
    return [
        replace(text, example_id=f"{text.example_id}#{sample}")
        for text in asked
        for sample in range(settings.samples)
    ]


def main() -> None:
    """Writes the responses of one model."""
    parser = cli.parser(__doc__)
    parser.add_argument("--teacher", type=Path, required=True)
    parser.add_argument("--tokens", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    settings = TextJob.model_validate(options.job.settings)

    vocabulary.check(options.teacher, options.tokens)
    model = load(options.teacher, default_device())
    asked = prompts(read_texts(options.tokens / "train.parquet"), settings)
    choose, began, written = sampler(settings.sampling), time.monotonic(), []
    for first in range(0, len(asked), CHUNK):
        part = asked[first : first + CHUNK]
        written += write(part, [model], choose, settings.max_new_tokens, settings.seed, "teacher")
        tokens = sum(len(text.response_ids) for text in written)
        seconds = time.monotonic() - began
        cli.progress(f"{len(written)}/{len(asked)} texts, {tokens / seconds:.0f} tok/s")

    columns = {name: [getattr(text, name) for text in written] for name in schemas.TOKENS.names}
    with artifacts.whole(Path(options.out)) as folder:
        folder.mkdir()
        schemas.write(folder / "train.parquet", columns, schemas.TOKENS)
        artifacts.write_manifest(
            folder,
            options.job,
            {"teacher": options.teacher, "tokens": options.tokens},
            tokens=tokens,
            tokenizer_digest=vocabulary.of_texts(options.tokens),
            ended_share=sum(text.ended for text in written) / len(written),
            parameters=parameter_count(model),
            seconds=seconds,
        )


if __name__ == "__main__":
    cli.run(main)
