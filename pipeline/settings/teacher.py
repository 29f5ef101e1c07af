"""What is kept of a teacher's distributions."""

from typing import Annotated, Literal

from pydantic import Field

from pipeline.ranges import Count
from pipeline.settings.base import Settings

# half precision tells the shares of so many draws apart
Draws = Annotated[int, Field(ge=1, le=2000)]


class CacheSettings(Settings):
    """The teacher's top K tokens, the really next one, and a bucket for all others."""

    k: Annotated[int, Field(ge=2)] = 64
    splits: list[Literal["train", "validation", "test"]] = ["train", "validation", "test"]
    shard_texts: Count = 2000  # texts in a shard: what is held in memory at once


class CacheJob(CacheSettings):
    """What a job that writes a cache may know."""

    draws: Draws | None = None  # tokens drawn with replacement in place of the top K; null: top K
    seed: int = 0  # of the draws
