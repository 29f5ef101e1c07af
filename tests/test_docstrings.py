"""Docstrings as data: what counts as a pair, what is dropped, and what no two splits share."""

import inspect
import textwrap
from importlib import metadata
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from benchmarks.docstring_corpus import (
    CALL_CHARACTERS,
    Module,
    describe,
    find_package,
    prose,
    read_module,
    read_package,
    table,
)
from pipeline.data.docstrings import Pair, distinct, gather, package_versions
from pipeline.data.examples import RawDataset
from pipeline.data.splits import check_no_leaks, letters_only
from pipeline.settings.data import DOCSTRING_CORPUS, Docstrings

SETTINGS = Docstrings(source="docstrings", packages=["networkx", "datasets"])


@pytest.fixture(scope="module")
def gathered() -> RawDataset:
    return gather(SETTINGS, seed=0)


@pytest.fixture(scope="module")
def rows() -> list[dict[str, str]]:
    """The rows of the corpus that the settings choose."""
    corpus = pq.read_table(DOCSTRING_CORPUS).to_pylist()
    return [row for row in corpus if row["module"].split(".")[0] in SETTINGS.packages]


def module_of(folder: Path, source: str) -> Module:
    file = folder / "shapes.py"
    file.write_text(textwrap.dedent(source))
    return read_module(file, "toy.shapes")


def test_a_pair_is_qualified_call_and_first_paragraph_on_one_line(tmp_path: Path) -> None:
    module = module_of(
        tmp_path,
        '''
        class Circle:
            """A round shape with a radius."""

            async def grow(self, by: float = 1.0, *, twice=False) -> None:
                """Grow the circle
                by a length.

                More is said here.
                """
        ''',
    )

    call = "toy.shapes.Circle.grow(self, by: float=1.0, *, twice=False)"
    assert module.pairs == ((call, "Grow the circle by a length.", None),)


@pytest.mark.parametrize(
    "paragraph",
    [
        "Far too long, " + "and longer " * 30,
        "Größe of the object, in metres.",
        ">>> area(3) returns the area of it",
        ".. deprecated:: 1.2 use something else",
        "Args: radius (float): how wide the circle is.",
        "Area of it. Args: radius: how wide it is.",
        "Area of the circle. :param radius: how wide",
        "Area of a %(shape)s in the given unit.",
        "Area of a {shape} in the given unit.",
        "area(radius, unit=None) -> float",
        "Parameters ---------- radius : float",
        "An example of how this is used:",
        "See https://example.org/area for more.",
        "",
    ],
)
def test_what_is_no_plain_ascii_sentence_of_fitting_length_is_left_out(paragraph: str) -> None:
    assert describe(paragraph) is None


def test_a_signature_over_the_limit_is_left_out_and_one_at_the_limit_is_kept(
    tmp_path: Path,
) -> None:
    prefix = len("toy.shapes.f()")
    fitting = "a" * (CALL_CHARACTERS - prefix)
    body = '"""Return the area of the shape."""'

    module = module_of(tmp_path, f"def f({fitting}):\n    {body}\ndef f({fitting}a):\n    {body}\n")

    assert [len(call) for call, *_ in module.pairs] == [CALL_CHARACTERS]


def test_source_that_is_not_python_documents_nothing(tmp_path: Path) -> None:
    assert module_of(tmp_path, "def {{ name }}:") == Module("toy.shapes", (), ())


def test_invalid_escapes_in_foreign_source_raise_no_warning(tmp_path: Path) -> None:
    # Warnings are errors here: 3.11 says DeprecationWarning for these, from 3.12 SyntaxWarning.
    source = 'def f():\n    """Return the pattern of this file."""\n    return "\\d"\n'
    assert module_of(tmp_path, source).pairs


def test_test_folders_are_skipped_and_nothing_is_imported(tmp_path: Path) -> None:
    source = 'raise SystemExit\ndef f():\n    """Return what this file says."""\n'
    for name in ("__init__.py", "tests/helper.py", "inner/test_it.py", "inner/conftest.py", "a.py"):
        file = tmp_path / "toy" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(source)

    modules = read_package("toy", tmp_path / "toy")

    assert [module.name for module in modules] == ["toy", "toy.a"]


def test_copies_and_near_copies_of_a_description_are_dropped_and_counted() -> None:
    long = "Compute the area of every closed polygon given as an array of corner points"
    pairs = [
        Pair("toy", "toy.one(x)", "Return the 2 first values."),
        Pair("toy", "toy.two(x)", "Return the first values!"),  # the same letters
        Pair("toy", "toy.one(X)", "Something else altogether."),  # the same call but for case
        Pair("toy", "toy.three(x)", f"{long} in order."),
        Pair("toy", "toy.four(x)", f"{long} in rows."),  # 15 words in 17 are shared: 88 %
        Pair("toy", "toy.Foo.copy(x)", "Foo is a copy of the Bar layer."),
        Pair("toy", "toy.Baz.copy(x)", "Baz is a copy of the Bar layer."),  # but for its own name
        Pair("toy", "toy.five(x)", "Return the last values."),
    ]

    kept, dropped = distinct(pairs)

    assert [pair.call for pair in kept] == [
        "toy.one(x)",
        "toy.three(x)",
        "toy.Foo.copy(x)",
        "toy.five(x)",
    ]
    assert dropped == {"same_call": 1, "same_description": 2, "near_identical_description": 1}


