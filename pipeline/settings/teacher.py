"""Settings of the cache of a teacher's distributions."""

from collections.abc import Callable
from typing import Annotated, Literal

from pydantic import Field, model_serializer, model_validator

from pipeline.methods.ranges import LIMIT, Count, Line, Name, Positive
from pipeline.settings.base import Settings
from pipeline.settings.training import Precision

# a count is stored in two bytes
Draws = Annotated[int, Field(ge=1, le=2000)]
Split = Literal["train", "validation", "test"]
TierName = Literal["top_k", "sampled", "hidden"]


class Combination(Settings):
    """Several teachers of one student, and how their cached distributions become one."""

    names: Annotated[list[Name], Field(min_length=2)]  # of teachers
    combine: Literal["weighted", "most_confident", "least_entropy", "by_source"] = "weighted"
    weights: dict[Name, Positive] = {}  # of teachers, relative; one that isn't named has 1
    sources: dict[Line, Name] = {}  # the teacher of each source of the data, for by_source

    @model_validator(mode="before")
    @classmethod
    def _by_names_alone(cls, value: object) -> object:
        return {"names": value} if isinstance(value, list) else value

    @model_validator(mode="after")
    def _keys_fit(self) -> "Combination":
        named = {"names": self.names, "weights": self.weights, "sources": self.sources.values()}
        for key, names in named.items():
            if unknown := [name for name in names if name not in self.names]:
                raise ValueError(f"{key}: {unknown[0]!r} is none of {', '.join(self.names)}")
        if len(set(self.names)) < len(self.names):
            raise ValueError(f"names: {', '.join(self.names)}: one is listed twice")
        if self.weights and self.combine != "weighted":
            raise ValueError(f"weights: they belong to combine: weighted, not {self.combine}")
        if bool(self.sources) != (self.combine == "by_source"):
            raise ValueError("sources and combine: by_source belong together")
        return self


class CacheSettings(Settings):
    """The teacher's top K tokens and a bucket for all others, or its last hidden state."""

    tier: Literal["top_k", "hidden"] = "top_k"
    k: Annotated[int, Field(ge=2, lt=LIMIT)] = (
        64  # of top_k: tokens, the ground-truth one among them
    )
    splits: Annotated[list[Split], Field(min_length=1)] = ["train", "validation", "test"]
    shard_texts: Count = 2000  # texts in a shard: two shards are in memory at a time

    @model_validator(mode="after")
    def _splits_differ(self) -> "CacheSettings":
        if len(set(self.splits)) < len(self.splits):
            raise ValueError(f"splits: {', '.join(self.splits)}: one is listed twice")
        return self

    @model_validator(mode="after")
    def _refuse_keys_of_another_tier(self) -> "CacheSettings":
        if self.tier != "top_k" and "k" in self.model_fields_set:
            raise ValueError(f"k belongs to tier top_k, and the tier is {self.tier}")
        return self

    @model_serializer(mode="wrap")
    def _without_keys_of_another_tier(
        self, dump: Callable[..., dict[str, object]]
    ) -> dict[str, object]:
        dumped = dump(self)
        if self.tier != "top_k":
            dumped.pop("k", None)  # a dump of the keys that were set lacks it already
        return dumped

    @property
    def whole_vocabulary(self) -> bool:
        """Whether the cache gives distributions over all tokens."""
        return self.tier == "hidden"


class CacheJob(CacheSettings):
    """The settings of a job that writes a cache."""

    draws: Draws | None = None  # tokens sampled with replacement instead of the tier; null: none
    seed: int = 0  # of the draws
    precision: Precision = "auto"  # of the forward pass; auto: bfloat16 on a GPU

    @property
    def written_tier(self) -> TierName:
        """The tier that is written."""
        return "sampled" if self.draws is not None else self.tier
