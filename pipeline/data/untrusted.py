"""Limits on what files from elsewhere may do: stay in their folder, and unpack to a sane size."""

import bz2
import gzip
import lzma
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

MOST_TIMES, ALWAYS = 200, 2**28  # bytes in memory for each byte on disk; bytes that are always fine
ROW_BYTES = 64  # of a row at the least, be it empty
BATCH_ROWS, BLOCK_BYTES = 256, 2**20
STREAMS = {".gz": gzip.GzipFile, ".bz2": bz2.BZ2File, ".xz": lzma.LZMAFile}


def leads_out(path: Path, folder: Path) -> bool:
    """Whether a path, by its links or by `..`, is outside a folder.

    A folder in the cache of the hub's client is a folder of links, to files beside it.
    """
    root = folder.resolve()
    roots = [root, *([root.parents[1] / "blobs"] if root.parent.name == "snapshots" else [])]
    return not any(path.resolve().is_relative_to(allowed) for allowed in roots)


def parquet_batches(path: Path) -> Iterator[pa.RecordBatch]:
    """The rows of a Parquet file. Raises ValueError where they would take too much memory."""
    size = 0
    with pq.ParquetFile(path, pre_buffer=False) as file:
        for batch in file.iter_batches(BATCH_ROWS):
            size += sum(map(_plain_bytes, batch.columns)) + ROW_BYTES * batch.num_rows
            check_size(path, size)
            yield batch


def _plain_bytes(column: pa.Array) -> int:
    """The size of a column with every value written out."""
    is_coded = isinstance(column, pa.DictionaryArray)
    return (column.dictionary_decode() if is_coded else column).nbytes


def check_unpacked_size(path: Path) -> None:
    """Raises ValueError for a file that is compressed and would unpack without end."""
    if path.suffix == ".parquet":
        for _ in parquet_batches(path):
            pass
    elif path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            check_size(path, sum(member.file_size for member in archive.infolist()))
    elif path.suffix in STREAMS:
        with STREAMS[path.suffix](path) as stream:
            size = 0
            while block := stream.read(BLOCK_BYTES):
                size += len(block)
                check_size(path, size)


def check_size(path: Path, size: int) -> None:
    """Raises ValueError where a file unpacks to much more than it has."""
    on_disk = path.stat().st_size
    if size > max(ALWAYS, MOST_TIMES * on_disk):
        raise ValueError(
            f"{path} has {on_disk} bytes and unpacks to more than {size}, over {MOST_TIMES} times "
            "as much: it is not read; if you trust it, save it again without compression"
        )
