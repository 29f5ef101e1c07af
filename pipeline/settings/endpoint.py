"""Servers of models with the OpenAI API, such as vLLM, SGLang and the server of llama.cpp."""

import os
import re
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from pipeline.methods.ranges import Count, Line, NonNegativeCount, Positive
from pipeline.settings.base import SECRET, Settings, or_text_of

Api = Literal["chat", "completions"]
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")


class Endpoint(Settings):
    """The address of a server, and how it is asked."""

    url: Line  # up to /v1, such as http://127.0.0.1:8000/v1
    api: Api = "chat"  # messages, or the prompt as text
    api_key: Line | None = None  # the environment variable with the key; null: none is sent
    concurrency: Annotated[int, Field(ge=1, le=256)] = 8  # requests at a time
    requests_per_minute: Count | None = None  # null: no limit
    timeout_seconds: Positive = 120.0  # of a request
    retries: NonNegativeCount = 5  # of a request that a busy or faulty server failed

    @field_validator("url")
    @classmethod
    def _is_plain(cls, url: str) -> str:
        parts = urlsplit(url)
        if "@" in url or parts.query or parts.fragment:
            raise PydanticCustomError(
                SECRET,
                "an address holds no password, key or query; name the environment variable that "
                "has the key as `api_key`",
            )
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("not the address of a server, such as http://127.0.0.1:8000/v1")
        return url.rstrip("/")

    @field_validator("api_key")
    @classmethod
    def _is_a_name(cls, variable: str | None) -> str | None:
        if variable is not None and not VARIABLE.fullmatch(variable):
            raise PydanticCustomError(
                SECRET,
                "not the name of an environment variable, such as OPENAI_API_KEY; the key itself "
                "stands in no configuration",
            )
        return variable

    @property
    def key(self) -> str:
        """The key in the environment. Raises ValueError, naming the variable, without a key."""
        key = os.environ.get(self.api_key or "", "").strip()
        if not key or not key.isascii() or not key.isprintable() or " " in key:
            fault = "is not set" if not key else "holds no key: it has spaces or other signs"
            raise ValueError(f"the environment variable {self.api_key} {fault}; set it, run again")
        return key


AnyEndpoint = Annotated[Endpoint, or_text_of("url")]
