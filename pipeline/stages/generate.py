"""Writes responses chunk by chunk, each finished on disk before the next."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from transformers import PreTrainedModel

from pipeline.artifacts import artifact, schemas
from pipeline.artifacts.resumable_parts import ResumableParts
from pipeline.data.batch import Text, read_texts
from pipeline.generation import generate, sampler
from pipeline.models import positions, vocabulary
from pipeline.models.flops import count
from pipeline.models.language_model import default_device, load, parameter_count
from pipeline.runtime import costs
from pipeline.runtime.costs import GRAPH_CAPTURES, Cost, JobCost
from pipeline.runtime.meter import Stopwatch, device_name
from pipeline.runtime.progress import ProgressLog, log
from pipeline.settings.generation import TextJob
from pipeline.stages import command_line
from pipeline.stages.options import GenerateOptions
from pipeline.tokenizer_alignment.retokenize import in_student_tokens

CHUNK = 500  # responses in a part: a killed job loses no more
FILE = "train.parquet"


def prompts(texts: Sequence[Text], settings: TextJob) -> list[Text]:
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
    chosen_texts = [texts[index] for index in sorted(chosen)]
    if settings.samples == 1:
        return chosen_texts
    return [
        replace(text, example_id=f"{text.example_id}#{sample}")
        for text in chosen_texts
        for sample in range(settings.samples)
    ]


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
        "tokens": sum(len(text.response_ids) for text in written),
        "ended": sum(text.ended for text in written),
        "without_number": sum(not all(map(math.isfinite, text.log_probs)) for text in written),
        "cost": asdict(watch.cost() + counter.as_teacher()),
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


def answers(
    options: GenerateOptions, settings: TextJob, model: PreTrainedModel, pieces: ResumableParts
) -> tuple[list[Path], list[dict[str, Any]]]:
    """The files of all chunks, and their facts: tokens, ended responses and cost."""
    texts = prompts(read_texts(options.tokens / "train.parquet"), settings)
    unanswered = [replace(text, response_ids=[]) for text in texts]
    key = "teacher_text.max_new_tokens"
    positions.check(options.teacher, model.config, unanswered, settings.max_new_tokens, key)
    files, facts = [], []
    pace = ProgressLog("texts", len(texts), "texts")
    for first in range(0, len(texts), CHUNK):
        part, name = texts[first : first + CHUNK], f"{first // CHUNK:05d}"
        make = partial(write_chunk, prompts=part, model=model, settings=settings, pace=pace)
        files.append(pieces.get_or_make(name, make) / FILE)
        pace.skip(first + len(part) - pace.done)  # none where this run has written them
        facts.append(pieces.facts(name))
        refuse_unusable(options.teacher, facts, first + len(part))
    return files, facts


def run(options: GenerateOptions) -> None:
    """Writes the responses of one model."""
    torch.set_num_threads(options.threads)
    settings = TextJob.model_validate(options.job.settings)
    inputs = command_line.begin(options)
    vocabulary.check_teacher(options.teacher, options.tokens)
    model = vocabulary.adopt_end_tokens(load(options.teacher, default_device()), options.tokens)
    files, facts = answers(
        options, settings, model, ResumableParts(options.state, options.job, inputs)
    )

    with artifact.atomic_write(options.out) as folder:
        folder.mkdir()
        whole = pa.concat_tables([schemas.read(path, schemas.TOKENS) for path in files])
        columns = whole.to_pydict()
        if options.student_tokens is not None:
            columns = in_student_tokens(columns, options.tokens, options.student_tokens)
            log(f"{len(columns['example_id'])} of {whole.num_rows} texts in the students' tokens")
        schemas.write(folder / FILE, columns, schemas.TOKENS)
        cost = sum((Cost(**chunk["cost"]) for chunk in facts), Cost())
        device, captures = device_name(model.device), replace(GRAPH_CAPTURES)
        job_cost = JobCost(cost, device, parameter_count(model), captures=captures)
        costs.write(folder, job_cost)
        artifact.write_manifest(
            folder,
            options.job,
            inputs,
            tokens=sum(chunk["tokens"] for chunk in facts),
            eos_share=sum(chunk["ended"] for chunk in facts) / whole.num_rows,
            **asdict(vocabulary.conventions_of_texts(options.student_tokens or options.tokens)),
        )
    ResumableParts(options.state, options.job, inputs).discard()
