"""A configuration file as data: its values, the line of each key, and the traps of its syntax.

Snakemake reads the same file by a loader with a template language, in which a file may run Python.
Nothing here runs anything: what is not plain data is refused, with its line.
"""

import contextlib
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

TEMPLATE_KEY = "__use_yte__"  # lets Snakemake evaluate the expressions in a file
MOST_VALUES = 100_000  # of a file, an alias counted with all that it stands for
MOST_DIGITS = 30  # of a number
KEY = re.compile(r"[\w.-]+")
OCTAL = re.compile(r"[-+]?0[0-9_]+")
SURROGATE = re.compile(r"[\ud800-\udfff]")
TAG = "tag:yaml.org,2002:"
CODE = (
    "a configuration is data, and this key lets Snakemake run what is in it as code; remove the key"
)
PLAIN_TAGS = {f"{TAG}{name}" for name in ("str", "int", "float", "bool", "null", "map", "seq")}


class ConfigError(ValueError):
    """Everything that is wrong with a configuration, a line each."""


@dataclass(frozen=True)
class ConfigFile:
    """The values of a file, and the lines of its keys by their dotted paths."""

    path: Path
    values: dict[str, Any]
    lines: Mapping[str, int]

    def located(self, faults: Iterable[str]) -> str:
        """Faults in the order of the file, each after the file and the line of its key."""
        by_line = sorted((self._line(key_of(fault)), fault) for fault in dict.fromkeys(faults))
        return "\n".join(
            f"{self.path}:{line}: {fault}" if line else f"{self.path}: {fault}"
            for line, fault in by_line
        )

    def _line(self, key: str) -> int:
        """The line of a key, or of what it would be in; 0 at the top level."""
        while key and key not in self.lines:
            key = key.rpartition(".")[0]
        return self.lines.get(key, 0)


def key_of(fault: str) -> str:
    """The path of the key that a fault begins with."""
    match = KEY.match(fault)
    return match[0] if match else ""


def read(path: Path) -> ConfigFile:
    """A configuration file, JSON or YAML.

    Raises: ConfigError with a line for each fault of its syntax.
    """
    text = _text(path)
    try:
        values = _json(text)
        nodes = _Nodes(path, text, is_json=values is not None)
        values = values if nodes.is_json else nodes.values()
    except RecursionError:
        raise ConfigError(f"{path}: a block is nested too deeply, or contains itself") from None
    file = ConfigFile(path, values if isinstance(values, dict) else {}, nodes.lines)
    if nodes.faults:
        raise ConfigError(file.located(nodes.faults))
    if not file.values:
        raise ConfigError(f"{path}: it holds no keys; config.yaml shows what a configuration has")
    return file


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(f"{path}: there is no such file") from None
    except OSError as error:
        raise ConfigError(f"{path}: it can't be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: it is not UTF-8 ({error.reason}); convert the file") from None


def _json(text: str) -> object:
    """The values of a JSON text; None if it is none, or null."""
    try:
        return json.loads(text)
    except ValueError:  # a faulty one too: it is read as YAML, whose messages have lines
        return None


def exists(path: str, kind: Callable[[Path], bool] = Path.exists) -> bool:
    """Whether there is such a file or folder; there is none of a name that no file could have."""
    with contextlib.suppress(OSError, ValueError):
        return kind(Path(path))
    return False


