"""Files from elsewhere: which of them a name means, their kind, and their text."""

import io
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.data import untrusted

COMPRESSED = {".gz": "gzip", ".zst": "zstd"}
LINES = 256  # that are encoded together
TABLES = (".json", ".jsonl", ".csv", ".tsv", ".parquet")  # all but Parquet may be compressed
ENDS = (*TABLES, *COMPRESSED)  # of a name that is a table's, and not a split's


def kind(path: Path) -> str:
    """The suffix of a file, without that of its compression."""
    return Path(path.stem).suffix if path.suffix in COMPRESSED else path.suffix


def matching(name: str) -> list[Path]:
    """The files that a name means, sorted: one file, the tables in a folder, or those of a glob."""
    path = Path(name)
    if path.is_file():
        return [path]
    if path.is_dir():
        return sorted(each for each in path.iterdir() if kind(each) in TABLES)
    paths = Path(path.anchor).glob(str(path.relative_to(path.anchor)))
    return sorted(each for each in paths if each.is_file())


def read_utf8(path: Path) -> str:
    """The text of a file. Raises ValueError, naming the line, where it is not UTF-8."""
    return "\n".join(lines(path))


def lines(path: Path) -> Iterator[str]:
    """The lines of a file of text, one after the other; errors as of `read_utf8`.

    They end at line breaks of any system, as of a file that is opened as text, and at no other
    separator that JSON text may hold.
    """
    for number, line in enumerate(_byte_lines(path), start=1):
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            fault = f"{path}:{number} is not UTF-8 ({error.reason})"
            raise ValueError(f"{fault}; convert the file") from None
        yield from text.removesuffix("\r").replace("\r", "\n").split("\n")


def utf8_file(path: Path) -> io.BufferedReader:
    """The text of a file as libraries read it, a block at a time; errors as of `read_utf8`."""
    return io.BufferedReader(_Lines(lines(path)), untrusted.BLOCK_BYTES)


class _Lines(io.RawIOBase):
    """Lines as the bytes of a file."""

    def __init__(self, lines: Iterator[str]) -> None:
        self.lines, self.waiting = lines, b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """Fills the buffer with some lines, or a part of them; returns the number of bytes."""
        if not self.waiting:
            self.waiting = "".join(f"{line}\n" for line in islice(self.lines, LINES)).encode()
        count = min(len(buffer), len(self.waiting))
        buffer[:count], self.waiting = self.waiting[:count], self.waiting[count:]
        return count


def _byte_lines(path: Path) -> Iterator[bytes]:
    begun: list[bytes] = []  # of a line that the next block continues
    for block in blocks(path):
        first, *others = block.split(b"\n")
        begun.append(first)
        if others:
            yield b"".join(begun)
            yield from others[:-1]
            begun = others[-1:]
    yield b"".join(begun)


def blocks(path: Path) -> Iterator[bytes]:
    """The bytes of a file, which may be compressed, a block at a time."""
    if path.suffix not in COMPRESSED:
        with path.open("rb") as file:
            while block := file.read(untrusted.BLOCK_BYTES):
                yield block
        return
    size = 0
    try:
        with pa.input_stream(str(path), compression=COMPRESSED[path.suffix]) as stream:
            while block := stream.read(untrusted.BLOCK_BYTES):
                size += len(block)
                untrusted.check_size(path, size)
                yield block
    except OSError as error:
        raise ValueError(f"{path} can't be unpacked ({error}); fetch it again") from None
