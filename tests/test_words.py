"""The code and its documentation avoid words that engineers of the field do not use."""

import re
from pathlib import Path

import pytest
from snaking import ROOT

BANNED = (
    "nobody",
    "whoever",
    "somebody",
    "anew",
    "mends?",
    "likewise",
    "likeliest",
    "goes on",
    "going on",
    "gone on",
    "so many",
    "told apart",
)
PATTERN = re.compile(rf"\b({'|'.join(BANNED)})\b", re.IGNORECASE)
SUFFIXES = {".py", ".md", ".yaml", ".toml", ".smk"}


def offences(path: Path) -> list[str]:
    lines = enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
    return [
        f"{path.relative_to(ROOT)}:{number}: {match[0]!r}"
        for number, line in lines
        for match in PATTERN.finditer(line)
    ]


@pytest.mark.parametrize("place", ["pipeline", "docs", "README.md", "config.yaml"])
def test_no_banned_word_in(place: str) -> None:
    paths = [path for path in (ROOT / place, *(ROOT / place).rglob("*")) if path.suffix in SUFFIXES]
    assert paths
    assert [line for path in sorted(paths) for line in offences(path)] == []
