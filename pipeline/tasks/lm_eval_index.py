"""The names of lm-eval's tasks and the folders that define them, without importing lm-eval.

lm-eval's own index parses 14,000 YAML files, which takes 15 seconds. The names are at the beginning
of lines, where a pattern finds them in one.
"""

import importlib.util
import re
from collections import defaultdict
from functools import cache
from pathlib import Path
from typing import Any

from pipeline.tasks import task_yaml

NAME = re.compile(rb"""^["']?(?:task|group)["']?:[ \t]*["']?([^\s"'#]+)""", re.MULTILINE)
TAGS = re.compile(rb"""^["']?tag["']?:[ \t]*(\S.*|(?:\n[ \t]*-[ \t]*\S+)+)""", re.MULTILINE)
WORD = re.compile(rb"""[^\s"',\[\]{}#:-][^\s"',\[\]{}#:]*""")
GROUP = re.compile(rb"^group:", re.MULTILINE)


def root() -> Path:
    """The folder of lm-eval's own tasks."""
    spec = importlib.util.find_spec("lm_eval")
    assert spec is not None
    assert spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0]) / "tasks"


@cache
def index() -> dict[str, tuple[Path, ...]]:
    """The YAML files that define each task, group and tag."""
    files: defaultdict[str, list[Path]] = defaultdict(list)
    for path in sorted(root().glob("**/*yaml")):
        text = path.read_bytes()
        tags = {word for tag in TAGS.finditer(text) for word in WORD.findall(tag[1])}
        for name in {*NAME.findall(text), *tags}:
            files[name.decode()].append(path)
    return {name: tuple(paths) for name, paths in files.items()}


def files(name: str) -> tuple[Path, ...]:
    """The files that define a name; none where lm-eval doesn't have it."""
    return index().get(name, ())


@cache
def folders(name: str) -> tuple[Path, ...]:
    """The folders that define a name and, of a group, its members and theirs."""
    parents: set[Path] = set()
    waiting, seen = [name], {name}
    while waiting:
        for path in files(waiting.pop()):
            parents.add(path.parent)
            members = _members(path.read_bytes()) - seen
            seen |= members
            waiting += sorted(members)
    return tuple(path for path in sorted(parents) if not parents & set(path.parents))


def _members(text: bytes) -> set[str]:
    """The known names that a group's file mentions; names of other tasks do no harm."""
    words = WORD.findall(text) if GROUP.search(text) else []
    return {word.decode() for word in words} & index().keys()


def definitions(name: str) -> list[dict[str, Any]]:
    """What each file that defines a name says, with all that it includes."""
    return [task_yaml.read(path)[0] for path in files(name)]


def why_not_run(name: str) -> str | None:
    """What a task asks for that is not done here; None for others."""
    return next(filter(None, map(task_yaml.why_not_run, definitions(name))), None)
