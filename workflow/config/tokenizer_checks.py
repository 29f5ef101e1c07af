"""Checks of teachers that have another vocabulary than the students."""

from collections.abc import Iterator, Mapping

from pipeline.methods.catalogue import METHODS
from pipeline.methods.method import Method
from pipeline.settings.experiment import Experiment
from pipeline.settings.models import LayersOf, Shape, Tokenizer


def faults(experiment: Experiment, methods: Mapping[str, Method]) -> Iterator[str]:
    """Everything that such a teacher can't have, or can't be asked."""
    own = [name for name, teacher in experiment.teachers.items() if teacher.tokenizer is not None]
    for name in (name for name in own if name not in experiment.local_teachers):
        yield f"teachers.{name}.tokenizer: a model behind an endpoint gives text; leave it out"
    for name in (name for name in own if name in experiment.local_teachers):
        yield from _tokenizer_faults(experiment, name)
        yield from _method_faults(experiment, name, methods)
    if own and "exposure" in experiment.evaluation.tasks:
        yield (
            f"evaluation.tasks: exposure: teacher {own[0]} has a vocabulary of its own, and is "
            "asked about the student's tokens; leave the task out, or `tokenizer` of the teacher"
        )


def _tokenizer_faults(experiment: Experiment, name: str) -> Iterator[str]:
    teacher = experiment.teachers[name]
    key, model = f"teachers.{name}.tokenizer", experiment.models[teacher.model]
    base = experiment.models[model.model] if isinstance(model, LayersOf) else model
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


def _method_faults(
    experiment: Experiment, teacher: str, methods: Mapping[str, Method]
) -> Iterator[str]:
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
