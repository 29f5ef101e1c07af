"""Damage of every kind to a file or a folder of an artifact, and who reads which files."""

import ctypes
import os
import shutil
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

IN_OPEN = 0x20
EVENT = struct.Struct("iIII")  # watch, mask, cookie, length of the name that follows
LIBC = ctypes.CDLL(None, use_errno=True)


def flip(path: Path) -> None:
    """One bit in the middle is another one."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def cut(path: Path) -> None:
    """The second half is gone."""
    os.truncate(path, path.stat().st_size // 2)


def empty(path: Path) -> None:
    """Nothing is left in it."""
    path.write_bytes(b"")


def grow(path: Path) -> None:
    """Something follows its end."""
    with path.open("ab") as file:
        file.write(b"\0\n")


def lose(path: Path) -> None:
    """It is gone."""
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def swap_for_folder(path: Path) -> None:
    """An empty folder has its name."""
    lose(path)
    path.mkdir()


def swap_for_file(path: Path) -> None:
    """A file has its name."""
    lose(path)
    path.write_text("something else")


def dangle(path: Path) -> None:
    """A link to nowhere has its name."""
    lose(path)
    path.symlink_to("nowhere")


def encircle(path: Path) -> None:
    """A link to itself has its name."""
    lose(path)
    path.symlink_to(path.name)


Harm = Callable[[Path], None]
VISIBLE: tuple[Harm, ...] = (cut, empty, grow, lose, swap_for_folder, dangle, encircle)
OF_FOLDERS: tuple[Harm, ...] = (lose, swap_for_folder, swap_for_file, dangle, encircle)


def files(folder: Path) -> list[str]:
    """The files of an artifact, without Snakemake's own."""
    paths = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return sorted(str(path) for path in paths if not path.name.startswith("."))


@contextmanager
def without(*paths: str) -> Iterator[None]:
    """The results without some artifacts."""
    for path in paths:
        Path(path).rename(f"{path}.away")
    yield
    for path in paths:
        Path(f"{path}.away").rename(path)


@contextmanager
def opened(folders: Mapping[str, Path]) -> Iterator[set[tuple[str, str]]]:
    """Fills with the files of some folders that are opened meanwhile, by role and name.

    The kernel tells them: a library that opens files by itself is seen, too.
    """
    watcher = LIBC.inotify_init1(os.O_NONBLOCK)
    watched: dict[int, tuple[str, str]] = {}
    for role, folder in folders.items():
        for within in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
            number = LIBC.inotify_add_watch(watcher, str(within).encode(), IN_OPEN)
            prefix = "" if within == folder else f"{within.relative_to(folder)}/"
            watched[number] = role, prefix
    seen: set[tuple[str, str]] = set()
    yield seen
    events = b""
    with suppress(BlockingIOError):  # none was opened
        events = os.read(watcher, 1 << 20)
    os.close(watcher)
    while events:
        number, _, _, length = EVENT.unpack_from(events)
        name = events[EVENT.size : EVENT.size + length].rstrip(b"\0").decode()
        events = events[EVENT.size + length :]
        role, prefix = watched[number]
        if name and not (folders[role] / prefix / name).is_dir():
            seen.add((role, prefix + name))
