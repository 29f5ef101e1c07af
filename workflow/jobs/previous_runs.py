"""The artifacts of earlier runs in `results/`, and which of them a new one replaces."""

import json
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from pipeline.artifacts.stages import STAGES
from workflow.grid.artifact import Artifact
from workflow.jobs.condition import read_manifest

Manifest = dict[str, Any]
INPUT = 100  # an input that differs weighs more than a setting: it has settings of its own
LONGEST_VALUE = 80  # characters of a setting that a change shows


@dataclass(frozen=True)
class Change:
    """A setting, or an input by its role, that is another one."""

    path: str  # of a setting, by its dotted keys; or the role of an input
    old: object
    new: object

    def __str__(self) -> str:
        return f"{self.path}: {_shown(self.old)} -> {_shown(self.new)}"


def _shown(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}…"


@dataclass(frozen=True, eq=False)
class ArtifactStore:
    """The artifacts in a folder, by stage and readable name."""

    results: Path

    @cached_property
    def stages(self) -> dict[str, str]:
        """The stage of each id."""
        return {
            folder.name: stage
            for stage in STAGES
            if (self.results / stage).is_dir()
            for folder in (self.results / stage).iterdir()
            if not folder.name.startswith(".")
        }

    @cached_property
    def _named(self) -> Mapping[tuple[str, str], list[str]]:
        named = defaultdict(list)
        for id, stage in self.stages.items():
            named[stage, id.rpartition("-")[0]].append(id)
        return named

    @cache
    def manifest(self, stage: str, id: str) -> Manifest | None:
        """An artifact's manifest; None if it is missing or damaged."""
        return read_manifest(self.results / stage / id)

    def previous(self, artifact: Artifact, used: set[str], last: set[str]) -> str:
        """The id of the nearest earlier artifact of this name, or nothing.

        Those in `used` have a place of their own; those in `last` come before all others.
        """
        ids = [id for id in self._named[artifact.stage, artifact.name] if id not in used]
        ids = [id for id in ids if id in last] or ids
        manifests = {id: read for id in ids if (read := self.manifest(artifact.stage, id))}

        def nearness(id: str) -> tuple[int, str]:
            manifest = manifests[id]
            settings = len(setting_changes(manifest, artifact.settings))
            inputs = len(input_changes(manifest, artifact))
            return -settings - INPUT * inputs, manifest.get("finished", "")

        return max(manifests, key=nearness, default="")

    @cached_property
    def _by_digest(self) -> Mapping[tuple[str, str], str]:
        return {(stage, id.rpartition("-")[2]): id for id, stage in self.stages.items()}

    def renamed(self, artifact: Artifact) -> str:
        """The id of an artifact of the same settings and inputs under another name, or nothing."""
        id = self._by_digest.get((artifact.stage, artifact.id.rpartition("-")[2]), "")
        return "" if id == artifact.id else id


def setting_changes(manifest: Manifest, settings: Mapping[str, object]) -> list[Change]:
    """The settings that are not those of an earlier artifact, by their dotted paths."""
    return _differences(manifest.get("settings", {}), settings)


def input_changes(manifest: Manifest, artifact: Artifact) -> list[Change]:
    """The inputs that are not those of an earlier artifact, by their roles."""
    old: dict[str, set[str]] = defaultdict(set)
    for role, id in manifest.get("inputs", {}).items():
        old[re.sub(r"-\d+$", "", role)].add(id)  # several of a role are numbered
    new: dict[str, set[str]] = defaultdict(set)
    for role, input in artifact.inputs:
        new[role].add(input.id)
    return [
        Change(role, _listed(old[role] - new[role]), _listed(new[role] - old[role]))
        for role in sorted({*old, *new})
        if old[role] != new[role]
    ]


def _listed(ids: set[str]) -> str:
    return ", ".join(sorted(ids)) or "none"


def _differences(old: object, new: object, path: str = "") -> list[Change]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        keys = dict.fromkeys([*new, *old])
        return [
            change
            for key in keys
            for change in _differences(old.get(key), new.get(key), f"{path}.{key}".lstrip("."))
        ]
    return [] if old == new else [Change(path, old, new)]
