"""Checks of teachers: behind endpoints, of another vocabulary, and several for a row."""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from pipeline.data import docstrings
from pipeline.methods.catalogue import METHODS
from pipeline.methods.method import Method
from pipeline.settings.data import Docstrings, Files, Hub, Mixture, Source
from pipeline.settings.experiment import Experiment
from pipeline.settings.models import Shape, Tokenizer
from pipeline.settings.teacher import Combination
from workflow.config.saved_models import base_of

Methods = Mapping[str, Method]  # by their rows


def endpoint_faults(experiment: Experiment, methods: Methods) -> Iterator[str]:
    """What models behind endpoints can't give, and two that look like one."""
    yield from _address_faults(experiment)
    served = experiment.teachers.keys() - experiment.local_teachers.keys()
    on_text = [name for name, method in methods.items() if not method.reads_distributions]
    for index, block in enumerate(experiment.blocks):
        asked = [name for name in block.teachers if name in served]
        for name in block.methods:
            if asked and name in methods and name not in on_text:
                yield (
                    f"grid.{index}: method {name} reads distributions of the teacher, and "
                    f"{asked[0]} is behind an endpoint, which gives text alone; allowed with it: "
                    f"{', '.join(on_text) or 'methods on text, such as seqkd'}"
                )
    if served and not experiment.local_teachers and "exposure" in experiment.evaluation.tasks:
        yield (
            "evaluation.tasks: exposure reads distributions of the teacher, and all teachers are "
            "behind endpoints; leave it out"
        )


def _address_faults(experiment: Experiment) -> Iterator[str]:
    """Models of one name at two addresses, which would share their results."""
    first: dict[str, tuple[str, str]] = {}
    for key, (model, endpoint) in experiment.endpoints.items():
        other, url = first.setdefault(model, (key, endpoint.url))
        if url != endpoint.url:
            yield (
                f"{key}.model = {model!r}: {other} has a model of this name at another address; "
                "let the servers give different models different names"
            )


def tokenizer_faults(experiment: Experiment, methods: Methods) -> Iterator[str]:
    """What a teacher of another vocabulary than the students' can't have, or can't be asked."""
    own = [name for name, teacher in experiment.teachers.items() if teacher.tokenizer is not None]
    for name in own:
        if name in experiment.local_teachers:
            yield from _own_tokenizer_faults(experiment, name)
            yield from _vocabulary_faults(experiment, name, methods)
        else:
            yield f"teachers.{name}.tokenizer: a model behind an endpoint gives text; leave it out"
    if own and "exposure" in experiment.evaluation.tasks:
        yield (
            f"evaluation.tasks: exposure: teacher {own[0]} has a vocabulary of its own, and is "
            "asked about the student's tokens; leave the task out, or `tokenizer` of the teacher"
        )


def _own_tokenizer_faults(experiment: Experiment, name: str) -> Iterator[str]:
    teacher = experiment.teachers[name]
    key, base = f"teachers.{name}.tokenizer", base_of(experiment, teacher.model)
    if isinstance(base, Shape) and teacher.tokenizer == "own":
        yield (
            f"{key} = 'own': model {teacher.model} is a shape, which has none; allowed: settings "
            "of one to train, such as {kind: unigram, vocabulary_size: 2048}"
        )
    if not isinstance(base, Shape) and isinstance(teacher.tokenizer, Tokenizer):
        yield f"{key}: model {teacher.model} comes with a tokenizer; allowed: own"
    cache = experiment.teacher_cache
    if isinstance(teacher.tokenizer, Tokenizer) and cache.tier == "top_k":
        size = teacher.tokenizer.vocabulary_size
        if cache.k > size:
            yield f"teacher_cache.k = {cache.k}: {key}.vocabulary_size is only {size}"


def _vocabulary_faults(experiment: Experiment, teacher: str, methods: Methods) -> Iterator[str]:
    """Rows that stand under the teacher in the grid, and can't."""
    rows = {
        row for block in experiment.blocks if teacher in block.teachers for row in block.methods
    }
    able = [name for name, method in METHODS.items() if method.vocabulary_fault is None]
    for row in sorted(rows & set(methods)):
        if fault := methods[row].vocabulary_fault:
            yield (
                f"methods.{row}: teacher {teacher} has a vocabulary of its own, and {fault}; give "
                f"the row a block of `grid` without this teacher; allowed: {', '.join(able)}"
            )


def combination_faults(experiment: Experiment, methods: Methods) -> Iterator[str]:
    """What is wrong with rows that learn from several teachers."""
    for row, choice in experiment.rows.items():
        if choice.teachers and row in methods:
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
    if several.combine != "by_source":
        return
    examples = experiment.data.examples
    parts = {source.partition("/")[0] for source in several.sources}
    for name in _source_names(examples):
        whole, slash, topic = name.partition("/")
        is_named = {name, whole} & several.sources.keys() or (
            slash and not topic and whole in parts
        )
        if not is_named:
            source = name.rstrip("/")
            yield f"{key}.sources: none for {source}, a source of data.examples; name its teacher"
    known = list(examples.sources) if isinstance(examples, Mixture) else None
    for source in several.sources:
        if known is not None and source.partition("/")[0] not in known:
            there = ", ".join(known)
            yield f"{key}.sources.{source}: no source of data.examples; there are {there}"


def _source_names(examples: Source | Mixture) -> list[str]:
    """What examples name as their source, as far as it is known; `part/` for topics that aren't."""
    match examples:
        case Mixture():
            return [name for part in examples.sources.items() for name in _names_in_mixture(*part)]
        case Docstrings():
            with contextlib.suppress(ValueError):  # `data_checks` reports it
                return list(docstrings.package_versions(examples.packages))
        case Files() if examples.columns.source is None:
            return [Path(examples.train).stem]
        case Hub() if examples.columns.source is None:
            return [examples.name]
    return []


def _names_in_mixture(name: str, part: Source) -> list[str]:
    if isinstance(part, Docstrings):
        return [f"{name}/{topic}" for topic in _source_names(part)]
    return [name if part.columns.source is None else f"{name}/"]
