"""What a larger teacher changed, and what training changed on tasks of other data.

Paired over items, and over seeds where each seed has weights of its own.
"""

from collections.abc import Iterator, Mapping
from itertools import chain, combinations
from typing import Any

from pipeline.artifacts.schemas import SPLITS
from pipeline.reporting.analysis.differences import RowPair, changes
from pipeline.reporting.analysis.findings import Difference
from pipeline.reporting.analysis.metrics import Measure
from pipeline.reporting.analysis.scores import Pair, Results
from pipeline.settings.evaluation import TEST_SPLIT_TASKS

Block = Mapping[str, Any]  # of a configuration


def teacher_size_effects(results: Results) -> tuple[Difference, ...]:
    """Each method under the larger minus under the smaller of every two teachers, on common seeds.

    Measures that already compare with the teacher are left out, and so are methods without one.
    The tests of a measure are one family.
    """
    teachers = list(_teacher_pairs(results))
    return tuple(
        effect
        for measure in results.ranked_measures
        if not measure.metric.relative_to_teacher
        for effect in changes(
            results, measure, [_under_both(results, measure, *both) for both in teachers]
        )
    )


def _teacher_pairs(results: Results) -> Iterator[tuple[Pair, Pair]]:
    """A smaller and a larger teacher of the same student."""
    sizes = results.sizes
    known = [pair for pair in results.pairs if pair.teacher in sizes]
    for smaller, larger in combinations(sorted(known, key=lambda pair: sizes[pair.teacher]), 2):
        different = sizes[smaller.teacher] < sizes[larger.teacher]
        if smaller.student == larger.student and different:
            yield smaller, larger


def _under_both(
    results: Results, measure: Measure, smaller: Pair, larger: Pair
) -> Iterator[RowPair]:
    """Each method under both; a student without a teacher is the same run under both."""
    larger_rows = {row.method: row for row in results.methods[larger]}
    for row in results.methods[smaller]:
        if other := larger_rows.get(row.method):
            seeds = results.seeds((row, other), [measure])
            runs, others = (results.runs.get((side, measure), {}) for side in (row, other))
            if seeds and runs[seeds[0]] != others[seeds[0]]:
                yield row, other


def changes_elsewhere(results: Results, own: set[str]) -> tuple[Difference, ...]:
    """Each method after training minus the model before, on tasks that aren't in `own`.

    A model that is the same for every seed is one checkpoint: all students are compared with it.
    The tests of a measure are one family.
    """
    untrained = [
        [(before, row) for row in results.methods[pair]]
        for pair in results.pairs
        for before in results.references[pair]
        if before.kind == "untrained"
    ]
    return tuple(
        change
        for measure in results.ranked_measures
        if measure.task not in own and not measure.metric.relative_to_teacher
        for change in changes(results, measure, untrained)
    )


def trained_on(config: Block, manifests: Mapping[str, Block]) -> set[str]:
    """The tasks of an experiment that are made of the data which it trains on.

    They are made of its own test split, or of the data set or a file that its examples come from;
    `manifests` are those of all artifacts, by "stage/id".
    """
    sources = set(_origins((config.get("data") or {}).get("examples") or {}))
    made = [manifest for path, manifest in manifests.items() if path.startswith("tasks/")]
    origins = {each["settings"]["task"]["task"]: _origins_of_task(each) for each in made}
    own = {task for task, names in origins.items() if not names or names & sources}
    return {*TEST_SPLIT_TASKS, *own}


def _origins(examples: Block) -> Iterator[str]:
    """The data sets of the hub and the files that examples are read from."""
    for source in (examples.get("sources") or {"": examples}).values():
        keys = ("name",) if source.get("source") == "hub" else SPLITS
        yield from (source[key] for key in keys if isinstance(source.get(key), str))


def _origins_of_task(manifest: Block) -> set[str]:
    """The data sets or the files of a task; nothing for one of the experiment's own test split."""
    job = manifest["settings"]["task"]
    source: Block = job["source"] or {}
    if files := source.get("files"):
        return {*chain.from_iterable(files.values())} if isinstance(files, dict) else {*files}
    if name := source.get("name") or source.get("hub") or source.get("url"):
        return {name}
    read = manifest.get("origins", ())  # by the names of data sets; older manifests lack it
    return {f"lm-eval {job['task']}", *read} if job["kind"] == "lm_eval" else set()
