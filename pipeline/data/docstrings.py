"""Examples on every machine: what installed packages say about their own functions.

The source files are found and parsed, never imported. A pair is a function's qualified name and
signature, and the first paragraph of its docstring. Splits are by module, so that what a method
is asked about in the test was never seen, nor its neighbours.
"""

import ast
import importlib.util
import re
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from pipeline.data.examples import Example, RawDataset
from pipeline.data.prose import paragraphs, prose
from pipeline.data.splits import (
    check_no_leaks,
    deduplicate,
    letters_only,
    near_identical,
    shuffled,
    shuffled_examples,
)
from pipeline.runtime import process_pool
from pipeline.runtime.progress import log
from pipeline.settings.data import Docstrings

CALL_CHARACTERS = 200  # of the qualified name with its signature; a longer one is left out
PLAIN_TEXTS = 20_000
TEST_FOLDERS = {"tests", "test", "testing"}
TEST_FILE = re.compile(r"conftest|test_\w*|\w*_test")

# What opens a first paragraph that is no description: "Args: ...", ":param x: ...", "f(x) -> y".
NO_SENTENCE = re.compile(r"[^A-Za-z]|\w+:|[\w.]+\(")
# What has been left to other tools: field lists, section rules, templates to be filled, doctests.
MARKUP = re.compile(
    r"(^|\s):(param|type|returns?|rtype|raises)\b|\b(Args|Returns|Raises|Examples?):|-{3}|={3}"
    r"|%\(|\{\w*\}|>>>|\.\. |https?:"
)


@dataclass(frozen=True)
class Package:
    """An installed package and where its source lies."""

    name: str  # to import it by
    version: str
    root: Path


@dataclass(frozen=True)
class Pair:
    """A function as it is called, and what it does."""

    call: str
    description: str


@dataclass(frozen=True)
class Module:
    """What one source file says: of its functions, and in prose."""

    name: str
    parsed: bool
    pairs: tuple[Pair, ...]
    plain: tuple[str, ...]


def gather(settings: Docstrings, seed: int, processes: int) -> RawDataset:
    """Pairs of call and description from the packages, in splits that share no module.

    Raises:
        ValueError: for a package that isn't installed, or in another version than the settings
            state, and for packages that say too little to fill three splits.
    """
    packages = find_packages(settings)
    modules = read_modules(packages, settings.response_characters, processes)
    pairs, dropped = distinct([(module, pair) for module in modules for pair in module.pairs])
    homes = _split_modules(sorted({module.name for module, _ in pairs}), settings, seed)
    splits: dict[str, list[Example]] = {"train": [], "validation": [], "test": []}
    for module, pair in pairs:
        splits[homes[module.name]].append(_example(pair, settings.instruction))
    check_no_leaks(splits)

    training = [module for module in modules if homes.get(module.name) == "train"]
    return RawDataset(
        {split: shuffled_examples(examples, f"{seed}") for split, examples in splits.items()},
        shuffled(_unasked(plain_texts(training), splits), str, f"{seed}")[:PLAIN_TEXTS],
        {
            "about": "documentation of installed packages: what a function does, from its call",
            "packages": {package.name: package.version for package in packages},
            "modules": dict(Counter(homes.values())),
            "dropped": dropped,
        },
        _warnings(packages, modules, pairs),
    )


def find_packages(settings: Docstrings) -> list[Package]:
    """The packages that the settings name, by distribution or by import; each one once."""
    distributions = metadata.packages_distributions()
    packages = {}
    for name in settings.packages:
        package = find_package(name, distributions)
        stated = settings.versions.get(name, package.version)
        if stated != package.version:
            raise ValueError(
                f"{name} {package.version} is installed here, the experiment was set up with "
                f"{stated}; install that version, or start the workflow again in this environment"
            )
        packages[package.name] = package
    return list(packages.values())


def find_package(name: str, distributions: Mapping[str, list[str]]) -> Package:
    """The installed package that `name` is the distribution or import name of.

    `distributions` are those that provide each import name.

    Raises:
        ValueError: if there is none, or it has no Python source.
    """
    names = [name] if name.isidentifier() else []
    names += [
        module
        for module, providers in sorted(distributions.items())
        if _canonical(name) in map(_canonical, providers)
    ]
    for module in names:
        found = importlib.util.find_spec(module)
        if found and found.submodule_search_locations and found.origin:
            version = metadata.version(distributions.get(module, [module])[0])
            return Package(module, version, Path(found.origin).parent)
    raise ValueError(
        f"data.examples.packages: no package {name!r} with Python source is installed here; "
        f"`pip install {name}`, or take it off the list"
    )


