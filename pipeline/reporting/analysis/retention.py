"""What training changed on tasks that are not of the experiment's own data: gained or forgotten.

Each method's students minus the model that they were before any training, paired over items, and
over seeds where each seed has weights of its own. A model that is the same for every seed is one
checkpoint: all students are compared with it.
"""

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

import numpy as np

from pipeline.artifacts.schemas import SPLITS
from pipeline.reporting.analysis.differences import (
    GroupComparison,
    compare_changes,
    families_of_changes,
)
from pipeline.reporting.analysis.findings import Difference
from pipeline.reporting.analysis.metrics import Measure
from pipeline.reporting.analysis.scores import Results, Row
from pipeline.settings.evaluation import TEST_SPLIT_TASKS
from pipeline.statistics.items import Contributions

Block = Mapping[str, Any]  # of a configuration


def own_tasks(config: Block, manifests: Mapping[str, Block]) -> set[str]:
    """The tasks of an experiment that are made of the data which it trains on.

    They are made of its own test split, or of the data set or a file that its examples come from;
    `manifests` are those of all artifacts, by "stage/id".
    """
    sources = set(_origins((config.get("data") or {}).get("examples") or {}))
    paths = [path for path in manifests if path.startswith("tasks/")]
    jobs = [manifests[path]["settings"]["task"] for path in paths]
    origins = {job["task"]: _origins_of_task(job) for job in jobs}
    own = {task for task, names in origins.items() if not names or names & sources}
    return {*TEST_SPLIT_TASKS, *own}


def _origins(examples: Block) -> Iterator[str]:
    """The data sets of the hub and the files that examples are read from."""
    for source in (examples.get("sources") or {"": examples}).values():
        keys = ("name",) if source.get("source") == "hub" else SPLITS
        yield from (source[key] for key in keys if isinstance(source.get(key), str))


def _origins_of_task(job: Block) -> set[str]:
    """The data set or the files of a task; nothing for one of the experiment's own test split."""
    source: Block = job["source"] or {}
    if files := source.get("files"):
        return {*chain.from_iterable(files.values())} if isinstance(files, dict) else {*files}
    if name := source.get("name") or source.get("hub") or source.get("url"):
        return {name}
    return {f"lm-eval {job['task']}"} if job["kind"] == "lm_eval" else set()


def changes_elsewhere(results: Results, own: set[str]) -> tuple[Difference, ...]:
    """Each method after training minus the model before, on tasks that aren't in `own`.

    The tests of a measure are one family.
    """
    measures = [
        measure
        for measure in results.ranked_measures
        if measure.task not in own and not measure.metric.relative_to_teacher
    ]
    return families_of_changes(results, measures, _compared)


def _compared(results: Results, measure: Measure) -> Iterator[GroupComparison]:
    for pair in results.pairs:
        untrained = (row for row in results.references[pair] if row.kind == "untrained")
        before = next(iter(results.seeds_by_row(untrained, measure)), None)
        if before is None:
            continue
        runs = results.runs[before, measure]
        by_seeds: dict[tuple[int, ...], list[Row]] = {}
        for row, seeds in results.seeds_by_row(results.methods[pair], measure).items():
            common = seeds if len(runs) == 1 else seeds & runs.keys()
            if common:
                by_seeds.setdefault(tuple(sorted(common)), []).append(row)
        for seeds, rows in by_seeds.items():
            after = results.contributions(rows, seeds, measure)
            of_before = results.contributions(
                [before], seeds if len(runs) > 1 else list(runs), measure
            )
            if after.influences.shape[-1] > 1:
                pairs = [(before, row) for row in rows]
                yield compare_changes(pairs, seeds, _repeated(of_before, after), after)


def _repeated(single: Contributions, like: Contributions) -> Contributions:
    """The contributions of one row for each row, and of one checkpoint for each seed."""
    return Contributions(
        np.broadcast_to(single.scores, like.scores.shape),
        np.broadcast_to(single.influences, like.influences.shape),
        np.broadcast_to(single.weight_shares, like.weight_shares.shape),
    )
