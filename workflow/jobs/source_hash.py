"""A digest of the source that a stage runs: blind to comments, formatting and docstrings.

Snakemake doesn't see edits in imported Python. Each rule gets this digest as a parameter, so an
edit reruns the jobs whose code it changed, and no others. The digests of the single files are
recorded, so that a plan can name those that have changed.
"""

import ast
import contextlib
import hashlib
import json
import sys
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

from pipeline.artifacts.artifact import replace_text

ROOT = Path(__file__).parents[2]
NOT_IN_RESULTS = {
    "pipeline.stages.options",  # flags: paths, and what the machine gives
    "pipeline.training.step_log",  # for those who watch
    "pipeline.training.trackers",
}

RECORDS = Path("results/sources")
# what was read from files, by their bytes: to parse them all takes a second at each start
PARSED = Path(".snakemake/parsed_sources.json")

Sources = dict[str, str]  # a digest of each file that counts for a stage


class Parsed(NamedTuple):
    """What counts of a file of Python."""

    imports: list[str]  # names of modules, and of what may be one
    code: str  # a digest of its code, and of assets beside it


@cache
def digest(module: str, plugins: tuple[str, ...] = ()) -> str:
    """Eight hex digits over the import closure of a module, and of what it loads by name."""
    return joined(f"{path} {digest}" for path, digest in sources(module, plugins).items())


def joined(parts: Iterable[str]) -> str:
    """Eight hex digits over a set of digests: their order and number say nothing."""
    return hashlib.sha256("\n".join(sorted(set(parts))).encode()).hexdigest()[:8]


def sources(module: str, plugins: tuple[str, ...] = ()) -> Sources:
    """A digest of each file that counts for a stage."""
    parsed_before = len(_parsed_files())
    modules = set().union(*(closure(name) for name in (module, *plugins)))
    digests = {str(_file(name).relative_to(ROOT)): _parsed(name).code for name in sorted(modules)}
    if len(_parsed_files()) > parsed_before and PARSED.parent.is_dir():
        with contextlib.suppress(OSError):  # the next start parses again
            replace_text(PARSED, json.dumps(_parsed_files()))
    return digests


def record(code: str, sources: Mapping[str, str]) -> None:
    """Records the files behind a digest, where that isn't done yet."""
    path = RECORDS / f"{code}.json"
    if not path.exists():
        replace_text(path, json.dumps(sources, indent=1))


def recorded(code: str) -> Sources | None:
    """The files behind a digest; None if there is no record."""
    try:
        sources = json.loads((RECORDS / f"{code}.json").read_bytes())
    except (OSError, ValueError):
        return None
    return sources if isinstance(sources, dict) else None


def changed_files(old: Mapping[str, str], new: Mapping[str, str]) -> tuple[str, ...]:
    """The files that differ, are new, or are no longer used."""
    return tuple(file for file in sorted({*old, *new}) if old.get(file) != new.get(file))


@cache
def closure(module: str) -> frozenset[str]:
    """A module and all that it imports, directly or not."""
    modules, waiting = {module}, [module]
    while waiting:
        importer = waiting.pop()
        for name in (_imports(importer) | _packages(importer)) - modules - NOT_IN_RESULTS:
            modules.add(name)
            waiting.append(name)
    return frozenset(modules)


def _packages(module: str) -> set[str]:
    """The packages around a module: their `__init__` runs before it."""
    parts = module.split(".")
    return {".".join(parts[:count]) for count in range(1, len(parts))}


@cache
def _imports(module: str) -> frozenset[str]:
    return frozenset(name for name in _parsed(module).imports if _path(name) is not None)


@cache
def _path(module: str) -> Path | None:
    base = ROOT.joinpath(*module.split("."))
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.is_file():
            return path
    return None


def _file(module: str) -> Path:
    path = _path(module)
    assert path is not None, module
    return path


@cache
def _parsed_files() -> dict[str, Parsed]:
    """What is known of files by the digest of their bytes; empty if that can't be read."""
    try:
        return {key: Parsed(*value) for key, value in json.loads(PARSED.read_bytes()).items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


@cache
def _parsed(module: str) -> Parsed:
    path = _file(module)
    source, assets = path.read_bytes(), list[bytes]()
    # assets beside a package (templates, styles) are code too
    if path.name == "__init__.py":
        assets = [file.read_bytes() for file in sorted(path.parent.glob("*.*")) if _is_asset(file)]
    known = _parsed_files()
    key = hashlib.sha256(b"\0".join([_parser(), source, *assets])).hexdigest()
    if key not in known:
        tree, code = ast.parse(source, str(path)), list[str]()
        _spell(tree, code)
        digest = hashlib.sha256(b"\0".join([" ".join(code).encode(), *assets])).hexdigest()[:16]
        known[key] = Parsed(sorted(_imported(tree)), digest)
    return known[key]


@cache
def _parser() -> bytes:
    """What a file is parsed with: this module and Python."""
    return sys.version.encode() + Path(__file__).read_bytes()


def _imported(tree: ast.Module) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def _spell(value: object, code: list[str]) -> None:
    """Appends a syntax tree to `code`, without line numbers and docstrings.

    Faster than `ast.unparse`, and fields without a value are left out: a Python that adds a field
    to its trees gives the same digests.
    """
    if isinstance(value, ast.AST):
        code.append(type(value).__name__)
        for field in value._fields:
            child = _without_docstring(value) if field == "body" else getattr(value, field, None)
            if child is not None and child != []:
                code.append(field)
                _spell(child, code)
    elif isinstance(value, list):
        code.append("[")
        for element in value:
            _spell(element, code)
        code.append("]")
    else:
        code.append(repr(value))


def _without_docstring(node: ast.AST) -> object:
    if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        return getattr(node, "body", None)
    body = node.body
    first = body[0] if body else None
    is_docstring = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    return body[1:] if is_docstring else body


def _is_asset(path: Path) -> bool:
    return path.suffix in {".jinja", ".css", ".js", ".html", ".csv"}
