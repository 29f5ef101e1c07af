"""Tables in the files that people have: one content, however it is written and compressed."""

import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from small_tables import Row, files, gathered, jsonl, rows

from pipeline.data import untrusted
from pipeline.data.rows import read_rows
from pipeline.settings.data import Files
from workflow.grid.digests import of_examples

TEXT = 'one, "two"\nthree é'
ROWS: list[Row] = [*rows(3), {"instruction": TEXT, "input": "3", "output": "\ttab"}]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS)


def separated(sign: str) -> str:
    lines = [ROWS[0].keys(), *(row.values() for row in ROWS)]
    cells = [['"' + str(cell).replace('"', '""') + '"' for cell in line] for line in lines]
    return "".join(sign.join(line) + "\n" for line in cells)


def zstd(content: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(content)
    return sink.getvalue().to_pybytes()


def parquet(path: Path) -> None:
    pq.write_table(pa.Table.from_pylist(ROWS), path)


def content(data: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(data)


SHAPES: dict[str, Callable[[Path], object]] = {
    "a.jsonl": content(LINES.encode()),
    "a.json": content(json.dumps(ROWS).encode()),
    "a.csv": content(separated(",").encode()),
    "a.tsv": content(separated("\t").encode()),
    "bom.csv": content(separated(",").encode("utf-8-sig")),
    "crlf.csv": content(separated(",").replace("\n", "\r\n").encode()),
    "bom.jsonl": content(LINES.replace("\n", "\r\n").encode("utf-8-sig")),
    "a.jsonl.gz": content(gzip.compress(LINES.encode())),
    "a.csv.zst": content(zstd(separated(",").encode())),
    "a.parquet": parquet,
}


@pytest.mark.parametrize("name", SHAPES)
def test_the_same_rows_are_read_from_every_kind_of_file(name: str, tmp_path: Path):
    SHAPES[name](tmp_path / name)
    assert [row.values for row in read_rows(tmp_path / name)] == ROWS


TWICE = io.BytesIO()
pq.write_table(pa.table([["1"], ["2"], ["3"]], names=["a", "b", "b"]), TWICE)
FAULTS = {
    "cut.jsonl.gz": (gzip.compress(LINES.encode())[:40], r"can't be unpacked"),
    "short.csv": (b"a,b\n1,2\n3\n", r"is no table of values \(.*Expected 2 columns, got 1: 3\)"),
    "empty.csv": (b"", r"is no table of values \(.*Empty CSV file"),
    "head.csv": (b"a,b\n", "holds no rows"),
    "twice.csv": (b"a,b,b\n1,2,3\n", "has 2 columns named 'b'; rename or remove all but one"),
    "twice.parquet": (TWICE.getvalue(), "has 2 columns named 'b'"),
    "a.parquet.gz": (b"", "can't read '.parquet' files"),
    "latin.csv": ("a\nÉ\n".encode("latin-1"), r"latin\.csv:2 is not UTF-8"),
    "bomb.csv.gz": (gzip.compress(b"a\n" + bytes(2**22)), "unpacks to more than"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_file_that_is_no_table_is_named(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(untrusted, "ALWAYS", 2**20)
    data, fault = FAULTS[name]
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ValueError, match=fault) as refusal:
        list(read_rows(tmp_path / name))
    assert str(tmp_path / name) in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_row_of_csv_may_be_long_and_columns_may_have_no_name(tmp_path: Path):
    text = "word " * 2**20
    (tmp_path / "a.csv").write_text(f',,text\n1,2,"{text}"\n3,4,b\n')
    assert [row.text("text") for row in read_rows(tmp_path / "a.csv")] == [text, "b"]


def test_a_column_may_be_a_path_into_a_value(tmp_path: Path):
    nested = [
        {"ask": {"text": f"What is {n}?"}, "choices": [{"text": f"The number {n}."}]}
        for n in range(9)
    ]
    columns = {"instruction": "ask.text", "input": None, "response": "choices[0].text"}
    dataset = gathered(files(jsonl(tmp_path / "a.jsonl", nested), columns=columns))
    (example, *_) = dataset.splits["train"]
    number = example.instruction.removeprefix("What is ").removesuffix("?")
    assert example.responses == (f"The number {number}.",)
    columns["response"] = "choices[1].text"
    with pytest.raises(ValueError, match=r"a\.jsonl:1: no column 'choices\[1\]\.text', there are"):
        gathered(files(str(tmp_path / "a.jsonl"), columns=columns))


@pytest.mark.parametrize("name", ["", "*.jsonl", "**/*.jsonl"])
def test_a_folder_or_a_glob_means_all_of_its_tables(name: str, tmp_path: Path):
    parts = [jsonl(tmp_path / f"{part}.jsonl", rows(10, 10 * part)) for part in range(3)]
    (tmp_path / "notes.md").write_text("no table")
    train = f"{tmp_path}/{name}"
    assert sum(map(len, gathered(files(train)).splits.values())) == 30
    settings = Files(source="files", train=train)
    digests = of_examples(settings)["digests"]
    assert sorted(digests) == parts
    jsonl(tmp_path / "3.jsonl", rows(10, 30))
    assert len(of_examples(settings)["digests"]) == 4
