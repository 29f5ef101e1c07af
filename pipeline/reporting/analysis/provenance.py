"""Every artifact behind a report: what made it, from what, and how to make it again."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.artifacts import checksums

STAGES = (
    "evals",
    "students",
    "starts",
    "teachers",
    "models",
    "caches",
    "texts",
    "tokens",
    "data",
    "tokenizers",
)
# where an input of a role is looked for first; ids hold a digest, so another stage has no such id
PLACES = {
    "model": ("students", "starts", "teachers", "models"),
    "start": ("starts", "models"),
    "teacher": ("teachers", "models", "students"),
    "base": ("models",),
    "cache": ("caches",),
    "texts": ("texts",),
    "tokens": ("tokens", "texts"),
    "data": ("data",),
    "tokenizer": ("tokenizers", "models"),
}
CONFIG, MANIFESTS = "config.json", "provenance.json"  # beside a report
Manifests = Mapping[str, Mapping[str, object]]  # by "stage/id"


def behind(results: Path, evaluations: Iterable[str]) -> dict[str, dict]:
    """The manifests of some evaluations and of all that they were made from, by "stage/id"."""
    found: dict[str, dict] = {}
    places: dict[tuple[str, str], str] = {}  # many are made from the same
    waiting = [f"evals/{id}" for id in evaluations]
    while waiting:
        path = waiting.pop()
        if path in found:
            continue
        found[path] = checksums.read_manifest(results / path)
        for role, id in found[path].get("inputs", {}).items():
            if (role, id) not in places:
                places[role, id] = _place(results, role, id)
            found[path]["inputs"][role] = places[role, id]
            waiting += [places[role, id]] * (places[role, id] != id)
    return {path: found[path] for path in sorted(found, key=_rank)}


def _rank(path: str) -> tuple[int, str]:
    return STAGES.index(path.partition("/")[0]), path


def _place(results: Path, role: str, id: str) -> str:
    """Where an input is: "stage/id"; its bare id where no manifest is left of it."""
    for stage in (*PLACES.get(role.partition("-")[0], ()), *STAGES):
        if (results / stage / id / checksums.MANIFEST).is_file():
            return f"{stage}/{id}"
    return id


def command(experiment: str, path: str) -> str:
    """The command that makes the artifact "stage/id" of an experiment again, in a checkout."""
    return f"distilbench stage results/{path} --configfile results/{experiment}/report/{CONFIG}"


@dataclass
class _Interned:
    """Values that many artifacts share, each kept once."""

    values: list[object] = field(default_factory=list)
    places: dict[str, int] = field(default_factory=dict)

    def place(self, value: object) -> int:
        key = json.dumps(value, sort_keys=True)
        if key not in self.places:
            self.places[key] = len(self.values)
            self.values.append(value)
        return self.places[key]


def compact(manifests: Manifests, without: Sequence[str] = ()) -> dict[str, object]:
    """All manifests as one JSON value: settings and versions, which many share, stand once."""
    settings, versions = _Interned(), _Interned()
    made = {}
    for path, manifest in manifests.items():
        shared = {
            "settings": settings.place(manifest.get("settings", {})),
            "versions": versions.place(manifest.get("versions", {})),
        }
        left_out = ("id", *shared, *without)
        own = {key: value for key, value in manifest.items() if key not in left_out}
        made[path] = own | shared
    return {"settings": settings.values, "versions": versions.values, "artifacts": made}


def write(path: Path, manifests: Manifests) -> None:
    """All manifests in one file, a line for each artifact."""
    value = compact(manifests)
    made = value.pop("artifacts")
    shared = [f"{json.dumps(key)}: {json.dumps(one)}" for key, one in value.items()]
    lines = [f"{json.dumps(key)}: {json.dumps(one)}" for key, one in made.items()]
    artifacts_text = ",\n".join(lines)
    path.write_text("{" + ",\n".join([*shared, f'"artifacts": {{\n{artifacts_text}\n}}']) + "}\n")