def test_no_module_question_or_answer_is_in_two_splits(
    gathered: RawDataset, rows: list[dict[str, str]]
) -> None:
    split_of = {
        example.input: split for split, examples in gathered.splits.items() for example in examples
    }
    splits: dict[str, set[str]] = {}
    for row in rows:
        if row["call"] in split_of:
            splits.setdefault(row["module"], set()).add(split_of[row["call"]])

    assert all(len(names) == 1 for names in splits.values())
    check_no_leaks(gathered.splits)


def test_shares_are_of_the_modules_and_every_package_is_counted(gathered: RawDataset) -> None:
    modules = gathered.facts["modules"]
    total = sum(modules.values())

    assert modules["test"] == round(SETTINGS.test_share * total)
    assert modules["validation"] == round(SETTINGS.validation_share * total)
    assert gathered.facts["packages"] == {"networkx": "3.6.1", "datasets": "5.2.0"}


def test_the_result_depends_on_the_seed_alone() -> None:
    settings = Docstrings(source="docstrings", packages=["datasets"])
    first = gather(settings, seed=0)

    assert gather(settings, seed=0) == first
    assert gather(settings, seed=1).splits["test"] != first.splits["test"]


def test_only_responses_of_the_chosen_lengths_are_examples() -> None:
    settings = SETTINGS.model_copy(update={"response_characters": (40, 60)})
    splits = gather(settings, seed=0).splits
    lengths = {len(row.responses[0]) for examples in splits.values() for row in examples}

    assert min(lengths) == 40
    assert max(lengths) == 60


def test_packages_are_named_by_distribution_or_import_name() -> None:
    versions = package_versions(["scikit-learn", "sklearn", "huggingface-hub", "sympy"])

    assert versions == {"sklearn": "1.9.1", "huggingface_hub": "2.4.0", "sympy": "1.14.0"}


def test_an_unknown_package_is_answered_with_those_there_are() -> None:
    with pytest.raises(ValueError, match=r"no 'no-such-thing' .*; available: numpy, pandas"):
        package_versions(["numpy", "no-such-thing"])


def test_an_installed_package_is_found_by_either_name_with_version_and_licence() -> None:
    distributions = metadata.packages_distributions()
    package, root = find_package("scikit-learn", distributions)

    assert package.name == "sklearn"
    assert package.version == metadata.version("scikit-learn")
    assert "BSD" in package.license
    assert root == find_package("sklearn", distributions)[1]
    with pytest.raises(ValueError, match=r"'no-such-thing'.*pip install no-such-thing"):
        find_package("no-such-thing", distributions)


def test_the_corpus_has_the_prose_of_modules_with_pairs_alone() -> None:
    modules = [
        Module("toy.a", pairs=(("toy.a.f()", "Return it.", "Or not."),), prose=("More.",)),
        Module("toy.b", pairs=(), prose=("Alone.",)),
    ]
    assert table(modules, []).to_pylist() == [
        {"module": "toy.a", "call": "toy.a.f()", "text": "Return it.", "rest": "Or not."},
        {"module": "toy.a", "call": None, "text": "More.", "rest": None},
    ]


def test_a_response_of_all_paragraphs_has_the_first_and_all_prose_after_it(
    rows: list[dict[str, str]],
) -> None:
    settings = SETTINGS.model_copy(
        update={"paragraphs": "all", "response_characters": (300, 900), "test_share": 0.3}
    )
    whole = {f"{row['text']} {row['rest']}" for row in rows if row["call"] and row["rest"]}
    splits = gather(settings, seed=0).splits
    responses = [example.responses[0] for examples in splits.values() for example in examples]
    assert len(responses) > 50
    assert set(responses) <= whole
    assert all(300 <= len(response) <= 900 for response in responses)
    with pytest.raises(ValueError, match="a first paragraph has at most 300"):
        Docstrings(source="docstrings", packages=["networkx"], response_characters=(15, 301))


def test_prose_is_later_paragraphs_without_sections_code_and_tables() -> None:
    told = (
        "This is what a reader should know of the function before it is called for the first time."
    )
    noted = "There is a second way to look at it, which the older literature of the field prefers."
    doc = inspect.cleandoc(
        f"""
        {told} But this is the first paragraph.

        {told}

        Too short to learn from.

        {told} See >>> area(3) for how it is called with a number.

            {told} This is indented, so it explains an item.

        Parameters
        ----------
        radius : float

        {told} This still belongs to the parameters.

        Notes
        -----
        {noted}

        Args:
            radius: how wide it is.
        """
    )

    assert list(prose(doc)) == [told, noted]


def test_plain_texts_are_prose_of_training_modules_each_once(
    gathered: RawDataset, rows: list[dict[str, str]]
) -> None:
    def modules(*splits: str) -> set[str]:
        calls = {example.input for split in splits for example in gathered.splits[split]}
        return {row["module"] for row in rows if row["call"] in calls}

    def texts(names: set[str]) -> set[str]:
        return {row["text"] for row in rows if row["call"] is None and row["module"] in names}

    assert len({letters_only(text) for text in gathered.plain}) == len(gathered.plain) > 100
    assert all(80 <= len(text) <= 600 and text.isascii() for text in gathered.plain)
    assert texts(modules("validation", "test")) - texts(modules("train"))
    assert set(gathered.plain) <= texts(modules("train"))


def test_the_order_of_a_split_is_no_order_of_packages(gathered: RawDataset) -> None:
    # Of 1,200 fair draws half are before the middle: sigma is 0.014, five of them 0.07.
    train = gathered.splits["train"]
    first_half = train[: len(train) // 2]
    share = sum(example.source == "networkx" for example in first_half) / len(first_half)
    overall = sum(example.source == "networkx" for example in train) / len(train)

    assert abs(share - overall) < 0.07
