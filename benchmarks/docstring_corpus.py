r"""Makes the corpus that the data source `docstrings` reads, from the packages installed here.

    python -m benchmarks.docstring_corpus numpy pandas scipy scikit-learn matplotlib sympy \
        networkx transformers datasets huggingface_hub --out pipeline/data/docstrings.parquet

The source files are found and parsed, never imported. A row is a function as it is called (its
qualified name and signature) with the first paragraph of its docstring and all prose after it, or,
without a call, a paragraph of prose of whatever is documented. The metadata of the file names the
packages, their versions and licences.
"""

import argparse
import ast
import importlib.util
import json
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.results import result_file
from pipeline.data.docstrings import PACKAGES, SCHEMA

CALL_CHARACTERS = 200  # of the qualified name with its signature; a longer one is left out
DESCRIPTION_CHARACTERS = 300
PARAGRAPH_CHARACTERS = (80, 600)  # of prose: the shortest, the longest
TEST_FOLDERS = {"tests", "test", "testing"}
TEST_FILE = re.compile(r"conftest|test_\w*|\w*_test")

# What opens a first paragraph that is no description: "Args: ...", ":param x: ...", "f(x) -> y".
NO_SENTENCE = re.compile(r"[^A-Za-z]|\w+:|[\w.]+\(")
# What has been left to other tools: field lists, section rules, templates to be filled, doctests.
MARKUP = re.compile(
    r"(^|\s):(param|type|returns?|rtype|raises)\b|\b(Args|Returns|Raises|Examples?):|-{3}|={3}"
    r"|%\(|\{\w*\}|>>>|\.\. |https?:"
)

# A section's title: "Notes" over a rule in the style of NumPy, or "Args:" in Google's.
RULED_TITLE = re.compile(r"(?P<title>[A-Z][\w ]*)\n[-=~^]{3,}[ ]*(\n|$)")
COLON_TITLE = re.compile(r"(?P<title>[A-Z]\w*( \w+)?):[ ]*(\n|$)")
PROSE_SECTIONS = {"notes", "note", "explanation", "description", "extended summary", "details"}
# What prose in a docstring doesn't hold: code, tables, field lists, links, templates, formulas.
NO_PROSE = re.compile(r">>>|::|\.\. |\||-{3}|={3}|https?:|%\(|[{}\\]|(^|\s):\w+ ?\w*:(\s|$)|\n[ ]")


@dataclass(frozen=True)
class Package:
    """An installed package, as the corpus names it."""

    name: str  # to import it by
    distribution: str
    version: str
    license: str


@dataclass(frozen=True)
class Module:
    """The documented functions of a source file, and the prose of its docstrings."""

    name: str
    pairs: tuple[tuple[str, str, str | None], ...]  # a call, its description and further prose
    prose: tuple[str, ...]


def find_package(name: str, distributions: Mapping[str, Sequence[str]]) -> tuple[Package, Path]:
    """The installed package with this distribution or import name, and its folder.

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
        spec = importlib.util.find_spec(module)
        if spec and spec.submodule_search_locations and spec.origin:
            about = metadata.metadata(distributions.get(module, [module])[0])
            package = Package(module, about["Name"], about["Version"], _license(about))
            return package, Path(spec.origin).parent
    raise ValueError(f"no package {name!r} with Python source is installed; `pip install {name}`")


def _canonical(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution).lower()


def _license(about: metadata.PackageMetadata) -> str:
    """The licence as the package states it, in one line."""
    classifiers = about.get_all("Classifier") or []
    named = [line.rpartition(" :: ")[2] for line in classifiers if line.startswith("License ::")]
    fields = [value for key in ("License-Expression", "License") if (value := about.get(key))]
    return (named or fields or ["unknown"])[0].strip().splitlines()[0]


def read_package(name: str, root: Path) -> list[Module]:
    """The source files of a package in the order of their paths; tests are left out."""
    modules = []
    for file in sorted(root.rglob("*.py")):
        folders = file.relative_to(root).parent.parts
        if not TEST_FOLDERS & set(folders) and not TEST_FILE.fullmatch(file.stem):
            parts = [name, *folders, *([] if file.stem == "__init__" else [file.stem])]
            modules.append(read_module(file, ".".join(parts)))
    return modules


def read_module(file: Path, name: str) -> Module:
    """The documentation in a source file; none where it can't be parsed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on how others write their escapes
            tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):  # templates, and code for other versions of Python
        return Module(name, pairs=(), prose=())

    documented = list(_documented(tree, name))
    pairs = [
        (call, description, " ".join(prose(doc)) or None)
        for node, qualified, doc in documented
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (description := describe(doc))
        and len(call := f"{qualified}({ast.unparse(node.args)})") <= CALL_CHARACTERS
    ]
    return Module(
        name, tuple(pairs), tuple(text for _, _, doc in documented for text in prose(doc))
    )


