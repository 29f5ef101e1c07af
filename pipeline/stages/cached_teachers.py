"""The teachers that an evaluation reads from caches."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pipeline.artifacts import artifact
from pipeline.runtime.costs import Cost, ModelCounter
from pipeline.settings.training import Precision
from pipeline.teacher_cache.format import read_metadata
from pipeline.teacher_cache.reader import CachedTeacher, check_cache, open_cache
from pipeline.tokenizer_alignment.alignment import Alignment
from pipeline.tokenizer_alignment.teacher import AlignedTeacher


@dataclass(frozen=True)
class CachedTeachers:
    """Teachers whose signals are on disk, by their names."""

    own: Mapping[str, CachedTeacher]
    aligned: Mapping[str, AlignedTeacher]
    is_foreign: bool  # whether the checkpoint is a teacher with a vocabulary of its own

    @cached_property
    def _counters(self) -> list[ModelCounter]:
        return [teacher.count() for teacher in (*self.own.values(), *self.aligned.values())]

    @property
    def cost(self) -> Cost:
        """What has been run of them so far."""
        return sum((counter.as_teacher() for counter in self._counters), Cost())


def open_teachers(
    caches: Sequence[Path], tokens: str, vocabulary: int, alignments: Sequence[Alignment]
) -> CachedTeachers:
    """The teachers of some caches: in the texts' own tokens, and of another vocabulary.

    Raises: ValueError for a cache of other texts or another vocabulary.
    """
    own: dict[str, CachedTeacher] = {}
    aligned: dict[str, AlignedTeacher] = {}
    by_tokens = {each.teacher_tokens: each for each in alignments}
    is_foreign = by_tokens.pop(tokens, None) is not None  # a teacher with its own vocabulary
    for cache in caches:
        made_from = artifact.read_json(cache / artifact.MANIFEST)["inputs"]
        name, opened = made_from["teacher"], open_cache(cache, ["test"])
        if alignment := by_tokens.get(made_from["tokens"]):
            check_cache(cache, alignment.teacher_tokens)
            aligned[name] = AlignedTeacher(opened, alignment)
        else:
            check_cache(cache, tokens, vocabulary)
            own[name] = opened
    return CachedTeachers(own, aligned, is_foreign)


def precision_of(caches: Sequence[Path]) -> Precision:
    """The precision that the teachers of some caches have read in, if it is the same for all."""
    precisions: set[Precision] = {read_metadata(path).precision for path in caches}
    return precisions.pop() if len(precisions) == 1 else "auto"
