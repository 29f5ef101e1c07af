"""How many texts an experiment has, as far as can be told without reading them."""

from functools import cache

from pipeline.data.foreign_files import matching
from pipeline.data.splits import held_out_counts
from pipeline.settings.data import Docstrings, Files, Mixture, Source, named_sources
from workflow.config.data_checks import count_rows
from workflow.grid.artifact import Artifact
from workflow.grid.grid import Grid

DOCSTRINGS_PER_PACKAGE = 1_700
EXAMPLE_BYTES = 500
ASSUMED_EXAMPLES = 50_000  # of a data set on the hub: Alpaca's number


@cache
def examples_of(grid: Grid) -> dict[str, int]:
    """Examples of each split, as far as can be told without reading the data."""
    data = grid.experiment.data
    sources = [_of_source(source) for source in named_sources(data.examples).values()]
    counts = {split: sum(each[split] for each in sources) for split in sources[0]}
    if isinstance(data.examples, Mixture) and (weights := data.examples.weights):
        named = zip(data.examples.sources, sources, strict=True)
        scarcest = min(each["train"] / weights[name] for name, each in named)
        counts["train"] = int(scarcest * sum(weights.values()))  # none is repeated
    limits = {"train": data.train_limit, "test": data.test_limit}
    return {name: min(count, limits.get(name) or count) for name, count in counts.items()}


def teacher_texts(grid: Grid, artifact: Artifact) -> int:
    """Responses that a teacher writes to training prompts for an artifact."""
    settings, examples = artifact.settings, examples_of(grid)["train"]
    prompts = min(settings["prompts"] or examples, examples)  # null: all
    return prompts * settings["samples"] // (2 if settings.get("half") else 1)


def _of_source(source: Source) -> dict[str, int]:
    """Examples of each split of one source, before any limit."""
    if isinstance(source, Docstrings):
        whole, others = DOCSTRINGS_PER_PACKAGE * len(source.packages), {}
        shares = {"validation": source.validation_share, "test": source.test_share}
        held_out = {split: round(whole * share) for split, share in shares.items()}
    else:
        whole = _of_files(source.train) if isinstance(source, Files) else ASSUMED_EXAMPLES
        held_out = held_out_counts(source, whole)
        others = {
            split: _of_files(name) if isinstance(source, Files) else whole // 10
            for split, name in (("validation", source.validation), ("test", source.test))
            if isinstance(name, str)
        }
    return {"train": max(1, whole - sum(held_out.values())), **held_out, **others}


def _of_files(files: str) -> int:
    return sum(
        count_rows(path) or max(1, path.stat().st_size // EXAMPLE_BYTES) for path in matching(files)
    )
