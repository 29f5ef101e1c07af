"""The names of lm-eval's tasks and the folders that define them, without importing lm-eval.

lm-eval's own index parses 14,000 YAML files, which takes 15 seconds. The names are at the beginning
of lines, where a pattern finds them in one.
"""

import importlib.util
import re
from collections import defaultdict
from functools import cache
from pathlib import Path

NAME = re.compile(rb"""^["']?(?:task|group)["']?:[ \t]*["']?([^\s"'#]+)""", re.MULTILINE)
TASK = re.compile(rb"""^["']?task["']?:[ \t]*["']?([^\s"'#]+)""", re.MULTILINE)
TAGS = re.compile(rb"""^["']?tag["']?:[ \t]*(\S.*|(?:\n[ \t]*-[ \t]*\S+)+)""", re.MULTILINE)
WORD = re.compile(rb"""[^\s"',\[\]{}#:-][^\s"',\[\]{}#:]*""")
GROUP = re.compile(rb"^group:", re.MULTILINE)
IN_PYTHON = re.compile(rb"^(class|custom_dataset):", re.MULTILINE)
INCLUDE = re.compile(rb"""^include:[ \t]*["']?([^\s"'#]+)""", re.MULTILINE)
NOT_RUN = {  # keys of tasks that lm-eval doesn't run unless it is told to, or for such a model
    "it runs what a model writes as code (unsafe_code)": rb"^unsafe_code:[ \t]*[Tt]rue",
    "it shows pictures or sound (doc_to_image, doc_to_audio)": rb"^doc_to_(?:image|audio):",
}


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


def task_files(name: str) -> list[Path]:
    """The files that define a task of that name; none for a group or a tag."""
    return [path for path in files(name) if name.encode() in TASK.findall(path.read_bytes())]


def is_in_python(name: str) -> bool:
    """Whether the task makes its documents by code of its own instead of reading a data set."""
    return any(IN_PYTHON.search(path.read_bytes()) for path in files(name))


def why_not_run(name: str) -> str | None:
    """What a task asks for that an evaluation of a language model doesn't do; None for others."""
    texts = [text for path in files(name) for text in _with_included(path)]
    reasons = (
        reason
        for reason, key in NOT_RUN.items()
        if any(re.search(key, text, re.M) for text in texts)
    )
    return next(reasons, None)


def _with_included(path: Path) -> list[bytes]:
    """The text of a file, and of the files that it includes."""
    text = path.read_bytes()
    included = (path.parent / name.decode() for name in INCLUDE.findall(text))
    return [text, *(other for file in included for other in _with_included(file))]
