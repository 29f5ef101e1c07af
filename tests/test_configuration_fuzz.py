"""Every key of the configuration, misspelt, doubled, and given each kind of wrong value.

Each is refused in short lines that begin with the path of a key, or accepted and meaningful: what
was read is read again from what it is written as, and makes the same artifacts.
"""

import copy
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from annotations import unchecked
from configuration_keys import blocks
from every_key import VARIANTS, Config, with_every_key
from snaking import edited

from pipeline.settings.experiment import Experiment
from workflow.config.config_file import ConfigError, key_of, read
from workflow.config.validate import validate
from workflow.grid.grid import Grid

WRONG: dict[str, Any] = {
    "text": "fuzz",
    "digits": "7",
    "half a character": "\ud800",
    "a long text": "x" * 5000,
    "a command": "a\nb: $(touch x) {y}",
    "a boolean": True,
    "zero": 0,
    "a negative number": -1,
    "a huge number": 10**18,
    "a number of 400 digits": 10**400,
    "a huge float": 1e300,
    "not a number": float("nan"),
    "infinity": float("inf"),
    "null": None,
    "an empty text": "",
    "an empty list": [],
    "an empty block": {},
    "a list": ["fuzz", "fuzz"],
    "a list of a number": [1],
    "a block": {"fuzz": 1},
    "a deep list": [[[[{"a": [1]}]]]],
}
TRAPS = ("no", "010", "1:30", "2026-11-28", "!!python/name:os.system")
LONGEST, MOST = 1500, 4  # characters of a line; lines, as one value may make several keys faulty
Key = tuple[str | int, ...]


@pytest.fixture(scope="module")
def whole(tiny: Config, tmp_path_factory: pytest.TempPathFactory) -> Config:
    return with_every_key(tiny, tmp_path_factory.mktemp("fuzz"))


def keys(block: Any, path: Key = ()) -> Iterator[Key]:
    """The paths of all values in a configuration."""
    entries = dict(enumerate(block)) if isinstance(block, list) else block
    for name, value in entries.items() if isinstance(entries, dict) else ():
        yield (*path, name)
        yield from keys(value, (*path, name))


def value_of(config: Config, key: Key) -> Any:
    """The value under a key."""
    value: Any = config
    for part in key:
        value = value[part]
    return value


def changed(config: Config, key: Key, change: Callable[[Any, Any], None]) -> Config:
    """The configuration after a change of the block that holds a key."""
    copied = copy.deepcopy(config)
    change(value_of(copied, key[:-1]), key[-1])
    return copied


@dataclass
class Outcomes:
    """What became of mutations of a configuration."""

    refused: int = 0
    accepted: list[str] = field(default_factory=list)
    bad: list[str] = field(default_factory=list)

    def add(self, name: str, config: Config) -> None:
        """Counts one mutation: refused, accepted, or neither."""
        try:
            experiment = validate(config)
            written = json.loads(experiment.model_dump_json(exclude_unset=True))
            assert set(Grid(validate(written)).artifacts) == set(Grid(experiment).artifacts)
        except ConfigError as error:
            lines = str(error).splitlines()
            self.refused += 1
            if len(lines) > MOST or not all(key_of(line) and len(line) < LONGEST for line in lines):
                self.bad.append(f"{name}: {[line[:200] for line in lines]}")
        except Exception as error:
            self.bad.append(f"{name}: {type(error).__name__}: {str(error)[:200]}")
        else:
            self.accepted.append(name)


def set_to(value: object) -> Callable[[Any, Any], None]:
    """A change that gives a key another value."""
    return lambda block, key: block.__setitem__(key, value)


def misspell(block: Any, key: Any) -> None:
    """A change that doubles a key's last letter."""
    block[f"{key}{key[-1]}"] = block.pop(key)


def mutations(config: Config, block: Key) -> Iterator[tuple[str, Config]]:
    """Every mutation of the keys of one block, by a name that says what it is."""
    for key in keys(config):
        if key[: len(block)] == block:
            place = ".".join(map(str, key))
            for kind, value in WRONG.items():
                yield f"{place} is {kind}", changed(config, key, set_to(value))
            if isinstance(key[-1], str):
                yield f"{place} is misspelt", changed(config, key, misspell)


@pytest.mark.slow
@pytest.mark.parametrize("block", dict.fromkeys([*Experiment.model_fields, *VARIANTS]))
def test_a_mutation_is_refused_by_the_path_of_its_key_or_means_something(
    whole: Config, tiny: Config, block: str, record_property: Callable[[str, object], None]
):
    config, path = tiny if block == "tokenizer" else whole, (block,)
    if block in VARIANTS:
        place, value = VARIANTS[block]
        limits = {"tokens.too_long": "leave_out"} if block == "chat" else {}
        config, path = edited(whole, {place: value, **limits}), tuple(place.split("."))
    outcomes = Outcomes()
    outcomes.add("nothing", config)
    assert outcomes.accepted == ["nothing"], outcomes.bad
    with unchecked():
        for mutation, mutated in mutations(config, path):
            outcomes.add(mutation, mutated)
    assert not outcomes.bad
    record_property("injected", ("faults of a configuration", outcomes.refused))


SEPARATE = [{place.rpartition(".")[2]: value} for place, value in VARIANTS.values()]


def test_every_key_is_mutated(whole: Config, tiny: Config):
    mutated = {key[-1] for config in (whole, tiny, *SEPARATE) for key in keys(config)}
    names = {
        name
        for block in blocks(Experiment)
        for name in block.model_fields
        if name not in block.filled_in
    }
    # a protocol is for models of the hub alone; files have a short form, a path
    assert names - mutated == {"protocol", "files"}


def with_traps(value: Any, trap: str) -> Any:
    """A configuration whose every scalar is the mark of a trap."""
    if isinstance(value, dict):
        return {key: with_traps(inner, trap) for key, inner in value.items()}
    return [with_traps(inner, trap) for inner in value] if isinstance(value, list) else trap


@pytest.mark.parametrize("trap", TRAPS)
def test_a_trap_of_yaml_is_refused_at_every_key(whole: Config, tmp_path: Path, trap: str):
    path = tmp_path / "mine.yaml"
    path.write_text(
        yaml.safe_dump(with_traps(whole, "MARK"), sort_keys=False).replace("MARK", trap)
    )
    with pytest.raises(ConfigError) as caught:
        read(path)
    named = {line.split(": ")[1] for line in str(caught.value).splitlines()}
    assert named == {
        ".".join(map(str, key))
        for key in keys(whole)
        if next(keys(value_of(whole, key)), None) is None
    }


def test_a_doubled_key_is_refused_wherever_it_is(whole: Config, tmp_path: Path):
    path = tmp_path / "mine.json"
    path.write_text(doubled(whole))
    with pytest.raises(ConfigError) as caught:
        read(path)
    named = {line.split(": ")[1] for line in str(caught.value).splitlines()}
    assert named == {".".join(map(str, key)) for key in keys(whole) if isinstance(key[-1], str)}


def doubled(value: Any) -> str:
    """A configuration as JSON in which each key is twice."""
    if isinstance(value, dict):
        pairs = [f"{json.dumps(key)}: {doubled(inner)}" for key, inner in value.items()]
        return f"{{{', '.join(pairs + pairs)}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(doubled, value))}]"
    return json.dumps(value)
