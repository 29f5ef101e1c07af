"""Checks of rows that learn from several teachers."""

from collections.abc import Iterator, Mapping

from pipeline.methods.method import Method
from pipeline.settings.data import Mixture
from pipeline.settings.experiment import Experiment
from pipeline.settings.teacher import Combination


def faults(experiment: Experiment, methods: Mapping[str, Method]) -> Iterator[str]:
    """Everything that is wrong with the teachers of rows, a line each."""
    for row, choice in experiment.methods.items():
        if choice and choice.teachers and row in methods:
            key = f"methods.{row}.teachers"
            yield from _teacher_faults(experiment, key, choice.teachers)
            yield from _method_faults(key, choice.teachers, methods[row])
            yield from _source_faults(experiment, key, choice.teachers)


def _teacher_faults(experiment: Experiment, key: str, several: Combination) -> Iterator[str]:
    for name in several.names:
        if name not in experiment.teachers:
            defined = ", ".join(experiment.teachers)
            yield f"{key}: {name!r} is not defined; there are {defined}"
        elif name not in experiment.local_teachers:
            yield f"{key}: {name} is behind an endpoint, which gives text alone; leave it out"
        elif experiment.teachers[name].tokenizer is not None:
            yield f"{key}: {name} has a vocabulary of its own; all of them need the students'"


def _method_faults(key: str, several: Combination, method: Method) -> Iterator[str]:
    if method.teacher != "cache" or method.text != "gold":
        yield (
            f"{key}: they are combined from their caches on gold text, and this row's teacher is "
            f"{method.teacher}, its text {method.text}; allowed: `teacher: cache` with `text: gold`"
        )
    if method.features:
        yield f"{key}: features {method.features} compare with the states of one teacher"
    if method.cached_draws and several.combine != "weighted":
        yield (
            f"{key}.combine = {several.combine!r}: draws of a teacher don't say how sure it is; "
            "allowed: 'weighted'"
        )


def _source_faults(experiment: Experiment, key: str, several: Combination) -> Iterator[str]:
    examples = experiment.data.examples
    if several.combine != "by_source" or not isinstance(examples, Mixture):
        return
    for name in examples.sources:
        if not any(source.partition("/")[0] == name for source in several.sources):
            yield f"{key}.sources: none for {name}, a source of data.examples"
    for source in several.sources:
        if source.partition("/")[0] not in examples.sources:
            known = ", ".join(examples.sources)
            yield f"{key}.sources.{source}: no source of data.examples; there are {known}"
