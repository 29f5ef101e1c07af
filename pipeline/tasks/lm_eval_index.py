"""Which tasks lm-eval has and in which folders they are, without importing it or parsing them all.

lm-eval's own index takes 15 seconds: it parses 14,000 files. Names stand at the beginning of lines,
so a pattern finds them in about a second, and the usual ones are found by their file's name.
"""

import importlib.util
import re
from collections import defaultdict
from collections.abc import Iterable
from functools import cache
from pathlib import Path

NAMED = re.compile(rb"""^["']?(task|group)["']?:[ \t]*["']?([^\s"'#]+)""", re.MULTILINE)
TAGS = re.compile(
    rb"""^["']?tag["']?:[ \t]*(\S.*|(?:\n[ \t]*-[ \t]*\S+)+)""",
    re.MULTILINE,
)
WORD = re.compile(rb"""[^\s"',\[\]#-][^\s"',\[\]#]*""")
GROUP = re.compile(rb"^group:", re.MULTILINE)
MEMBER = re.compile(  # of a group: "- name", "- task: name", or "task: name" below "- group: .."
    rb"""^[ \t]*-[ \t]*(?:(?:task|group):[ \t]*)?["']?([\w./:+-]+)|^[ \t]+task:[ \t]*(\S+)""",
    re.MULTILINE,
)
IN_PYTHON = re.compile(rb"^(class|custom_dataset):", re.MULTILINE)


def root() -> Path:
    """The folder of lm-eval's tasks."""
    spec = importlib.util.find_spec("lm_eval")
    assert spec is not None
    assert spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0]) / "tasks"


@cache
def quickly(name: str) -> Path | None:
    """The file of a task or group that is called like it; None where that takes a search."""
    for path in _files():
        if path.stem.lstrip("_") == name and name in _named(path.read_bytes()):
            return path
    return None


@cache
def _files() -> tuple[Path, ...]:
    return tuple(sorted(root().glob("**/*yaml")))


def _named(text: bytes) -> set[str]:
    return {match[2].decode() for match in NAMED.finditer(text)}


@cache
def index() -> dict[str, tuple[Path, ...]]:
    """The files of every task, group and tag."""
    found: defaultdict[str, list[Path]] = defaultdict(list)
    for path in _files():
        text = path.read_bytes()
        tags = {word.decode() for match in TAGS.finditer(text) for word in WORD.findall(match[1])}
        for name in _named(text) | tags:
            found[name].append(path)
    return {name: tuple(paths) for name, paths in found.items()}


def files(name: str) -> tuple[Path, ...]:
    """The files that define a name; empty where lm-eval has none of that name."""
    path = quickly(name)
    return (path,) if path is not None else index().get(name, ())


@cache
def folders(name: str) -> tuple[Path, ...]:
    """The folders that hold a name, and all that is in the group or tag behind it."""
    found: dict[Path, None] = {}
    waiting, seen = [name], {name}
    while waiting:
        for path in files(waiting.pop()):
            found[path.parent] = None
            others = _members(path.read_bytes()) - seen
            seen |= others
            waiting += sorted(others)
    return tuple(_outermost(found))


def _members(text: bytes) -> set[str]:
    """What a group may list; what is none of lm-eval's names does no harm."""
    if not GROUP.search(text):
        return set()
    return {(one or other).decode() for one, other in MEMBER.findall(text)}


def _outermost(paths: Iterable[Path]) -> list[Path]:
    given = set(paths)
    return [path for path in sorted(given) if not given & set(path.parents)]


def is_in_python(name: str) -> bool:
    """Whether the task's documents are made by code of its own, and not read from a data set."""
    return any(IN_PYTHON.search(path.read_bytes()) for path in files(name))
