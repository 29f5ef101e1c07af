"""Writes responses chunk by chunk, each finished on disk before the next."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from pipeline.artifacts import schemas
from pipeline.artifacts.resumable_parts import ResumableParts
from pipeline.artifacts.schemas import Columns
from pipeline.data.batch import Text, read_texts
from pipeline.generation import generate, sampler
from pipeline.models import positions, vocabulary
from pipeline.models.flops import count
from pipeline.models.sharding import in_company, load_to_read
from pipeline.runtime import costs
from pipeline.runtime.costs import GRAPH_CAPTURES
from pipeline.runtime.meter import Stopwatch
from pipeline.runtime.progress import ProgressLog, log
from pipeline.settings.generation import TextJob
from pipeline.stages import divided
from pipeline.stages.divided import DividedWork, cost_of_pieces
from pipeline.stages.options import GenerateOptions
from pipeline.tokenizer_alignment.retokenize import Retokenizer

CHUNK = 500  # responses in a part: a killed job loses no more
FILE = TRAINING = "train.parquet"


@dataclass(frozen=True)
class Prompts:
    """The prompts to answer, each as often as wished, one at a time: their texts may be many."""

    texts: Sequence[Text]
    places: Sequence[int]  # of those texts that are asked, in their order
    samples: int

    def __len__(self) -> int:
        return len(self.places) * self.samples

    def of(self, rows: range) -> Iterator[Text]:
        """Some of the prompts, by their numbers."""
        for row in rows:
            text = self.texts[self.places[row // self.samples]]
            is_alone, sample = self.samples == 1, row % self.samples
            yield text if is_alone else replace(text, example_id=f"{text.example_id}#{sample}")


def drawn_prompts(texts: Sequence[Text], settings: TextJob) -> Prompts:
    """The prompts to answer; a subset is a draw, not a front part.

    Raises: ValueError if there are too few for a half to have one.
    """
    count = min(settings.prompts or len(texts), len(texts))
    if settings.half and count < 2:
        raise ValueError(f"teacher_text.prompts: {count} has no two halves; allowed: 2 or more")
    middle = count // 2
    part = {None: slice(count), "first": slice(middle), "second": slice(middle, count)}
    order = np.random.default_rng(settings.seed).permutation(len(texts))
    return Prompts(texts, np.sort(order[part[settings.half]]).tolist(), settings.samples)


def prompts(texts: Sequence[Text], settings: TextJob) -> list[Text]:
    """All of the prompts to answer, at once."""
    drawn = drawn_prompts(texts, settings)
    return list(drawn.of(range(len(drawn))))


def write_chunk(
    folder: Path, prompts: list[Text], model: PreTrainedModel, settings: TextJob, pace: ProgressLog
) -> dict[str, object]:
    """The responses, as a file in `folder`; how many tokens and ended texts, and what they took."""
    watch, counter, choose = Stopwatch(model.device), count(model), sampler(settings.sampling)
    time, seed = settings.max_new_tokens, settings.seed
    written = generate(prompts, [model], choose, time, seed, "teacher", pace)
    columns = {name: [getattr(text, name) for text in written] for name in schemas.TOKENS.names}
    schemas.write(folder / FILE, columns, schemas.TOKENS)
    return {
        "texts": len(written),
        "tokens": sum(len(text.response_ids) for text in written),
        "ended": sum(text.ended for text in written),
        "without_number": sum(not all(map(math.isfinite, text.log_probs)) for text in written),
        "cost": asdict(watch.cost() + counter.as_teacher()),
        "captures": asdict(GRAPH_CAPTURES),  # so far, by this process
    }


def refuse_unusable(teacher: Path, facts: Sequence[Mapping[str, Any]], texts: int) -> None:
    """Raises ValueError, naming the teacher, where no student could learn from its texts."""
    tokens, ended, without = (
        sum(chunk[what] for chunk in facts) for what in ("tokens", "ended", "without_number")
    )
    if without:
        raise ValueError(
            f"{teacher}: the log-probabilities of {without} of its {texts} texts are not numbers "
            "(NaN): its weights are broken; train it again or download them again"
        )
    if tokens == ended == texts:
        raise ValueError(
            f"{teacher}: each of its {texts} responses is only an EOS token; "
            " train it, or see that the prompts suit it (data.template)"
        )


def answer(
    options: GenerateOptions,
    settings: TextJob,
    model: PreTrainedModel,
    asked: Prompts,
    mine: Mapping[str, range],
    pieces: ResumableParts,
) -> None:
    """Writes a chunk of responses after the other; `mine` are the numbers of their prompts."""
    texts = (text for rows in mine.values() for text in asked.of(rows))
    unanswered = (replace(text, response_ids=[]) for text in texts)
    key = "teacher_text.max_new_tokens"
    positions.check(options.teacher, model.config, unanswered, settings.max_new_tokens, key)

    facts, pace = [], ProgressLog("texts", sum(map(len, mine.values())), "texts")
    for name, rows in mine.items():
        chunk = list(asked.of(rows))
        make = partial(write_chunk, prompts=chunk, model=model, settings=settings, pace=pace)
        pieces.get_or_make(name, make)
        facts.append(pieces.facts(name))
        refuse_unusable(options.teacher, facts, pace.done)


def run(options: GenerateOptions) -> None:
    """Writes the responses of one model."""
    torch.set_num_threads(options.threads)
    settings = TextJob.model_validate(options.job.settings)
    work = divided.begin(options)
    vocabulary.check_teacher(options.teacher, options.tokens)
    load_on = partial(vocabulary.load_writer, options.teacher, options.tokens)
    model = load_to_read(load_on, "auto", work.ranks, sharded=options.sharded)
    asked = drawn_prompts(read_texts(options.tokens / TRAINING), settings)
    count = len(asked)
    ranges = (range(first, min(first + CHUNK, count)) for first in range(0, count, CHUNK))
    chunks = {f"{number:05d}": rows for number, rows in enumerate(ranges)}
    mine = {name: chunks[name] for name in work.left(list(chunks))}
    with in_company(model, work.ranks):
        answer(options, settings, model, asked, mine, work.pieces)
    if work.puts_together(list(chunks)):
        put_together(options, model, work, list(chunks))


def put_together(
    options: GenerateOptions, model: PreTrainedModel, work: DividedWork, names: Sequence[str]
) -> None:
    """Writes the responses of all chunks to one file, a chunk at a time."""
    chunks = [work.pieces.facts(name) for name in names]
    files = [work.pieces.folder / name / FILE for name in names]
    texts = sum(chunk["texts"] for chunk in chunks)
    refuse_unusable(options.teacher, chunks, texts)
    with work.create_whole() as (folder, facts):
        schemas.write_batches(folder / FILE, _in_final_tokens(options, files), schemas.TOKENS)
        costs.write(folder, cost_of_pieces(chunks, model))
        facts["tokens"] = sum(chunk["tokens"] for chunk in chunks)
        facts["eos_share"] = sum(chunk["ended"] for chunk in chunks) / texts
        read_in = options.student_tokens or options.tokens
        facts |= asdict(vocabulary.conventions_of_texts(read_in))


def _in_final_tokens(options: GenerateOptions, files: Sequence[Path]) -> Iterator[Columns]:
    """The columns of each file, in the students' tokens where these are others."""
    tables = (schemas.read(file, schemas.TOKENS) for file in files)
    if options.student_tokens is None:
        yield from tables
        return
    retokenizer, kept, texts = Retokenizer.of(options.tokens, options.student_tokens), 0, 0
    for table in tables:
        columns = retokenizer.in_student_tokens(table.to_pydict())
        kept, texts = kept + len(columns["example_id"]), texts + table.num_rows
        yield columns
    log(f"{kept} of {texts} texts in the students' tokens")
