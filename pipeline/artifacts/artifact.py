"""Whole artifacts or none: written under a temporary name, renamed at the end, with provenance.

What stands under its name is whole, also after a power cut: its files reach the disk before the
rename, and the rename before the stage ends. (A network file system must keep that promise too.)
"""

import contextlib
import json
import os
import platform
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from pipeline.artifacts import checksums, environment
from pipeline.artifacts.checksums import MANIFEST as MANIFEST

LIBRARIES = ("torch", "transformers", "tokenizers", "pyarrow", "numpy", "pandas", "lm_eval")


@dataclass(frozen=True)
class Job:
    """The job of a stage, from its command line: id, source hash and settings."""

    id: str
    code: str  # digest of the source that this stage runs
    settings: dict[str, object]
    # asked for when a job begins: a later edit or commit isn't what it runs
    checkout: dict[str, object] = field(default_factory=environment.checkout)

    @classmethod
    def read(cls, path: Path) -> "Job":
        """The job in a JSON file. Raises ValueError if id, code or settings are missing."""
        value = json.loads(path.read_bytes())
        try:
            return cls(value["id"], value["code"], value["settings"])
        except (KeyError, TypeError):
            raise ValueError(f"{path}: a job is a JSON object of id, code and settings") from None


@contextlib.contextmanager
def atomic_write(target: Path) -> Iterator[Path]:
    """A temporary path beside `target` to write to; it takes the name of `target` on success.

    After an error or a kill nothing stands under the name of `target`, or what stood there before.
    There must be no other writer of `target`: what it has written so far is removed.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    left_by_killed = re.compile(rf"\.{re.escape(target.name)}\.\d+(\.old)?\.tmp")
    for path in target.parent.glob(".*.tmp"):
        if left_by_killed.fullmatch(path.name):
            checksums.remove(path)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        for path in (*temporary.rglob("*"), temporary):  # of a file there is nothing below it
            _sync(path)
        _replace(target, temporary)
    except Exception as error:
        if not isinstance(error, ValueError):
            error.add_note(f"while writing {target}")  # a full disk does not say where
        raise
    finally:
        checksums.remove(temporary)


@contextlib.contextmanager
def create(
    target: Path, job: Job, inputs: Mapping[str, Path]
) -> Iterator[tuple[Path, dict[str, object]]]:
    """A new folder that becomes the artifact `target`, and a dictionary for facts about it.

    They stand in its manifest, which is written last of all, beside the job and its inputs.
    """
    with atomic_write(target) as folder:
        folder.mkdir()
        facts: dict[str, object] = {}
        yield folder, facts
        write_manifest(folder, job, inputs, **facts)


def _sync(path: Path) -> None:
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def _replace(target: Path, temporary: Path) -> None:
    old = temporary.with_suffix(".old.tmp")
    # a folder can't be replaced in one step, nor can it replace a file or a link to nowhere
    if os.path.lexists(target) and (temporary.is_dir() or target.is_dir()):
        target.rename(old)
    temporary.replace(target)
    _sync(target.parent)
    checksums.remove(old)


def replace_text(path: Path, text: str) -> None:
    """Writes a file in one step: other processes may be reading it, or writing the same.

    Other than what `atomic_write` writes, it may be empty after a power cut.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def write_json(path: Path, value: object) -> None:
    """`value` as JSON with sorted keys, for people to read and for digests to agree."""
    text = json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False)
    path.write_text(f"{text}\n", encoding="utf-8")


def read_json(path: Path) -> dict:
    """The JSON object in `path`. Raises ValueError, naming the file, where it is not as written."""
    try:
        value = json.loads(checksums.read_verified(path))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not whole JSON ({error}); delete it and run again") from None
    if not isinstance(value, dict):
        raise ValueError(f"{path} holds no JSON object; delete it and run again")
    return value


def provenance(job: Job, inputs: Mapping[str, Path], **facts: object) -> dict[str, object]:
    """The provenance of an artifact: its job, inputs, versions, machine, checkout, and `facts`."""
    return {
        "id": job.id,
        "code": job.code,
        "settings": job.settings,
        "inputs": {role: read_id(path) for role, path in sorted(inputs.items())},
        "input_contents": content_digests(inputs),
        "versions": _versions(),
        "machine": environment.machine(),
        "checkout": job.checkout,
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        **facts,
    }


def write_manifest(folder: Path, job: Job, inputs: Mapping[str, Path], **facts: object) -> None:
    """The provenance of the artifact in `folder`, and what its files hold; written last of all."""
    files = checksums.digests(folder)
    manifest = provenance(job, inputs, **facts) | {"files": files}
    write_json(
        folder / MANIFEST,
        checksums.with_checksum(manifest | {"content": checksums.content_digest(files)}),
    )


def read_id(path: Path) -> str:
    """The id of the artifact at `path`, as its manifest says. Foreign folders have their name."""
    return _made(path)["id"]


def content_digests(inputs: Mapping[str, Path]) -> dict[str, str]:
    """Content digests of the inputs, by role, without those that have no manifest."""
    manifests = {role: _made(path) for role, path in sorted(inputs.items())}
    return {
        role: manifest["content"] for role, manifest in manifests.items() if "content" in manifest
    }


def _made(path: Path) -> dict[str, Any]:
    """The manifest of the artifact at `path`; of a foreign folder only an id, its name."""
    has_one = checksums.has_manifest(path)
    return checksums.read_manifest(path) if has_one else {"id": path.name}


def resume_key(job: Job, inputs: Mapping[str, Path]) -> str:
    """All that a job's result depends on: partial work is resumed only under the same key."""
    made_from = [f"{role}={held}" for role, held in content_digests(inputs).items()]
    return " ".join([job.id, job.code, *made_from])


def is_up_to_date(folder: Path, job: Job, inputs: Mapping[str, Path]) -> bool:
    """Whether `folder` holds, undamaged, what this job makes of these inputs."""
    if not checksums.is_intact(folder):
        return False
    manifest = checksums.read_manifest(folder)
    same_job = all(manifest[key] == getattr(job, key) for key in ("id", "code", "settings"))
    return same_job and manifest["input_contents"] == content_digests(inputs)


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for library in LIBRARIES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[library] = metadata.version(library)
    return versions
