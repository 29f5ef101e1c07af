"""The code and its documentation avoid words that engineers of the field do not use."""

import ast
import re
from collections.abc import Iterator
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
NAMES = {"one", "found", "given", "at", "said"}  # of values, of which they say nothing
CODE = ("pipeline", "workflow", "benchmarks", "distilbench_conformance", "tests")
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


def names_of_values(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """The names that a module binds to values, with their lines; a class's fields are keys."""
    fields = {
        id(line.target)
        for block in ast.walk(tree)
        if isinstance(block, ast.ClassDef)
        for line in block.body
        if isinstance(line, ast.AnnAssign)
    }
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Name)
            and isinstance(node.ctx, ast.Store)
            and id(node) not in fields
        ):
            yield node.lineno, node.id
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg


@pytest.mark.parametrize("place", CODE)
def test_a_value_is_named_by_what_it_is_in(place: str) -> None:
    paths = sorted((ROOT / place).rglob("*.py"))
    assert paths
    assert [
        f"{path.relative_to(ROOT)}:{line}: {name}"
        for path in paths
        for line, name in names_of_values(ast.parse(path.read_text(encoding="utf-8")))
        if name in NAMES
    ] == []


def test_names_in_loops_lambdas_and_comprehensions_are_names_of_values() -> None:
    code = "for one in (): (lambda said: [at for at in ()])\ndef f(found): return (given := 1)"
    assert {name for _, name in names_of_values(ast.parse(code))} == NAMES
    keys = ast.parse("class Settings:\n    given: str = ''")
    assert list(names_of_values(keys)) == []
