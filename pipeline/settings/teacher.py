"""What is kept of a teacher's distributions."""

from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import Field, model_serializer, model_validator

from pipeline.ranges import Count, Positive
from pipeline.settings.base import Settings

# a count is stored in two bytes
Draws = Annotated[int, Field(ge=1, le=2000)]
Tier = Literal["top_k", "sampled", "hidden"]
OF_TOP_K = ("k", "temperatures")


class CacheSettings(Settings):
    """The teacher's top K tokens and a bucket for all others, or its last hidden state."""

    tier: Literal["top_k", "hidden"] = "top_k"
    k: Annotated[int, Field(ge=2)] = 64  # of top_k: tokens, the really next one among them
    temperatures: list[Positive] = []  # of top_k: at which the normaliser is kept too
    splits: list[Literal["train", "validation", "test"]] = ["train", "validation", "test"]
    shard_texts: Count = 2000  # texts in a shard: what is held in memory at once, twice

    @model_validator(mode="after")
    def _keys_are_of_the_tier(self) -> "CacheSettings":
        given = [key for key in OF_TOP_K if key in self.model_fields_set]
        if self.tier != "top_k" and given:
            raise ValueError(f"{given[0]} is of the tier top_k alone, and the tier is {self.tier}")
        if len(set(self.temperatures)) < len(self.temperatures):
            raise ValueError(f"temperatures = {self.temperatures}: one is listed twice")
        return self

    @model_serializer(mode="wrap")
    def _without_keys_of_another_tier(self, dump: Callable[[Any], dict]) -> dict[str, Any]:
        left_out = () if self.tier == "top_k" else OF_TOP_K
        return {key: value for key, value in dump(self).items() if key not in left_out}

    @property
    def whole_vocabulary(self) -> bool:
        """Whether what is read from the cache is a distribution over all tokens."""
        return self.tier == "hidden"

    def of_job(self) -> dict[str, object]:
        """What a job is told. What only newer caches have is left out where it has its default.

        So a cache that was made before there were tiers keeps its id.
        """
        left_out = set() if self.tier == "hidden" else {"tier"}
        if not self.temperatures:
            left_out.add("temperatures")
        return self.model_dump(mode="json", exclude=left_out)


class CacheJob(CacheSettings):
    """What a job that writes a cache may know."""

    draws: Draws | None = None  # tokens drawn with replacement in place of the tier; null: none
    seed: int = 0  # of the draws

    @property
    def kept(self) -> Tier:
        """The tier that is written."""
        return "sampled" if self.draws is not None else self.tier
