"""Several cached teachers as one: their distributions averaged, or one of them for each token.

Averaging the distributions of an ensemble goes back to G. Hinton, O. Vinyals, J. Dean, 2015,
arXiv:1503.02531. How a teacher is chosen for a token, and what becomes of buckets
(`pipeline.distributions.mixture`), is ours.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from pipeline.artifacts import schemas
from pipeline.data.batch import Batch
from pipeline.distributions.log_probs import Support, TeacherDistributions, TeacherSignal
from pipeline.distributions.mixture import Shares, confidence, mixture, on_union, uncertainty
from pipeline.runtime.costs import ModelCounter
from pipeline.settings.teacher import Combination
from pipeline.teacher_cache.reader import CachedTeacher, check_cache, open_cache


@dataclass(frozen=True)
class CombinedTeacher:
    """Caches of several teachers on the same texts, in the order of the combination's names."""

    teachers: Sequence[CachedTeacher]
    combination: Combination
    sources: Mapping[str, str] = field(default_factory=dict)  # of texts by their id, where asked
    work: ModelCounter = field(default_factory=ModelCounter)  # of all of them

    def signal(self, batch: Batch) -> TeacherSignal:
        """The combined distribution at each response token; it has no ranks."""
        return self.distributions(batch).chunk(slice(None))

    def distributions(self, batch: Batch) -> "CombinedDistributions":
        """The same, combined chunk by chunk."""
        looked_up = [teacher.distributions(batch) for teacher in self.teachers]
        return CombinedDistributions(self, looked_up, batch)

    def count(self) -> ModelCounter:
        """The counter of what is run of the teachers while signals are read."""
        return self.work

    def place_of(self, example: str) -> int:
        """The place of the teacher of a text's source. Raises ValueError where it has none."""
        source, by_source = self.sources[example], self.combination.sources
        name = by_source.get(source) or by_source.get(source.partition("/")[0])
        if name is None:
            raise ValueError(
                f"teachers.sources: none for {source!r}, the source of example {example}; there "
                f"are {', '.join(by_source)}"
            )
        return self.combination.names.index(name)


@dataclass(frozen=True)
class CombinedDistributions:
    """Several teachers on a batch."""

    teacher: CombinedTeacher
    members: Sequence[TeacherDistributions]
    batch: Batch

    @torch.no_grad()
    def chunk(self, rows: slice) -> TeacherSignal:
        """The combined distribution at each of these tokens."""
        signals = [member.chunk(rows) for member in self.members]
        support, log_probs = on_union(signals, self.vocabulary)
        return TeacherSignal(mixture(log_probs, self._shares(rows, support, log_probs)), support)

    @property
    def vocabulary(self) -> int:
        """The number of tokens that all teachers have."""
        return self.teacher.teachers[0].tier.metadata.vocabulary

    def _shares(self, rows: slice, support: Support, log_probs: Sequence[torch.Tensor]) -> Shares:
        """The weight of each teacher at each token."""
        combination, count = self.teacher.combination, len(log_probs)
        match combination.combine:
            case "weighted":
                weights = [combination.weights.get(name, 1.0) for name in combination.names]
                shares = log_probs[0].new_tensor(weights) / sum(weights)
                return shares.expand(len(log_probs[0]), -1)
            case "most_confident":
                scores = torch.stack([confidence(each, support) for each in log_probs], dim=-1)
                chosen = scores.argmax(-1)
            case "least_entropy":
                nats = [uncertainty(each, support, self.vocabulary) for each in log_probs]
                chosen = torch.stack(nats, dim=-1).argmin(-1)
            case "by_source":
                texts = [self.teacher.place_of(text.example_id) for text in self.batch.texts]
                chosen = self.batch.sequence.new_tensor(texts)[self.batch.sequence[rows]]
        return torch.nn.functional.one_hot(chosen, count).to(log_probs[0].dtype)


def open_combined(
    folders: Sequence[Path], combination: Combination, data: Path | None, tokens: str, size: int
) -> CombinedTeacher:
    """The caches in some folders, each named for its teacher, as one teacher on texts of `tokens`.

    Raises: ValueError if one is damaged, of other texts, or missing.
    """
    by_name = {folder.name.rpartition("-")[0]: folder for folder in folders}
    work, teachers = ModelCounter(), []
    for name in combination.names:
        check_cache(by_name[name], tokens, size)
        teacher = open_cache(by_name[name], ["train"])
        teachers.append(replace(teacher, tier=replace(teacher.tier, work=work)))
    sources = {}
    if data is not None:
        table = schemas.read(data / "train.parquet", schemas.EXAMPLES)
        columns = (table[name].to_pylist() for name in ("example_id", "source"))
        sources = dict(zip(*columns, strict=True))
    return CombinedTeacher(teachers, combination, sources, work)