@dataclass
class _Nodes:
    """A text as YAML's nodes: the line of each key, and what is not plain data."""

    path: Path
    text: str
    is_json: bool
    lines: dict[str, int] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    visited: int = 0

    def __post_init__(self) -> None:
        self.root = self._composed()
        if self.root is not None:
            self._visit(self.root, "")

    def values(self) -> Any:
        """The values; none where something is not plain data."""
        if self.root is None or self.faults:
            return {}
        return yaml.SafeLoader("").construct_document(self.root)

    def _composed(self) -> yaml.Node | None:
        # tabs, which YAML refuses there, are in a JSON text between its values only
        text = self.text.replace("\t", " ") if self.is_json else self.text
        try:
            return yaml.compose(text, Loader=yaml.SafeLoader)
        except yaml.MarkedYAMLError as error:
            if self.is_json:
                return None  # its lines stay unknown
            mark = error.problem_mark or error.context_mark
            line = f":{mark.line + 1}" if mark else ""
            raise ConfigError(f"{self.path}{line}: invalid YAML ({error.problem})") from None
        except yaml.YAMLError as error:
            raise ConfigError(
                f"{self.path}: invalid YAML ({' '.join(str(error).split())})"
            ) from None

    def _visit(self, node: yaml.Node, key: str) -> None:
        self.visited += 1
        if self.visited > MOST_VALUES:
            raise ConfigError(f"{self.path}: it holds more than {MOST_VALUES} values")
        if fault := _node_fault(node):
            self.faults.append(f"{key}: {fault}")
        elif isinstance(node, yaml.SequenceNode):
            for index, item in enumerate(node.value):
                self._visit_under(item, item, f"{key}.{index}")
        elif isinstance(node, yaml.MappingNode):
            self._visit_keys(node, key)

    def _visit_keys(self, node: yaml.MappingNode, key: str) -> None:
        first: dict[str, int] = {}  # line of each key
        for name, value in node.value:
            text = name.value if isinstance(name, yaml.ScalarNode) else "?"
            line = name.start_mark.line + 1
            path = f"{key}.{text}".lstrip(".")
            if name.tag == f"{TAG}merge":
                self._visit(value, path)
            elif name.tag != f"{TAG}str":
                self.lines.setdefault(path, line)
                self.faults.append(f"{path}: a key must be text; put it in quotes")
            elif text in first:
                self.faults.append(f"{path}: the key is in lines {first[text]} and {line}")
            elif path == TEMPLATE_KEY:
                self.lines[path] = line
                self.faults.append(f"{path}: {CODE}")
            else:
                first[text] = line
                self._visit_under(name, value, path)

    def _visit_under(self, mark: yaml.Node, node: yaml.Node, path: str) -> None:
        self.lines.setdefault(path, mark.start_mark.line + 1)
        self._visit(node, path)


def _node_fault(node: yaml.Node) -> str:
    """Why a node is not what it looks like."""
    kind, value = node.tag.removeprefix(TAG), node.value
    if node.tag == f"{TAG}timestamp":
        return f"{value} is a date in YAML; put it in quotes"
    if node.tag not in PLAIN_TAGS:
        return f"the tag {node.tag} is not supported; a configuration is plain data"
    if not isinstance(node, yaml.ScalarNode):
        return ""
    if kind == "bool" and value.lower() not in ("true", "false"):
        return f"{value} is a boolean in YAML; write true or false, or put it in quotes"
    if kind in ("int", "float") and ":" in value:
        return f"{value} is a sexagesimal number in YAML; put it in quotes"
    if kind in ("int", "str") and node.style is None and OCTAL.fullmatch(value):
        return f"{value} is octal in YAML; leave the leading zero out, or put it in quotes"
    if kind == "int" and len(value) > MOST_DIGITS:
        return f"a number of {len(value)} digits"
    return ""


def value_faults(value: object, key: str = "") -> Iterator[str]:
    """Numbers that are none, and halves of characters."""
    if isinstance(value, float) and not math.isfinite(value):
        yield f"{key}: {value} is not a finite number"
    elif isinstance(value, int) and abs(value) >= 10**MOST_DIGITS:
        yield f"{key}: a number of more than {MOST_DIGITS} digits"
    elif isinstance(value, str) and (half := SURROGATE.search(value)):
        yield f"{key}: it holds {half[0]!r}, half of a character"
    elif isinstance(value, Mapping | list):
        entries = value.items() if isinstance(value, Mapping) else enumerate(value)
        for name, inner in entries:
            if isinstance(name, str) and SURROGATE.search(name):
                yield f"{key}: the key {name!r} holds half of a character"
            yield from value_faults(inner, f"{key}.{name}".lstrip("."))
