"""The base of all settings: frozen, refusing unknown and renamed keys, and booleans as numbers."""

from collections.abc import Callable, Mapping
from typing import ClassVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, model_serializer, model_validator
from pydantic_core import PydanticCustomError

RENAMED = "renamed_keys"  # the types of pydantic's errors
BOOLEANS = "booleans_as_numbers"
SECRET = "secret"  # of a value that may hold a key or a password: no error message shows it


class Settings(BaseModel):
    """Base of every block of the configuration."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    renamed_keys: ClassVar[dict[str, str]] = {}  # former name of a key -> its name
    filled_in: ClassVar[tuple[str, ...]] = ()  # keys that the workflow sets, and no user
    # Keys that came later: left out at their defaults, so that the ids of artifacts, which are
    # digests of settings, stay as they were before there were such keys.
    later_keys: ClassVar[tuple[str, ...]] = ()

    @model_validator(mode="before")
    @classmethod
    def _refuse_renamed_keys(cls, block: object) -> object:
        keys = set(block) if isinstance(block, Mapping) else set()
        if former := {old: new for old, new in cls.renamed_keys.items() if old in keys}:
            pairs = ", ".join(f"{old} is now called {new}" for old, new in former.items())
            raise PydanticCustomError(RENAMED, "{pairs}", {"pairs": pairs, "renamed": former})
        return block

    @model_serializer(mode="wrap")
    def _without_later_defaults(
        self, dump: Callable[[object], dict[str, object]]
    ) -> dict[str, object]:
        fields = type(self).model_fields
        at_default = {
            key for key in self.later_keys if getattr(self, key) == fields[key].get_default()
        }
        return {key: value for key, value in dump(self).items() if key not in at_default}

    @model_validator(mode="wrap")
    @classmethod
    def _refuse_booleans(cls, block: object, read: Callable[[object], "Settings"]) -> "Settings":
        settings = read(block)
        values = block if isinstance(block, Mapping) else {}
        keys = [
            key
            for key, value in values.items()
            if key in cls.model_fields and is_boolean_number(value, getattr(settings, key))
        ]
        if keys:
            raise PydanticCustomError(BOOLEANS, "booleans as numbers: {keys}", {"keys": keys})
        return settings


def or_text_of(key: str) -> BeforeValidator:
    """Reads a text as the block in which that key alone is set."""
    return BeforeValidator(lambda value: {key: value} if isinstance(value, str) else value)


def is_boolean_number(value: object, read: object) -> bool:
    """Whether a boolean, alone or in a list, was read as a number."""
    if isinstance(value, list) and isinstance(read, list | tuple):
        return any(is_boolean_number(*pair) for pair in zip(value, read, strict=False))
    return isinstance(value, bool) and not isinstance(read, bool)
