"""A teacher that was written to disk."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.artifacts import artifact
from pipeline.data.batch import Batch
from pipeline.distributions.log_probs import TeacherDistributions, TeacherSignal
from pipeline.models.logits import LogitScaling
from pipeline.runtime.costs import ModelCounter
from pipeline.settings.memory import CACHE_READER_BYTES
from pipeline.teacher_cache import lm_head
from pipeline.teacher_cache.metadata import HEAD, Facts, read_facts
from pipeline.teacher_cache.store import Store
from pipeline.teacher_cache.tiers import Hidden, Sampled, Tier, TopK


@dataclass(frozen=True)
class CachedTeacher:
    """A teacher whose distributions are looked up by example."""

    store: Store
    tier: Tier

    def signal(self, batch: Batch) -> TeacherSignal:
        """The stored distributions, and the likeliest tokens.

        Raises: ValueError for a text that was not cached.
        """
        rows = self.store.rows(batch.texts)
        signal = self.tier.distributions(rows, batch).chunk(slice(None))
        return replace(signal, likeliest=self.tier.likeliest(rows, signal.support))

    def distributions(self, batch: Batch) -> TeacherDistributions:
        """The distributions, looked up at once, from any thread; what is wide is made by parts."""
        return self.tier.distributions(self.store.rows(batch.texts), batch)

    def count(self) -> ModelCounter:
        """What of the teacher is run while signals are read."""
        return self.tier.work


def open_cache(
    folder: Path, splits: Sequence[str], memory_bytes: int = CACHE_READER_BYTES
) -> CachedTeacher:
    """The cache in `folder`, of these splits. Raises ValueError if it is damaged.

    No more than `memory_bytes` of it are decoded at a time.
    """
    return opened(folder, read_facts(folder), splits, memory_bytes)


def opened(
    folder: Path, facts: Facts, splits: Sequence[str], memory_bytes: int = CACHE_READER_BYTES
) -> CachedTeacher:
    """As `open_cache`, where the manifest is yet to be written."""
    files = [path for split in splits for path in _shards(folder, facts.shards, split)]
    tier = _tier(folder, facts)
    return CachedTeacher(Store(folder, files, tier, memory_bytes), tier)


def _tier(folder: Path, facts: Facts) -> Tier:
    match facts.tier:
        case "top_k":
            return TopK(facts)
        case "sampled":
            return Sampled(facts)
        case "hidden":
            scaling = LogitScaling(facts.hidden_scale, facts.logit_scale, facts.softcap)
            return Hidden(facts, lm_head.load(folder / HEAD, scaling))


def _shards(folder: Path, names: Iterable[str], split: str) -> list[Path]:
    found = [folder / name for name in names if name.startswith(f"{split}-")]
    missing = [path for path in found if not path.exists()]
    if not found or missing:
        raise ValueError(f"{folder} lacks {missing or split}; delete it and run again")
    return found


def check_cache(folder: Path, texts: Path, vocabulary: int) -> None:
    """Raises ValueError unless the cache was made from these texts in this vocabulary.

    Its teacher is part of its id, so a cache of another teacher stands under a name not its own.
    """
    manifest = artifact.read_json(folder / artifact.MANIFEST)
    if manifest["id"] != folder.name:
        raise ValueError(
            f"{folder} holds {manifest['id']}, the signal of {manifest['inputs']['teacher']}; "
            "delete it and run again"
        )
    made_from, wanted = manifest["inputs"]["tokens"], artifact.read_id(texts)
    if made_from != wanted:
        raise ValueError(
            f"{folder} holds the teacher's signal for {made_from}, not for {wanted} ({texts}); "
            "delete it and run again"
        )
    if manifest["vocabulary"] != vocabulary:
        raise ValueError(
            f"{folder} is over {manifest['vocabulary']} tokens, the student over {vocabulary}: "
            "teacher and student must share a vocabulary"
        )
