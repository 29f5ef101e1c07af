"""Examples without a network: what Python packages document about their functions.

An example asks what a function does, given its qualified name and signature; the response is the
first paragraph of its docstring, or that and all prose after it. Splits are by module, so that
neither what the test asks about nor its neighbours were in training. The corpus is a file of this
package (docstrings.md says of what); `benchmarks/docstring_corpus.py` makes it.
"""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.data.examples import Example, RawDataset
from pipeline.data.splits import (
    check_no_leaks,
    deduplicate,
    letters_only,
    near_identical,
    shuffled,
    shuffled_examples,
)
from pipeline.data.stored_examples import stored
from pipeline.settings.data import DOCSTRING_CORPUS, PLAIN_TEXTS, Docstrings

PACKAGES = "packages"  # key of the file's metadata: name, distribution, version and licence of each
SCHEMA = pa.schema(
    [
        ("module", pa.string()),
        ("call", pa.string()),  # null: a paragraph of prose
        ("text", pa.string()),
        ("rest", pa.string()),  # of a call: the prose after its first paragraph; null: none
    ]
)


@dataclass(frozen=True)
class Pair:
    """A documented function: its module, how it is called, and what it does."""

    module: str
    call: str
    description: str


def gather(settings: Docstrings, seed: int) -> RawDataset:
    """Pairs of call and description from the corpus, in splits that share no module.

    Raises:
        ValueError: for a package that the corpus lacks, and for packages that document too little
            to fill three splits.
    """
    versions = package_versions(settings.packages)
    corpus = pq.read_table(DOCSTRING_CORPUS, schema=SCHEMA).to_pylist()
    by_package: dict[str, list[dict[str, str]]] = {name: [] for name in versions}
    for row in corpus:
        by_package.get(_package(row["module"]), []).append(row)
    rows = [row for package in by_package.values() for row in package]

    pairs, dropped = distinct(_pairs(rows, settings))
    split_of = _split_modules(sorted({pair.module for pair in pairs}), settings, seed)
    splits: dict[str, list[Example]] = {"train": [], "validation": [], "test": []}
    for pair in pairs:
        splits[split_of[pair.module]].append(_example(pair, settings.instruction))
    check_no_leaks(splits)

    prose = [
        row["text"]
        for row in rows
        if row["call"] is None and split_of.get(row["module"]) == "train"
    ]
    plain = _not_held_out(list(deduplicate(prose, letters_only)), splits)
    documented = {_package(pair.module) for pair in pairs}
    return RawDataset(
        {split: shuffled_examples(stored(each), f"{seed}") for split, each in splits.items()},
        shuffled(plain, str, f"{seed}")[:PLAIN_TEXTS],
        {
            "about": "documentation of Python packages: what a function does, from its call",
            "packages": versions,
            "modules": dict(Counter(split_of.values())),
            "dropped": dropped,
        },
        [
            f"{name} describes no function in a way that is used"
            for name in versions
            if name not in documented
        ],
    )


def package_versions(names: Sequence[str]) -> dict[str, str]:
    """The version in the corpus of each package, by import name.

    Packages are named by distribution or by import name. Raises ValueError for an unknown one.
    """
    metadata = pq.read_schema(DOCSTRING_CORPUS).metadata
    packages = json.loads(metadata[PACKAGES.encode()])
    by_name = {
        _canonical(name): package
        for package in packages
        for name in (package["name"], package["distribution"])
    }
    if unknown := [name for name in names if _canonical(name) not in by_name]:
        available = ", ".join(package["name"] for package in packages)
        raise ValueError(
            f"data.examples.packages: no {unknown[0]!r} in the corpus of docstrings; available: "
            f"{available}"
        )
    chosen = [by_name[_canonical(name)] for name in names]
    return {package["name"]: package["version"] for package in chosen}


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _package(module: str) -> str:
    return module.partition(".")[0]


def _pairs(rows: Sequence[Mapping[str, str]], settings: Docstrings) -> list[Pair]:
    shortest, longest = settings.response_characters
    parts = ("text", "rest") if settings.paragraphs == "all" else ("text",)
    pairs = [
        Pair(row["module"], row["call"], " ".join(row[part] for part in parts if row[part]))
        for row in rows
        if row["call"] is not None
    ]
    return [pair for pair in pairs if shortest <= len(pair.description) <= longest]


def distinct(pairs: Sequence[Pair]) -> tuple[list[Pair], dict[str, int]]:
    """The pairs with a new call and a new description, and how many of each kind were dropped."""
    calls = list(deduplicate(pairs, lambda pair: pair.call.casefold()))
    different = deduplicate(calls, lambda pair: letters_only(pair.description))
    descriptions = list(deduplicate(different, lambda pair: letters_only(_nameless(pair))))
    repeated = near_identical([_nameless(pair) for pair in descriptions])
    distinct_pairs = [pair for index, pair in enumerate(descriptions) if index not in repeated]
    return distinct_pairs, {
        "same_call": len(pairs) - len(calls),
        "same_description": len(calls) - len(descriptions),
        "near_identical_description": len(repeated),
    }


def _nameless(pair: Pair) -> str:
    """The description but for the name of its class, as in "FooNorm is equivalent to BarNorm"."""
    classes = {part for part in pair.call.partition("(")[0].split(".") if part[:1].isupper()}
    return " ".join(word for word in re.findall(r"\w+", pair.description) if word not in classes)


def _split_modules(names: Sequence[str], settings: Docstrings, seed: int) -> dict[str, str]:
    test = max(1, round(settings.test_share * len(names)))
    validation = max(1, round(settings.validation_share * len(names)))
    if test + validation >= len(names):
        raise ValueError(
            f"{settings.packages} describe functions in {len(names)} modules only, too few for "
            "three splits; name more packages"
        )
    split_of = ["test"] * test + ["validation"] * validation
    split_of += ["train"] * (len(names) - len(split_of))
    return dict(zip(shuffled(names, str, f"{seed} modules"), split_of, strict=True))


def _example(pair: Pair, instruction: str) -> Example:
    return Example(instruction, pair.call, (pair.description,), _package(pair.call))


def _not_held_out(texts: Sequence[str], splits: Mapping[str, Sequence[Example]]) -> list[str]:
    held_out = [*splits["validation"], *splits["test"]]
    responses = {letters_only(example.responses[0]) for example in held_out}
    return [text for text in texts if letters_only(text) not in responses]
