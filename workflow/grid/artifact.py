"""An artifact before it exists: its stage, what made it, and the id that follows from both."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any


def canonical(value: Any) -> str:
    """JSON with sorted keys: equal values have equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


@dataclass(frozen=True)
class Artifact:
    """One folder of `results/`, named by what made it."""

    stage: str
    name: str
    settings_json: str
    inputs: tuple[tuple[str, "Artifact"], ...] = ()  # role and artifact, in a canonical order

    @classmethod
    def of(
        cls,
        stage: str,
        name: str,
        settings: Mapping[str, Any],
        *inputs: tuple[str, "Artifact | None"],
    ) -> "Artifact":
        """An artifact; inputs that are None are left out."""
        given = [(role, one) for role, one in inputs if one is not None]
        given.sort(key=lambda pair: (pair[0], pair[1].id))
        return cls(stage, name, canonical(settings), tuple(given))

    def __hash__(self) -> int:
        return hash(self.id)  # computed once: that of the fields goes through all inputs each time

    @cached_property
    def id(self) -> str:
        """A readable name and eight hex digits over settings and inputs."""
        made_of = [self.stage, self.settings_json, [[role, one.id] for role, one in self.inputs]]
        return f"{self.name}-{hashlib.sha256(canonical(made_of).encode()).hexdigest()[:8]}"

    @property
    def settings(self) -> dict[str, Any]:
        """What the job may know."""
        return json.loads(self.settings_json)

    @property
    def path(self) -> str:
        """Its folder."""
        return f"results/{self.stage}/{self.id}"