def _canonical(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution).lower()


def read_modules(
    packages: Sequence[Package], characters: tuple[int, int], processes: int
) -> list[Module]:
    """The source files of the packages, parsed; their order doesn't depend on `processes`."""
    files = [(file, name) for package in packages for file, name in _sources(package)]
    log(f"docstrings: {len(files)} source files of {len(packages)} packages")
    with process_pool.process_pool(processes) as pool:
        paths, names = zip(*files, strict=True)
        modules = pool.map(read_module, paths, names, [characters] * len(files), chunksize=32)
        return list(modules)


def _sources(package: Package) -> Iterator[tuple[Path, str]]:
    for file in sorted(package.root.rglob("*.py")):
        folders = file.relative_to(package.root).parent.parts
        if not TEST_FOLDERS & set(folders) and not TEST_FILE.fullmatch(file.stem):
            parts = [package.name, *folders, *([] if file.stem == "__init__" else [file.stem])]
            yield file, ".".join(parts)


def read_module(file: Path, name: str, characters: tuple[int, int]) -> Module:
    """What `file` says of its functions, with descriptions of `characters` at least and at most."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on how others write their escapes
            tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):  # templates, and code for other versions of Python
        return Module(name, parsed=False, pairs=(), plain=())

    documented = list(_documented(tree, name))
    pairs = [
        Pair(call, description)
        for node, qualified, doc in documented
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (description := describe(doc, characters))
        and len(call := f"{qualified}({ast.unparse(node.args)})") <= CALL_CHARACTERS
    ]
    plain = [text for _, _, doc in documented for text in prose(doc)]
    return Module(name, parsed=True, pairs=tuple(pairs), plain=tuple(plain))


def _documented(node: ast.Module | ast.ClassDef, name: str) -> Iterator[tuple[ast.AST, str, str]]:
    """The docstrings of a module or class and of what it holds, with qualified names."""
    if doc := ast.get_docstring(node):
        yield node, name, doc
    for part in node.body:
        if isinstance(part, ast.ClassDef):
            yield from _documented(part, f"{name}.{part.name}")
        elif isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef) and (
            doc := ast.get_docstring(part)
        ):
            yield part, f"{name}.{part.name}", doc


def describe(doc: str, characters: tuple[int, int]) -> str | None:
    """The first paragraph of a cleaned docstring on one line; None if it is no plain sentence."""
    first = next(paragraphs(doc), "")
    description = " ".join(first.split())
    shortest, longest = characters
    fits = shortest <= len(description) <= longest and description.isascii()
    if not fits or description.endswith(":"):
        return None
    if NO_SENTENCE.match(description) or MARKUP.search(description):
        return None
    return description


def distinct(
    pairs: Sequence[tuple[Module, Pair]],
) -> tuple[list[tuple[Module, Pair]], dict[str, int]]:
    """The pairs that ask and say something new, and how many of each kind were dropped."""
    asked = deduplicate(pairs, lambda pair: pair[1].call.casefold())
    told = deduplicate(asked, lambda pair: letters_only(pair[1].description))
    said = deduplicate(told, lambda pair: letters_only(_nameless(pair[1])))
    repeated = near_identical([_nameless(pair) for _, pair in said])
    return [pair for place, pair in enumerate(said) if place not in repeated], {
        "same_call": len(pairs) - len(asked),
        "same_description": len(asked) - len(said),
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
    package, _, _ = pair.call.partition(".")
    return Example(instruction, pair.call, (pair.description,), package)


def plain_texts(modules: Sequence[Module]) -> list[str]:
    """Paragraphs of prose in the docstrings of the modules, after the first, each one once."""
    texts = [text for module in modules for text in module.plain]
    return deduplicate(texts, letters_only)


def _unasked(texts: Sequence[str], splits: Mapping[str, list[Example]]) -> list[str]:
    held_out = {
        letters_only(example.responses[0]) for example in splits["validation"] + splits["test"]
    }
    return [text for text in texts if letters_only(text) not in held_out]


def _warnings(
    packages: Sequence[Package],
    modules: Sequence[Module],
    pairs: Sequence[tuple[Module, Pair]],
) -> list[str]:
    said = []
    if unread := sorted(module.name for module in modules if not module.parsed):
        said.append(f"{len(unread)} source files are not Python here, such as {unread[0]}")
    speaking = {pair.call.partition(".")[0] for _, pair in pairs}
    said += [
        f"{package.name} describes no function in a way that is used"
        for package in packages
        if package.name not in speaking
    ]
    return said
