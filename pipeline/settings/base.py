"""What all settings share: frozen, and no key that is not known."""

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """Base of every block of the configuration."""

    model_config = ConfigDict(extra="forbid", frozen=True)
