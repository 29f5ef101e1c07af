"""Docstrings as data: what counts as a pair, what is dropped, and what no two splits share."""

import inspect
import sys
import textwrap
from importlib import metadata
from pathlib import Path

import pytest

from pipeline.data.docstrings import (
    CALL_CHARACTERS,
    Module,
    Package,
    Pair,
    describe,
    distinct,
    find_packages,
    gather,
    plain_texts,
    read_module,
    read_modules,
)
from pipeline.data.examples import RawDataset
from pipeline.data.prose import prose
from pipeline.data.splits import check_no_leaks, letters_only
from pipeline.settings.data import Docstrings

SIZES = (15, 120)
SETTINGS = Docstrings(source="docstrings", packages=["networkx", "datasets"])


@pytest.fixture(scope="module")
def gathered() -> RawDataset:
    return gather(SETTINGS, seed=0, processes=1)


@pytest.fixture(scope="module")
def modules() -> list[Module]:
    return read_modules(find_packages(SETTINGS), SIZES, processes=1)


def module_of(folder: Path, source: str) -> Module:
    file = folder / "shapes.py"
    file.write_text(textwrap.dedent(source))
    return read_module(file, "toy.shapes", SIZES)


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
    assert module.pairs == (Pair(call, "Grow the circle by a length."),)


