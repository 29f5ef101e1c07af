"""Whole artifacts or none: written under a temporary name, renamed at the end, with provenance."""

import contextlib
import json
import os
import platform
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

MANIFEST = "manifest.json"
LIBRARIES = ("torch", "transformers", "tokenizers", "pyarrow", "numpy", "pandas", "lm_eval")


@dataclass(frozen=True)
class Job:
    """What a stage is told on its command line: who it is, and all that it may know."""

    id: str
    code: str  # digest of the source that this stage runs
    settings: dict[str, object]

    @classmethod
    def parse(cls, text: str) -> "Job":
        """The job in one JSON value, as rules pass it. Raises ValueError if parts are missing."""
        value = json.loads(text)
        if not isinstance(value, dict) or set(value) != {"id", "code", "settings"}:
            raise ValueError(f"a job is a JSON object of id, code and settings, not {text[:80]!r}")
        return cls(**value)


@contextlib.contextmanager
def whole(target: Path) -> Iterator[Path]:
    """A temporary path beside `target` to write to; it takes the name of `target` on success.

    After an error or a kill nothing stands under the name of `target`.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    for left in target.parent.glob(f".{target.name}.*.tmp"):  # by one that was killed
        _remove(left)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        _remove(target)
        temporary.rename(target)
    finally:
        _remove(temporary)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def write_json(path: Path, value: object) -> None:
    """`value` as JSON with sorted keys, for people to read and for digests to agree."""
    path.write_text(json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


def read_json(path: Path) -> dict:
    """The JSON object in `path`. Raises ValueError, naming the file, where it is not one."""
    try:
        value = json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not whole JSON ({error}); delete it and run again") from None
    if not isinstance(value, dict):
        raise ValueError(f"{path} holds no JSON object; delete it and run again")
    return value


def provenance(job: Job, inputs: Mapping[str, Path], **facts: object) -> dict[str, object]:
    """What made an artifact: its job, the ids of its inputs, versions, and `facts`."""
    return {
        "id": job.id,
        "code": job.code,
        "settings": job.settings,
        "inputs": {role: read_id(path) for role, path in sorted(inputs.items())},
        "versions": _versions(),
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        **facts,
    }


def write_manifest(folder: Path, job: Job, inputs: Mapping[str, Path], **facts: object) -> None:
    """The provenance of the artifact in `folder`, beside what it describes."""
    write_json(folder / MANIFEST, provenance(job, inputs, **facts))


def read_id(path: Path) -> str:
    """The id of the artifact at `path`, as its manifest says. Foreign folders have their name."""
    manifest = path / MANIFEST
    return read_json(manifest)["id"] if manifest.exists() else path.name


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for library in LIBRARIES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[library] = metadata.version(library)
    return found
