"""Checksums of artifacts: size and sha256 of each file are in the manifest.

A run compares the sizes before its first job, and readers the digests, each of the files that it
reads. A folder in which something is wrong is moved aside, so that the next run makes it again; one
without a list of files was not made here, and is taken as it is.
"""

import errno
import hashlib
import json
import os
import shutil
import stat
from collections.abc import Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

MANIFEST = "manifest.json"
DAMAGED = "damaged"  # the folder of what was moved aside, beside those of the stages
# errors of a name that leads to no file; any other one, as of missing rights, is not damage
NO_FILE = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP)
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


def has_manifest(folder: Path) -> bool:
    """Whether a folder says what it is. A link to nowhere counts: it is damage, not an absence."""
    return os.path.lexists(folder / MANIFEST)


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of the artifact in `folder`. Raises ValueError where it is damaged."""
    try:
        return undamaged_manifest(folder)
    except ValueError as error:
        raise damaged(folder, str(error)) from None


def undamaged_manifest(folder: Path) -> dict[str, Any]:
    """The same, and a damaged artifact stays where it is.

    Raises: ValueError, naming the damage; OSError if it is missing, or may not be read.
    """
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_bytes())
    except OSError as error:
        if error.errno not in NO_FILE or not has_manifest(folder):
            raise
        raise ValueError(f"{path} is damaged: {os.strerror(error.errno)}") from None
    except ValueError as error:
        raise ValueError(f"{path} is not whole JSON ({error})") from None
    if not isinstance(manifest, dict):
        raise ValueError(f"{path} holds no JSON object")
    is_sealed = {"files", "checksum"} & set(manifest)
    if is_sealed and manifest.get("checksum") != _checksum(manifest):
        raise ValueError(f"{path} is damaged: it does not agree with its own checksum")
    return manifest


def verify(folder: Path, pattern: str = "*", but: str = "") -> None:
    """Raises ValueError if one of the artifact's files is not as it was made.

    Of all that match a pattern, those that match `but` are not looked at.
    """
    if not has_manifest(folder):
        return
    for name, digest in read_manifest(folder).get("files", {}).items():
        is_read = fnmatch(name, pattern) and not fnmatch(name, but)
        if is_read and (fault := _fault(folder / name, digest)):
            raise damaged(folder, fault)


def is_intact(folder: Path) -> bool:
    """Whether there is a manifest, and all that it lists is as it was made."""
    try:
        files = undamaged_manifest(folder)["files"]
    except (OSError, ValueError, KeyError):
        return False
    return not any(_fault(folder / name, digest) for name, digest in files.items())


def read_verified(path: Path) -> bytes:
    """The bytes of a file, as its artifact was made. Raises ValueError where they are not."""
    folder = path.parent
    files = read_manifest(folder).get("files", {}) if has_manifest(folder) else {}
    if (digest := files.get(path.name)) is None:
        return path.read_bytes()
    if fault := fault_of_size(path, digest):
        raise damaged(folder, fault)
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != digest["sha256"]:
        raise damaged(folder, f"{path} is damaged: its content is not what was written")
    return content


def fault_of_sizes(folder: Path, manifest: Mapping[str, Any]) -> str | None:
    """A description of damage that shows without reading a file, or None."""
    faults = (fault_of_size(folder / name, it) for name, it in manifest.get("files", {}).items())
    return next(filter(None, faults), None)


def fault_of_size(path: Path, digest: Digest) -> str | None:
    """A description of a file that is missing, no file, or of another size; None if it isn't.

    Raises: OSError if it may not be looked at.
    """
    try:
        status = path.stat()
    except OSError as error:
        if error.errno not in NO_FILE:
            raise
        return f"{path} is missing"
    if not stat.S_ISREG(status.st_mode):
        return f"{path} is damaged: it is not a file"
    if status.st_size != digest["bytes"]:
        made = digest["bytes"]
        return f"{path} is damaged: it has {status.st_size} bytes, and was made with {made}"
    return None


def _fault(path: Path, digest: Digest) -> str | None:
    """A description of the damage to a file, or None."""
    if fault := fault_of_size(path, digest):
        return fault
    if _digest(path) != digest:
        return f"{path} is damaged: its content is not what was written"
    return None


def damaged(folder: Path, fault: str) -> ValueError:
    """The error to raise; the folder is moved aside."""
    try:
        return ValueError(f"{fault}; {folder} is now {move_aside(folder)}: run again to remake it")
    except OSError as error:
        if not os.path.lexists(folder):  # another process has met the same damage
            return ValueError(f"{fault}; {folder} is moved aside: run again to remake it")
        return ValueError(f"{fault}, and can't be moved aside ({error}); delete it and run again")


def move_aside(path: Path) -> Path:
    """Where a damaged artifact is now: in `damaged/`, beside the folders of the stages.

    It takes the place of the one that was moved there before it under the same name.
    """
    shelf = path.parent.parent / DAMAGED / path.parent.name
    shelf.mkdir(parents=True, exist_ok=True)
    earlier = {
        int(number): other
        for other in shelf.glob(f"{path.name}.*")
        if (number := other.name.removeprefix(f"{path.name}.")).isdecimal()
    }
    target = shelf / f"{path.name}.{max(earlier, default=0) + 1}"
    shutil.move(path, target)  # a stage's folder may be a link to another disk
    for other in earlier.values():
        remove(other)
    return target


def remove(path: Path) -> None:
    """Deletes a file or a folder, if it is there; of a link, only the link."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
