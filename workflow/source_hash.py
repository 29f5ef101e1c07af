"""A digest of the source that a stage runs: blind to comments, formatting and docstrings.

Snakemake doesn't see edits in imported Python. Each rule gets this digest as a parameter, so an
edit reruns the jobs whose code it changed, and no others.
"""

import ast
import hashlib
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent


def digest(module: str, plugins: tuple[str, ...] = ()) -> str:
    """Eight hex digits over the import closure of a module, and of what it loads by name."""
    modules = sorted(set().union(*(closure(name) for name in (module, *plugins))))
    lines = [f"{name} {_module_digest(name)}" for name in modules]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:8]


@cache
def closure(module: str) -> frozenset[str]:
    """The modules of this project that a module imports, directly or not, and itself."""
    found, waiting = {module}, [module]
    while waiting:
        one = waiting.pop()
        for name in (_imports(one) | _packages(one)) - found:
            found.add(name)
            waiting.append(name)
    return frozenset(found)


def _packages(module: str) -> set[str]:
    """The packages around a module: their `__init__` runs before it."""
    parts = module.split(".")
    return {".".join(parts[:count]) for count in range(1, len(parts))}


@cache
def _imports(module: str) -> frozenset[str]:
    found: set[str] = set()
    for node in ast.walk(_tree(module)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(name for name in found if _path(name) is not None)


def _path(module: str) -> Path | None:
    base = ROOT.joinpath(*module.split("."))
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.is_file():
            return path
    return None


@cache
def _tree(module: str) -> ast.Module:
    path = _path(module)
    assert path is not None, module
    return ast.parse(path.read_text(), str(path))


@cache
def _module_digest(module: str) -> str:
    tree = _Bare().visit(ast.parse(ast.unparse(_tree(module))))
    # assets beside a package (templates, styles) are code too
    path = _path(module)
    assert path is not None
    assets = []
    if path.name == "__init__.py":
        assets = [one.read_bytes() for one in sorted(path.parent.glob("*.*")) if _is_asset(one)]
    code = ast.unparse(tree).encode()
    return hashlib.sha256(b"\0".join([code, *assets])).hexdigest()[:16]


def _is_asset(path: Path) -> bool:
    return path.suffix in {".jinja", ".css", ".js", ".html", ".csv"}


class _Bare(ast.NodeTransformer):
    """Removes docstrings."""

    def visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                node.body = node.body[1:] or [ast.Pass()]
        return node
