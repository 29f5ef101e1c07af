"""A digest of the source that a stage runs: blind to comments, formatting and docstrings.

Snakemake doesn't see edits in imported Python. Each rule gets this digest as a parameter, so an
edit reruns the jobs whose code it changed, and no others. The digests of the single files are
recorded, so that a plan can name those that have changed.
"""

import ast
import hashlib
import json
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from pipeline.artifacts.artifact import atomic_write

ROOT = Path(__file__).parents[2]
NOT_IN_RESULTS = {
    "pipeline.stages.options",  # flags: paths, and what the machine gives
    "pipeline.training.step_log",  # for those who watch
    "pipeline.training.trackers",
}

RECORDS = Path("results/sources")

Sources = dict[str, str]  # a digest of each file that counts for a stage


@cache
def digest(module: str, plugins: tuple[str, ...] = ()) -> str:
    """Eight hex digits over the import closure of a module, and of what it loads by name."""
    return joined(f"{path} {digest}" for path, digest in sources(module, plugins).items())


def joined(parts: Iterable[str]) -> str:
    """Eight hex digits over a set of digests: their order and number say nothing."""
    return hashlib.sha256("\n".join(sorted(set(parts))).encode()).hexdigest()[:8]


def sources(module: str, plugins: tuple[str, ...] = ()) -> Sources:
    """A digest of each file that counts for a stage."""
    modules = set().union(*(closure(name) for name in (module, *plugins)))
    return {str(_file(name).relative_to(ROOT)): _module_digest(name) for name in sorted(modules)}


def record(code: str, sources: Mapping[str, str]) -> None:
    """Records the files behind a digest, where that isn't done yet."""
    path = RECORDS / f"{code}.json"
    if not path.exists():
        with atomic_write(path) as temporary:
            temporary.write_text(json.dumps(sources, indent=1), encoding="utf-8")


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
    names: set[str] = set()
    for node in ast.walk(_tree(module)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(name for name in names if _path(name) is not None)


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
def _tree(module: str) -> ast.Module:
    path = _file(module)
    return ast.parse(path.read_bytes(), str(path))


@cache
def _module_digest(module: str) -> str:
    code: list[str] = []
    _spell(_tree(module), code)
    # assets beside a package (templates, styles) are code too
    path, assets = _file(module), []
    if path.name == "__init__.py":
        assets = [file.read_bytes() for file in sorted(path.parent.glob("*.*")) if _is_asset(file)]
    return hashlib.sha256(b"\0".join([" ".join(code).encode(), *assets])).hexdigest()[:16]


def _spell(value: Any, code: list[str]) -> None:
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


def _without_docstring(node: Any) -> Any:
    body = node.body
    if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        return body
    first = body[0] if body else None
    is_docstring = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    return body[1:] if is_docstring else body


def _is_asset(path: Path) -> bool:
    return path.suffix in {".jinja", ".css", ".js", ".html", ".csv"}
