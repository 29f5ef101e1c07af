"""The manifests of all artifacts behind a report, and the commands that rebuild them."""

import json
from collections.abc import Iterable, Mapping
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

from pipeline.artifacts import checksums
from pipeline.artifacts.stages import STAGES

FOLDERS = tuple(reversed(STAGES))  # of results, from the last stage to the first
# what many artifacts have in common
SHARED = ("settings", "versions", "machine", "checkout")
# roles of the inputs that models run for: the start of a training, and what its teacher made
COSTLY_ROLES = ("start", "teacher", "texts", "cache", "member", "choice", "trial")
CONFIG, MANIFESTS = "config.json", "provenance.json"  # beside a report
Manifest = Mapping[str, Any]  # JSON as an artifact's manifest.json has it
Manifests = Mapping[str, Manifest]


def read_with_inputs(results: Path, evaluations: Iterable[str]) -> dict[str, Manifest]:
    """The manifests of evaluations and of all their direct and indirect inputs, by "stage/id".

    Each manifest's inputs are "stage/id", too; the bare id of one that has no manifest any more.
    """
    names = {stage: {folder.name for folder in (results / stage).glob("*")} for stage in FOLDERS}

    @cache  # many artifacts share their inputs
    def located(id: str) -> str:
        paths = (f"{stage}/{id}" for stage in FOLDERS if id in names[stage])
        return next((path for path in paths if checksums.has_manifest(results / path)), id)

    manifests: dict[str, Manifest] = {}
    waiting = [f"evals/{id}" for id in evaluations]
    while waiting:
        path = waiting.pop()
        if path not in manifests:
            manifest = checksums.read_manifest(results / path)
            inputs = {role: located(id) for role, id in manifest.get("inputs", {}).items()}
            waiting += [input for input in inputs.values() if "/" in input]
            manifests[path] = manifest | {"inputs": inputs} if inputs else manifest
    return {path: manifests[path] for path in sorted(manifests, key=_stage_order)}


def _stage_order(path: str) -> tuple[int, str]:
    return FOLDERS.index(path.partition("/")[0]), path


def inputs_of(manifests: Manifests, path: str) -> Mapping[str, str]:
    """What an artifact was made from, as "stage/id" by role; empty without a manifest."""
    return manifests.get(path, {}).get("inputs", {})


def is_lost(role: str, input: str, manifests: Manifests) -> bool:
    """Whether an input's cost is unknown, because its artifact is gone."""
    return input not in manifests and role.partition("-")[0] in COSTLY_ROLES


def rebuild_command(experiment: str, path: str) -> str:
    """The command that rebuilds the artifact "stage/id" in a checkout of the project."""
    return f"distilbench stage results/{path} --configfile results/{experiment}/report/{CONFIG}"


def compact(manifests: Manifests, without: Iterable[str] = ()) -> dict[str, Any]:
    """All manifests as one JSON value, in which artifacts share what SHARED names, where equal.

    An artifact's `settings` is its position in the list of this name; so are the others.
    """
    shared: dict[str, list[Any]] = {name: [] for name in SHARED}
    known: dict[tuple[str, str], int] = {}  # positions of values, by their JSON
    left_out = {"id", *shared, *without}
    artifacts = {}
    for path, manifest in manifests.items():
        positions = {}
        for name, values in shared.items():
            value = manifest.get(name, {})
            positions[name] = known.setdefault((name, _sorted_json(value)), len(values))
            if positions[name] == len(values):
                values.append(value)
        rest = {key: value for key, value in manifest.items() if key not in left_out}
        artifacts[path] = rest | positions
    return {**shared, "artifacts": artifacts}


def _sorted_json(value: object) -> str:
    return json.dumps(value, sort_keys=True)


def flat(value: object, path: str = "") -> dict[str, Any]:
    """Nested settings by their dotted paths."""
    if not isinstance(value, Mapping) or not value:
        return {path: value}
    parts = (flat(inner, f"{path}.{key}".lstrip(".")) for key, inner in value.items())
    return {name: inner for part in parts for name, inner in part.items()}


def grouped(facts: Iterable[Mapping[str, str]]) -> dict[str, list[str]]:
    """The different values of each name, such as the versions of each library: ideally one."""
    groups: dict[str, set[str]] = {}
    for name, value in chain.from_iterable(each.items() for each in facts):
        groups.setdefault(name, set()).add(value)
    return {name: sorted(values) for name, values in sorted(groups.items())}


def write(path: Path, manifests: Manifests) -> None:
    """All manifests in one JSON file, a line for each artifact."""
    whole = compact(manifests)
    artifacts = ",\n".join(_members(whole.pop("artifacts")))
    lines = [*_members(whole), f'"artifacts": {{\n{artifacts}\n}}']
    path.write_text("{" + ",\n".join(lines) + "}\n", encoding="utf-8")


def _members(value: Mapping[str, object]) -> list[str]:
    return [f"{json.dumps(key)}: {json.dumps(member)}" for key, member in value.items()]
