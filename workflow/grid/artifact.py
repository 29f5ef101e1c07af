"""An artifact before it exists: its stage, what made it, and the id that follows from both."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any


def canonical(value: object) -> str:
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
        settings: Mapping[str, object],
        *inputs: tuple[str, "Artifact | None"],
    ) -> "Artifact":
        """An artifact; inputs that are None are left out."""
        present = [(role, artifact) for role, artifact in inputs if artifact is not None]
        present.sort(key=lambda pair: (pair[0], pair[1].id))
        return cls(stage, name, canonical(settings), tuple(present))

    def __hash__(self) -> int:
        return hash(self.id)  # computed once: that of the fields goes through all inputs each time

    @cached_property
    def id(self) -> str:
        """A readable name and eight hex digits over settings and inputs."""
        inputs = [[role, input.id] for role, input in self.inputs]
        identity = [self.stage, self.settings_json, inputs]
        return f"{self.name}-{hashlib.sha256(canonical(identity).encode()).hexdigest()[:8]}"

    @property
    def settings(self) -> dict[str, Any]:
        """The settings of its job."""
        return json.loads(self.settings_json)

    @cached_property
    def reads(self) -> tuple[tuple[str, "Artifact"], ...]:
        """What its job reads: its inputs, and the bases of those that are adapters."""
        bases = [("base", base) for _, input in self.inputs for base in input._bases]
        return (*self.inputs, *dict.fromkeys(bases))

    @cached_property
    def _bases(self) -> tuple["Artifact", ...]:
        """The models whose weights it holds adapters of; whole models have none."""
        if not self.settings.get("training", {}).get("lora"):
            return ()
        start = dict(self.inputs)["start"]
        return (start, *start._bases)

    @property
    def path(self) -> str:
        """Its folder."""
        return f"results/{self.stage}/{self.id}"


def reachable(roots: Iterable[Artifact]) -> dict[str, Artifact]:
    """Artifacts with all that they are made from, by their paths."""
    artifacts: dict[str, Artifact] = {}
    waiting = list(roots)
    while waiting:
        artifact = waiting.pop()
        if artifact.path not in artifacts:
            artifacts[artifact.path] = artifact
            waiting += [input for _, input in artifact.inputs]
    return artifacts
