"""Files from elsewhere: which of them a name means, their kind, and their text."""

from pathlib import Path

import pyarrow as pa

from pipeline.data import untrusted

COMPRESSED = {".gz": "gzip", ".zst": "zstd"}
TABLES = (".json", ".jsonl", ".csv", ".tsv", ".parquet")  # all but Parquet may be compressed


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
    found = Path(path.anchor).glob(str(path.relative_to(path.anchor)))
    return sorted(each for each in found if each.is_file())


def read_utf8(path: Path) -> str:
    """The text of a file. Raises ValueError, naming the line, where it is not UTF-8."""
    content = _content(path)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(f"{path}:{line} is not UTF-8 ({error.reason}); convert the file") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")  # as a file that is opened as text


def _content(path: Path) -> bytes:
    if path.suffix not in COMPRESSED:
        return path.read_bytes()
    content = bytearray()
    try:
        with pa.input_stream(str(path), compression=COMPRESSED[path.suffix]) as stream:
            while block := stream.read(untrusted.BLOCK_BYTES):
                content += block
                untrusted.check_size(path, len(content))
    except OSError as error:
        raise ValueError(f"{path} can't be unpacked ({error}); fetch it again") from None
    return bytes(content)