@pytest.mark.parametrize(
    "paragraph",
    [
        "Too short.",
        "Far too long, " + "and longer " * 12,
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
    assert describe(paragraph, SIZES) is None


def test_a_signature_over_the_limit_is_left_out_and_one_at_the_limit_is_kept(
    tmp_path: Path,
) -> None:
    prefix = len("toy.shapes.f()")
    fitting = "a" * (CALL_CHARACTERS - prefix)
    body = '"""Return the area of the shape."""'

    module = module_of(tmp_path, f"def f({fitting}):\n    {body}\ndef f({fitting}a):\n    {body}\n")

    assert [len(pair.call) for pair in module.pairs] == [CALL_CHARACTERS]


def test_source_that_is_not_python_is_said_to_be_unread(tmp_path: Path) -> None:
    assert not module_of(tmp_path, "def {{ name }}:").parsed


def test_invalid_escapes_in_foreign_source_raise_no_warning(tmp_path: Path) -> None:
    # Warnings are errors here: 3.11 says DeprecationWarning for these, from 3.12 SyntaxWarning.
    assert module_of(tmp_path, r"pattern = '\d'").parsed


def test_test_folders_are_skipped_and_nothing_is_imported(tmp_path: Path) -> None:
    source = 'raise SystemExit\ndef f():\n    """Return what this file says."""\n'
    for name in ("__init__.py", "tests/helper.py", "inner/test_it.py", "inner/conftest.py", "a.py"):
        file = tmp_path / "toy" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(source)

    modules = read_modules([Package("toy", "1", tmp_path / "toy")], SIZES, processes=1)

    assert [module.name for module in modules] == ["toy", "toy.a"]


def test_copies_and_near_copies_of_a_description_are_dropped_and_counted() -> None:
    module = Module("toy", parsed=True, pairs=(), plain=())
    long = "Compute the area of every closed polygon given as an array of corner points"
    pairs = [
        Pair("toy.one(x)", "Return the 2 first values."),
        Pair("toy.two(x)", "Return the first values!"),  # the same letters
        Pair("toy.one(X)", "Something else altogether."),  # the same call but for case
        Pair("toy.three(x)", f"{long} in order."),
        Pair("toy.four(x)", f"{long} in rows."),  # 15 words in 17 are shared: 88 %
        Pair("toy.Foo.copy(x)", "Foo is a copy of the Bar layer."),
        Pair("toy.Baz.copy(x)", "Baz is a copy of the Bar layer."),  # but for its own name
        Pair("toy.five(x)", "Return the last values."),
    ]

    kept, dropped = distinct([(module, pair) for pair in pairs])

    assert [pair.call for _, pair in kept] == [
        "toy.one(x)",
        "toy.three(x)",
        "toy.Foo.copy(x)",
        "toy.five(x)",
    ]
    assert dropped == {"same_call": 1, "same_description": 2, "near_identical_description": 1}


def test_no_module_question_or_answer_is_in_two_splits(
    gathered: RawDataset, modules: list[Module]
) -> None:
    split_of = {
        example.input: split for split, examples in gathered.splits.items() for example in examples
    }

    for module in modules:
        splits = {split_of[pair.call] for pair in module.pairs if pair.call in split_of}
        assert len(splits) <= 1
    check_no_leaks(gathered.splits)


def test_shares_are_of_the_modules_and_every_package_is_counted(gathered: RawDataset) -> None:
    modules = gathered.facts["modules"]
    total = sum(modules.values())

    assert modules["test"] == round(SETTINGS.test_share * total)
    assert modules["validation"] == round(SETTINGS.validation_share * total)
    assert gathered.facts["packages"] == {
        name: metadata.version(name) for name in ("networkx", "datasets")
    }


def test_the_result_depends_on_the_seed_but_not_on_the_number_of_processes() -> None:
    settings = Docstrings(source="docstrings", packages=["datasets"])
    alone = gather(settings, seed=0, processes=1)

    assert gather(settings, seed=0, processes=2) == alone
    assert gather(settings, seed=1, processes=1).splits["test"] != alone.splits["test"]


def test_packages_are_found_by_either_name_without_being_imported() -> None:
    before = set(sys.modules)

    names = ["scikit-learn", "sklearn", "huggingface-hub", "sympy"]
    packages = find_packages(Docstrings(source="docstrings", packages=names))

    assert [package.name for package in packages] == ["sklearn", "huggingface_hub", "sympy"]
    assert packages[0].version == metadata.version("scikit-learn")
    assert not {"sklearn", "huggingface_hub", "sympy"} & (set(sys.modules) - before)


def test_a_missing_package_is_named_with_the_way_to_install_it() -> None:
    with pytest.raises(ValueError, match=r"'no-such-thing'.*pip install no-such-thing"):
        find_packages(Docstrings(source="docstrings", packages=["no-such-thing"]))


def test_another_version_than_the_settings_state_is_refused() -> None:
    settings = Docstrings(source="docstrings", packages=["networkx"], versions={"networkx": "0.1"})

    with pytest.raises(ValueError, match=r"networkx .* installed here, .* with 0\.1"):
        find_packages(settings)


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


def test_plain_texts_come_from_training_modules_only_and_once(gathered: RawDataset) -> None:
    assert gathered.plain
    assert len({letters_only(text) for text in gathered.plain}) == len(gathered.plain)
    assert all(80 <= len(text) <= 600 and text.isascii() for text in gathered.plain)

    twice = Module("toy", parsed=True, pairs=(), plain=("One text.", "One text."))
    assert plain_texts([twice]) == ["One text."]


def test_no_held_out_module_lends_its_prose_to_training(
    gathered: RawDataset, modules: list[Module]
) -> None:
    training = {example.input for example in gathered.splits["train"]}
    held_out = {
        example.input for split in ("validation", "test") for example in gathered.splits[split]
    }
    opened = [m for m in modules if training & {pair.call for pair in m.pairs}]
    closed = [m for m in modules if held_out & {pair.call for pair in m.pairs}]

    assert plain_texts(closed)
    assert set(gathered.plain) <= {text for module in opened for text in module.plain}


def test_the_order_of_a_split_is_no_order_of_packages(gathered: RawDataset) -> None:
    # Of 1,200 fair draws half are before the middle: sigma is 0.014, five of them 0.07.
    train = gathered.splits["train"]
    first_half = train[: len(train) // 2]
    share = sum(example.source == "networkx" for example in first_half) / len(first_half)
    overall = sum(example.source == "networkx" for example in train) / len(train)

    assert abs(share - overall) < 0.07


def test_examples_say_what_the_source_file_says(gathered: RawDataset) -> None:
    start = "networkx.classes.function.number_of_nodes("
    every = [example for examples in gathered.splits.values() for example in examples]
    [response] = [e.responses[0] for e in every if e.input.startswith(start)]

    file = metadata.distribution("networkx").locate_file("networkx/classes/function.py")
    assert f'"""{response}' in Path(file).read_text()
