"""What is kept of a teacher's distributions."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_serializer, model_validator

from pipeline.methods.ranges import Count
from pipeline.settings.base import Settings
from pipeline.settings.training import Precision

# a count is stored in two bytes
Draws = Annotated[int, Field(ge=1, le=2000)]
Tier = Literal["top_k", "sampled", "hidden"]


class CacheSettings(Settings):
    """The teacher's top K tokens and a bucket for all others, or its last hidden state."""

    tier: Literal["top_k", "hidden"] = "top_k"
    k: Annotated[int, Field(ge=2)] = 64  # of top_k: tokens, the really next one among them
    splits: list[Literal["train", "validation", "test"]] = ["train", "validation", "test"]
    shard_texts: Count = 2000  # texts in a shard: what is held in memory at once, twice

    @model_validator(mode="before")
    @classmethod
    def _no_temperatures(cls, given: object) -> object:
        if isinstance(given, Mapping) and "temperatures" in given:
            raise ValueError(
                "the key temperatures is gone: no loss asks a cache for another temperature than "
                "1; take it out"
            )
        return given

    @model_validator(mode="after")
    def _keys_are_of_the_tier(self) -> "CacheSettings":
        if self.tier != "top_k" and "k" in self.model_fields_set:
            raise ValueError(f"k is of the tier top_k alone, and the tier is {self.tier}")
        return self

    @model_serializer(mode="wrap")
    def _without_keys_of_another_tier(self, dump: Callable[[Any], dict]) -> dict[str, Any]:
        dumped = dump(self)
        if self.tier != "top_k":
            del dumped["k"]
        return dumped

    @property
    def whole_vocabulary(self) -> bool:
        """Whether what is read from the cache is a distribution over all tokens."""
        return self.tier == "hidden"

    def of_job(self) -> dict[str, object]:
        """What a job is told. What only newer caches have is left out where it has its default.

        So a cache that was made before there were tiers keeps its id.
        """
        return self.model_dump(mode="json", exclude=set() if self.tier == "hidden" else {"tier"})


class CacheJob(CacheSettings):
    """What a job that writes a cache may know."""

    draws: Draws | None = None  # tokens drawn with replacement in place of the tier; null: none
    seed: int = 0  # of the draws
    precision: Precision = "auto"  # that the teacher reads in; auto: bfloat16 on a GPU

    @property
    def kept(self) -> Tier:
        """The tier that is written."""
        return "sampled" if self.draws is not None else self.tier
