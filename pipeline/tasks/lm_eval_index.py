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


def definitions(name: str) -> dict[Path, dict[str, Any]]:
    """What each file that defines a name says, with all that it includes."""
    return {path: task_yaml.read(path)[0] for path in files(name)}


@cache
def reached(name: str) -> dict[Path, dict[str, Any]]:
    """The definitions of a name and, of a group, of its members and theirs."""
    reached: dict[Path, dict[str, Any]] = {}
    waiting, seen = [name], {name}
    while waiting:
        new = definitions(waiting.pop())
        members = {member for values in new.values() for member in task_yaml.members(values)}
        reached |= new
        waiting += sorted(members - seen)
        seen |= members
    return reached


def folders(name: str) -> tuple[Path, ...]:
    """The folders that define a name and, of a group, its members and theirs."""
    parents = {path.parent for path in reached(name)}
    return tuple(path for path in sorted(parents) if not parents & set(path.parents))


def why_not_run(name: str) -> str | None:
    """What a task or a member of a group asks for that is not done here; None for others."""
    for path, values in reached(name).items():
        if reason := task_yaml.why_not_run(values):
            return (
                reason if path in files(name) else f"of its member {values.get('task')}, {reason}"
            )
    return None
