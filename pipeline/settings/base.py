"""The base of all settings: frozen, refusing unknown and renamed keys."""

from collections.abc import Mapping
from typing import ClassVar

from pydantic import BaseModel, ConfigDict, model_validator
from pydantic_core import PydanticCustomError

RENAMED = "renamed_keys"  # the type of pydantic's error


class Settings(BaseModel):
    """Base of every block of the configuration."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    renamed_keys: ClassVar[dict[str, str]] = {}  # former name of a key -> its name

    @model_validator(mode="before")
    @classmethod
    def _refuse_renamed_keys(cls, block: object) -> object:
        keys = set(block) if isinstance(block, Mapping) else set()
        if former := {old: new for old, new in cls.renamed_keys.items() if old in keys}:
            pairs = ", ".join(f"{old} is now called {new}" for old, new in former.items())
            raise PydanticCustomError(RENAMED, "{pairs}", {"pairs": pairs, "renamed": former})
        return block
