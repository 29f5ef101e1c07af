"""Gathers, splits and describes the examples of a source, or of a mixture."""

import math
from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from pipeline.artifacts import artifact, schemas
from pipeline.data import docstrings, mixture, sources
from pipeline.data.examples import (
    Example,
    Identified,
    RawDataset,
    assign_ids,
    column_batches,
    prompt,
)
from pipeline.data.splits import Overlap, first_shuffled, overlap
from pipeline.runtime.progress import log, some_of
from pipeline.settings.data import (
    AnyTemplate,
    ChatTemplate,
    DataSettings,
    Docstrings,
    Files,
    Hub,
    Mixture,
    Source,
)
from pipeline.stages import command_line
from pipeline.stages.options import PrepareDataOptions

SHOWN = 10  # examples in the card


def gather(settings: DataSettings) -> RawDataset:
    """The examples of all sources in shuffled splits, each cut to its limit."""
    examples = settings.examples
    if isinstance(examples, Mixture):
        parts = [mixture_part(name, source, settings) for name, source in examples.sources.items()]
        dataset = mixture.mix(parts, examples.weights, settings.seed, settings.train_limit)
    else:
        dataset = gather_source(examples, settings)
    limits = {"train": settings.train_limit, "test": settings.test_limit}
    too_high = [
        f"{split}_limit is {limit}, but there are only {len(dataset.splits[split])} examples"
        for split, limit in limits.items()
        if limit is not None and limit > len(dataset.splits[split])
    ]
    # a slice up to None is everything
    splits = {split: examples[: limits.get(split)] for split, examples in dataset.splits.items()}
    return replace(dataset, splits=splits, warnings=[*dataset.warnings, *too_high])


def gather_source(source: Source, settings: DataSettings) -> RawDataset:
    """The examples of one source in shuffled splits."""
    are_chats = isinstance(settings.template, ChatTemplate)
    match source:
        case Docstrings():
            return docstrings.gather(source, settings.seed)
        case Files():
            return sources.gather_files(source, settings.seed, are_chats=are_chats)
        case Hub():
            return sources.gather_hub(source, settings.seed, are_chats=are_chats)


def mixture_part(name: str, source: Source, settings: DataSettings) -> mixture.Part:
    """A source of a mixture. Raises ValueError as the source does, with the path of its key."""
    try:
        dataset = gather_source(source, settings)
    except ValueError as error:
        place = f"{mixture.ALL}.{name}"
        raise ValueError(str(error).replace("data.examples", place)) from error
    has_topics = isinstance(source, Docstrings) or source.columns.source is not None
    return mixture.Part(name, dataset, has_topics)


def shared_with_train(splits: Mapping[str, Identified]) -> dict[str, Overlap]:
    """The overlap of each held-out split with the training split."""
    return {
        split: overlap(splits[split].examples, splits["train"].examples)
        for split in ("validation", "test")
    }


def card(
    gathered: RawDataset,
    splits: Mapping[str, Identified],
    shared: Mapping[str, Overlap],
    settings: DataSettings,
) -> dict[str, object]:
    """The data card: origin, sizes, lengths, overlap with training, and some examples."""
    shown = first_shuffled(splits["train"], lambda row: row[0], f"{settings.seed} card", SHOWN)
    return {
        **gathered.facts,
        "source": settings.examples.source,
        "splits": {split: describe(rows, settings.template) for split, rows in splits.items()},
        "plain_texts": len(gathered.plain),
        "shared_with_train": {
            split: {"questions": len(common.questions), "instructions": common.instructions}
            for split, common in shared.items()
        },
        "examples": [show(*row, settings.template) for row in shown],
    }


def show(example_id: str, example: Example, template: AnyTemplate) -> dict[str, object]:
    """An example as a person reads it: the exact prompt of the model, and the responses."""
    return {
        "example_id": example_id,
        "prompt": prompt(example, template),
        "responses": list(example.responses),
    }


def warn_of_shared(splits: Mapping[str, Identified], shared: Mapping[str, Overlap]) -> list[str]:
    """A warning for each split that shares questions with training, naming some of the ids."""
    warnings = []
    for split, common in shared.items():
        ids = [splits[split].ids[index] for index in common.questions]
        if ids:
            warnings.append(
                f"{len(ids)} of {len(splits[split])} {split} questions are asked in train too: "
                f"{some_of(ids)} (regardless of the input, {common.instructions} of the {split} "
                "instructions are)"
            )
    return warnings


def describe(rows: Identified, template: AnyTemplate) -> dict[str, object]:
    """Counts and lengths of one split."""
    sources: Counter[str] = Counter()
    prompts, responses = array("q"), array("q")
    for example in rows.examples:
        sources[example.source] += 1
        prompts.append(len(prompt(example, template)))
        responses.append(len(example.responses[0]))
    return {
        "examples": len(rows),
        "by_source": dict(sources),
        "prompt_characters": lengths(prompts),
        "response_characters": lengths(responses),
    }


def lengths(characters: Sequence[int]) -> dict[str, float] | None:
    """Characters of texts: mean, median, 95th percentile and maximum; None without texts."""
    if not characters:
        return None
    counts = sorted(characters)
    return {
        "mean": round(sum(counts) / len(counts), 1),
        **{
            name: counts[math.ceil(share * len(counts)) - 1]
            for name, share in (("median", 0.5), ("p95", 0.95), ("longest", 1.0))
        },
    }


def run(options: PrepareDataOptions) -> None:
    """Reads the job, gathers the examples, and writes them whole or not at all."""
    settings = DataSettings.model_validate(options.job.settings)
    inputs = command_line.begin(options)
    gathered = gather(settings)
    splits = assign_ids(gathered.splits, settings.template)
    shared = shared_with_train(splits)
    warnings = [*gathered.warnings, *warn_of_shared(splits, shared)]
    description = card(gathered, splits, shared, settings) | {"warnings": warnings}
    with artifact.create(options.out, options.job, inputs) as (folder, _):
        for split, rows in splits.items():
            path = folder / f"{split}.parquet"
            batches = column_batches(rows, settings.template)
            schemas.write_batches(path, batches, schemas.EXAMPLES)
        if gathered.plain:
            schemas.write(folder / "plain.parquet", {"text": gathered.plain}, schemas.PLAIN)
        artifact.write_json(folder / "card.json", description)

    counts = ", ".join(f"{len(splits[split])} {split}" for split in schemas.SPLITS)
    log(f"data: {counts}, {len(gathered.plain)} plain texts")
    for warning in warnings:
        log(f"warning: {warning}")