def _documented(node: ast.Module | ast.ClassDef, name: str) -> Iterator[tuple[ast.AST, str, str]]:
    """The docstrings of a module or class and its members, with qualified names."""
    if doc := ast.get_docstring(node):
        yield node, name, doc
    for part in node.body:
        if isinstance(part, ast.ClassDef):
            yield from _documented(part, f"{name}.{part.name}")
        elif isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef) and (
            doc := ast.get_docstring(part)
        ):
            yield part, f"{name}.{part.name}", doc


def describe(doc: str) -> str | None:
    """The first paragraph of a cleaned docstring in one line; None if it isn't plain sentences."""
    description = " ".join(next(paragraphs(doc), "").split())
    fits = 0 < len(description) <= DESCRIPTION_CHARACTERS and description.isascii()
    if not fits or description.endswith(":"):
        return None
    if NO_SENTENCE.match(description) or MARKUP.search(description):
        return None
    return description


def paragraphs(text: str) -> Iterator[str]:
    """The parts of a text between blank lines, with their own line breaks and indents."""
    for part in re.split(r"\n[ \t]*\n", text):
        if part.strip():
            yield part.strip("\n")


def prose(doc: str) -> Iterator[str]:
    """Each paragraph of prose in a cleaned docstring but the first, in one line."""
    in_prose = True
    for number, part in enumerate(paragraphs(doc)):
        paragraph = part
        if titled := RULED_TITLE.match(part) or COLON_TITLE.match(part):
            in_prose = titled["title"].lower() in PROSE_SECTIONS
            paragraph = part[titled.end() :]
        if number and in_prose and _is_prose(paragraph):
            yield " ".join(paragraph.split())


def _is_prose(paragraph: str) -> bool:
    text, (shortest, longest) = " ".join(paragraph.split()), PARAGRAPH_CHARACTERS
    return (
        shortest <= len(text) <= longest
        and text.isascii()
        and text[0].isupper()
        and text[-1] in ".!?"
        and not paragraph.startswith(" ")
        and not NO_PROSE.search(paragraph)
    )


def table(modules: Sequence[Module], packages: Sequence[Package]) -> pa.Table:
    """The corpus: the pairs and the prose of each module that has pairs."""
    rows = [
        (module.name, call, text, rest)
        for module in modules
        if module.pairs
        for call, text, rest in (*module.pairs, *((None, text, None) for text in module.prose))
    ]
    about = json.dumps([asdict(package) for package in packages])
    columns = zip(*rows, strict=True)
    arrays = [pa.array(values, field.type) for values, field in zip(columns, SCHEMA, strict=True)]
    return pa.table(arrays, schema=SCHEMA.with_metadata({PACKAGES: about}))


def main() -> None:
    """Reads the packages and writes the corpus."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("packages", nargs="+", help="distributions or import names")
    parser.add_argument("--out", type=result_file, required=True)
    options = parser.parse_args()
    distributions = metadata.packages_distributions()
    packages = [find_package(name, distributions) for name in options.packages]
    modules = [module for package, root in packages for module in read_package(package.name, root)]
    corpus = table(modules, [package for package, _ in packages])
    pq.write_table(
        corpus,
        options.out,
        compression="zstd",
        compression_level=22,
        use_dictionary=["module"],
        data_page_size=2**24,
    )
    print(f"{options.out}: {corpus.num_rows} rows, {options.out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
