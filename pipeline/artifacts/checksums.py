"""Checksums of artifacts: size and sha256 of each file are in the manifest.

Readers compare, each the files that it reads. A folder in which something is wrong is moved aside,
so that the next run makes it again; one without a list of files was not made here, and is taken as
it is.
"""

import hashlib
import json
from collections.abc import Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

MANIFEST = "manifest.json"
# they tell seconds or dates: two makings of an artifact never agree in them
TIMED = ("cost.json", "results.json", "steps.parquet")

Digest = dict[str, Any]  # bytes and sha256 of a file


def digests(folder: Path) -> dict[str, Digest]:
    """Size and sha256 of every file in a folder, by its path in there."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): _digest(path) for path in files}


def _digest(path: Path) -> Digest:
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return {"bytes": path.stat().st_size, "sha256": sha256}


def content_digest(files: Mapping[str, Digest]) -> str:
    """Sixteen hex digits over the files, equal for two makings that differ in their times alone."""
    lines = [
        f"{name} {digest['sha256']}" for name, digest in sorted(files.items()) if name not in TIMED
    ]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def with_checksum(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest with a checksum of itself."""
    as_read = json.loads(json.dumps(manifest))  # keys that are numbers come back as text
    return {**as_read, "checksum": _checksum(as_read)}


def _checksum(manifest: Mapping[str, Any]) -> str:
    rest = {key: value for key, value in manifest.items() if key != "checksum"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of the artifact in `folder`. Raises ValueError where it is damaged."""
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_bytes())
    except ValueError as error:
        raise damaged(folder, f"{path} is not whole JSON ({error})") from None
    if not isinstance(manifest, dict):
        raise damaged(folder, f"{path} holds no JSON object")
    is_sealed = {"files", "checksum"} & set(manifest)
    if is_sealed and manifest.get("checksum") != _checksum(manifest):
        raise damaged(folder, f"{path} is damaged: it does not agree with its own checksum")
    return manifest


def verify(folder: Path, pattern: str = "*") -> None:
    """Raises ValueError if one of the artifact's files whose names match is not as it was made."""
    if not (folder / MANIFEST).exists():
        return
    for name, digest in read_manifest(folder).get("files", {}).items():
        if fnmatch(name, pattern) and (fault := _fault(folder / name, digest)):
            raise damaged(folder, fault)


def is_intact(folder: Path) -> bool:
    """Whether there is a manifest, and all that it lists is as it was made."""
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
    except (OSError, ValueError):
        return False
    if not isinstance(manifest, dict) or manifest.get("checksum") != _checksum(manifest):
        return False
    return not any(_fault(folder / name, digest) for name, digest in manifest["files"].items())


def read_verified(path: Path) -> bytes:
    """The bytes of a file, as its artifact was made. Raises ValueError where they are not."""
    folder = path.parent
    if not (folder / MANIFEST).exists():
        return path.read_bytes()
    digest = read_manifest(folder).get("files", {}).get(path.name)
    content = path.read_bytes() if digest is None or path.exists() else b""
    if digest is not None and hashlib.sha256(content).hexdigest() != digest["sha256"]:
        raise damaged(folder, _fault(path, digest) or f"{path} changed while it was read")
    return content


def _fault(path: Path, digest: Digest) -> str | None:
    """A description of the damage to a file, or None."""
    if not path.exists():
        return f"{path} is missing"
    size = path.stat().st_size
    if size != digest["bytes"]:
        return f"{path} is damaged: it has {size} bytes, and was made with {digest['bytes']}"
    if _digest(path) != digest:
        return f"{path} is damaged: its content is not what was written"
    return None


def damaged(folder: Path, fault: str) -> ValueError:
    """The error to raise; the folder is moved aside."""
    try:
        return ValueError(f"{fault}; {folder} is now {_move_aside(folder)}: run again to remake it")
    except OSError as error:
        return ValueError(f"{fault}, and can't be moved aside ({error}); delete it and run again")


def _move_aside(folder: Path) -> Path:
    """Where a damaged artifact is now: in `damaged/`, beside the folders of the stages."""
    shelf = folder.parent.parent / "damaged" / folder.parent.name
    shelf.mkdir(parents=True, exist_ok=True)
    number = sum(1 for _ in shelf.glob(f"{folder.name}.*")) + 1
    return folder.rename(shelf / f"{folder.name}.{number}")
