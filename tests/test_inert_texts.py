"""Texts from elsewhere run nothing, whatever opens the files of a report or a terminal's output."""

import csv
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from reports import ODD_NAME, Made

from pipeline.runtime.inert import OBEYED, inert, inert_line
from workflow.commands import console

FORMULA = re.compile(r"[=+\-@\t\r\n]")
ACTIVE = re.compile(rb"/(JavaScript|JS|URI|Launch|OpenAction|SubmitForm|EmbeddedFile)\b")


def html(path: Path) -> Iterator[object]:
    """None: a real browser opens the page in its own test."""
    text = path.read_text()
    yield from re.findall(r"<img src=x|<svg onload|\[a\]\(javascript:alert\(1", text)


def spreadsheet(path: Path) -> Iterator[object]:
    with path.open(newline="") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    for cell in filter(FORMULA.match, cells):
        try:
            float(cell)
        except ValueError:
            yield cell


def markdown(path: Path) -> Iterator[object]:
    """What a reader of Markdown would make of it, beside text and tables."""
    tokens = MarkdownIt("commonmark", {"html": True}).enable("table").parse(path.read_text())
    inside = [token for whole in tokens for token in (whole, *(whole.children or ()))]
    allowed = ("table", "t", "paragraph", "inline", "text", "strong", "softbreak")
    yield from (token for token in inside if not token.type.startswith(allowed))


def drawing(path: Path) -> Iterator[object]:
    for element in ElementTree.parse(path).iter():
        name = element.tag.rpartition("}")[2]
        if name in ("script", "a", "image", "foreignObject", "iframe"):
            yield name
        for key, value in element.attrib.items():
            if key.startswith("on") or (key.endswith("href") and not value.startswith("#")):
                yield key, value


def latex(path: Path) -> Iterator[object]:
    yield from re.findall(r"\\input\{/|\\(?:write18|frac)\b", path.read_text())


def pdf(path: Path) -> Iterator[object]:
    yield from ACTIVE.findall(path.read_bytes())


def data(_: Path) -> Iterator[object]:
    """Nothing: what reads these files runs nothing that is in them."""
    return iter(())


READERS = {
    ".html": html,
    ".csv": spreadsheet,
    ".md": markdown,
    ".svg": drawing,
    ".tex": latex,
    ".pdf": pdf,
    ".json": data,
    ".parquet": data,
    ".png": data,
}
BINARY = (".pdf", ".parquet", ".png")


@pytest.mark.slow
@pytest.mark.xdist_group("report")
def test_no_file_of_a_report_runs_what_a_model_or_a_task_says(one_seed: Made) -> None:
    files = [path for path in one_seed.folder.rglob("*") if path.is_file()]
    faults = [(path.name, fault) for path in files for fault in READERS[path.suffix](path)]
    texts = [path for path in files if path.suffix not in BINARY]
    assert faults == []
    assert [path.name for path in texts if OBEYED.search(path.read_text())] == []
    assert {".html", ".csv", ".md", ".svg", ".pdf"} <= {path.suffix for path in files}
    tables = "".join(path.read_text() for path in texts if path.suffix == ".csv")
    assert f"'{ODD_NAME}" in tables
    assert not OBEYED.search(one_seed.output)


@pytest.mark.parametrize("sign", ["\x1b[2J", "\x1b]0;x\x07", "\x9b2J", "\0", "\x7f", "\u202eabc"])
def test_a_terminal_gets_nothing_to_obey(sign: str, capsys: pytest.CaptureFixture[str]) -> None:
    console.show_table(("path",), [(f"results/{sign}",)])
    assert not OBEYED.search(capsys.readouterr().out)


def test_a_text_keeps_what_is_only_shown() -> None:
    text = "a\tb\nсловo 数学 שלום \u200f 👩\u200d🔬"
    assert inert(text) == text
    assert inert_line("a\n b\t\x1bc") == "a b \ufffdc"
