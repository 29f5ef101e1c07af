"""Data from strangers: rows in files of the data set itself, and nothing that runs or swells."""

import gzip
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from small_tables import files, gathered

from pipeline.data import untrusted
from pipeline.data.rows import read_rows
from pipeline.settings.data import DataSettings
from pipeline.tasks import hub

ROW = {"instruction": "Who?", "input": "", "output": "Me."}
SWOLLEN = 12_000_000  # bytes
Make = Callable[[Path, Path], None]  # fills a folder; its code would make the file


class Opens:
    """Opens a file for writing as soon as it is unpickled."""

    def __init__(self, canary: Path):
        self.canary = canary

    def __reduce__(self) -> tuple[object, ...]:
        return open, (str(self.canary), "w")


def rows(folder: Path) -> None:
    (folder / "train.jsonl").write_text(json.dumps(ROW) + "\n")


def described(data_files: str) -> Make:
    """A data set whose description says which files it has."""

    def make(folder: Path, _: Path) -> None:
        rows(folder)
        head = f"---\nconfigs:\n- config_name: default\n  data_files: '{data_files}'\n---\n"
        (folder / "README.md").write_text(head)

    return make


def link(folder: Path, _: Path) -> None:
    (folder / "train.txt").symlink_to("/etc/passwd")


def script(folder: Path, canary: Path) -> None:
    rows(folder)
    (folder / f"{folder.name}.py").write_text(f"open({str(canary)!r}, 'w').close()\n")


def pickled(folder: Path, canary: Path) -> None:
    (folder / "train.pkl").write_bytes(pickle.dumps(Opens(canary)))


def markup(folder: Path, _: Path) -> None:
    (folder / "train.xml").write_text("<a>b</a>")


def no_rows(folder: Path, _: Path) -> None:
    (folder / "train.jsonl").write_text('{"instruction": "Who?"\n')


def equal_texts(file: Path, rows: int, *, coded: bool = False) -> None:
    """Columns of one text, which Parquet keeps once; coded: Arrow does so, too."""
    column = pa.array(["x" * 4_000] * rows)
    column = column.dictionary_encode() if coded else column
    pq.write_table(pa.table(dict.fromkeys(ROW, column)), file)


def parquet_bomb(folder: Path, _: Path) -> None:
    equal_texts(folder / "train.parquet", SWOLLEN // 4_000)


def gzip_bomb(folder: Path, _: Path) -> None:
    (folder / "train.jsonl.gz").write_bytes(gzip.compress(bytes(SWOLLEN)))


def zip_bomb(folder: Path, _: Path) -> None:
    with zipfile.ZipFile(folder / "train.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("train.jsonl", bytes(SWOLLEN))


SWELLS = r"unpacks to more than \d+, over 200 times as much: it is not read"
CASES: dict[str, tuple[Make, str]] = {
    "a file elsewhere": (described("../secret.txt"), r"leads out of the folder, to .*secret\.txt"),
    "a file of the system": (described("/etc/passwd"), "Unable to find '/etc/passwd'"),
    "a file by its address": (described("file:///etc/passwd"), "Unable to find 'file:///etc/pass"),
    "a link elsewhere": (link, "leads out of the folder, to /etc/passwd"),
    "a script": (script, "Dataset scripts are no longer supported"),
    "a pickle": (pickled, r"No \(supported\) data files found"),
    "a format of no rows": (markup, "it is of the format xml; allowed: json, csv, parquet"),
    "a file that is cut": (no_rows, "can't be read: An error occurred while generating"),
    "a Parquet file that swells": (parquet_bomb, SWELLS),
    "an archive that swells": (zip_bomb, SWELLS),
    "a compressed file that swells": (gzip_bomb, SWELLS),
}


@pytest.fixture(autouse=True)
def _little_is_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(untrusted, "ALWAYS", 2**20)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder, beside a file that is none of its business."""
    (tmp_path / "secret.txt").write_text("secret\n")
    (tmp_path / "set").mkdir()
    return tmp_path / "set"


@pytest.mark.parametrize("case", CASES)
def test_a_data_set_from_a_stranger_is_refused_in_a_line(case: str, folder: Path):
    make, message = CASES[case]
    canary = folder.parent / "canary"
    make(folder, canary)

    examples = {"source": "hub", "name": str(folder), "validation": 1, "test": 1}
    with pytest.raises(ValueError, match=message) as refusal:
        gathered(DataSettings.model_validate({"examples": examples}))
    assert "\n" not in str(refusal.value)
    with pytest.raises(ValueError, match=message):
        hub.dataset(str(folder), None, None)  # as the data of a task
    assert not canary.exists()


@pytest.mark.parametrize("coded", [False, True])
def test_a_file_of_rows_does_not_swell_either(tmp_path: Path, coded: bool):
    equal_texts(tmp_path / "train.parquet", SWOLLEN // 4_000, coded=coded)
    with pytest.raises(ValueError, match=SWELLS):
        gathered(files(str(tmp_path / "train.parquet")))


def test_repetitive_rows_of_ordinary_size_are_read(tmp_path: Path):
    equal_texts(tmp_path / "train.parquet", 100)
    assert len(list(read_rows(tmp_path / "train.parquet"))) == 100
