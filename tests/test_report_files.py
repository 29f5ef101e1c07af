"""The files of a report: every cell of a table says the same in CSV, Parquet, Markdown and HTML."""

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from reports import Made

pytestmark = [pytest.mark.xdist_group("report"), pytest.mark.slow]
NUMBER = re.compile(r"(?<![\w.])[+-]?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?[kMB]?%?(?![\w-])")
LARGE = {"k": 1e3, "M": 1e6, "B": 1e9}
LAID_OUT_OTHERWISE = {"main", "equal_steps", "equal_seconds", "equal_flops"}


@dataclass(frozen=True)
class Shown:
    """A number in a text, and half of the unit of its last digit."""

    value: float
    half_digit: float

    def agrees(self, number: float) -> bool:
        return abs(self.value - number) <= self.half_digit * (1 + 1e-6)


def numbers(text: str) -> list[Shown]:
    """Every number that a cell shows, as it is rounded there."""
    found = []
    for word in NUMBER.findall(text):
        plain = word.strip("%").replace(",", "")
        size = LARGE.get(plain[-1], 1.0)
        plain = plain.rstrip("kMB")
        digits, _, power = plain.partition("e")
        unit = 10.0 ** (int(power or 0) - len(digits.partition(".")[2]))
        if size > 1 and "." not in digits and len(digits) > 3:
            unit *= 10.0 ** (len(digits) - 3)
        found.append(Shown(float(plain) * size, unit * size / 2))
    return found


def markdown_rows(path: Path) -> tuple[list[str], list[list[str]]]:
    """Head and rows of a table in Markdown."""
    lines = [line for line in path.read_text().splitlines() if line.startswith("|")]
    split = [
        [re.sub(r"\*\*|\\(?=\|)", "", cell).strip() for cell in re.split(r"(?<!\\)\|", line[1:-1])]
        for line in lines
    ]
    return split[0], split[2:]


@dataclass
class Tables(HTMLParser):
    """The texts of every table's rows, by the table's name."""

    rows: dict[str, list[list[str]]] = field(default_factory=dict)
    name: str = ""
    row: list[str] | None = None
    in_cell: bool = False

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "figure":
            self.name = (given.get("id") or "").removeprefix("table-")
        if tag == "tr":
            self.row = None if given.get("class") == "group" else []
        if tag in ("td", "th") and self.row is not None:
            self.row.append("")
            self.in_cell = True
        if tag == "sup" and self.row:
            self.row[-1] += " "

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self.in_cell = False
        if tag == "tr" and self.row:
            self.rows.setdefault(self.name, []).append(self.row)
            self.row = None

    def handle_data(self, data: str) -> None:
        if self.in_cell and self.row:
            self.row[-1] += data


def tables_of(made: Made) -> list[str]:
    return sorted(path.stem for path in (made.folder / "tables").glob("*.csv"))


def test_every_cell_of_the_page_is_that_of_the_markdown_table(made: Made) -> None:
    parser = Tables()
    parser.feed(made.page)
    checked = 0
    for name in tables_of(made):
        _, rows = markdown_rows(made.folder / f"tables/{name}.md")
        shown = parser.rows.get(name)
        if shown is None:  # too long for the page
            continue
        assert len(shown) == len(rows) + 1
        for on_page, in_markdown in zip(shown[1:], rows, strict=True):
            assert on_page == in_markdown[-len(on_page) :]
            checked += len(on_page)
    assert checked > 200


def test_every_number_of_a_markdown_table_stands_in_its_csv_in_the_unit_of_its_head(
    made: Made,
) -> None:
    checked = 0
    for name in set(tables_of(made)) - LAID_OUT_OTHERWISE:
        head, rows = markdown_rows(made.folder / f"tables/{name}.md")
        table = pd.read_csv(made.folder / f"tables/{name}.csv", keep_default_na=False)
        titles = list(table.columns)
        # pandas numbers a title that comes twice; beside a value stand columns named after it
        plain = [re.sub(r"\.\d+$", "", title) for title in titles]
        starts = [place for place, title in enumerate(plain) if title in head]
        assert len(starts) == len(head)
        for shown, (_, values) in zip(rows, table.iterrows(), strict=True):
            for at, text in enumerate(shown):
                end = starts[at + 1] if at + 1 < len(starts) else len(titles)
                own = [value for value in values.iloc[starts[at] : end] if value != ""]
                checked += check_cell(f"{name}: {head[at]}: {text}", text, own)
    assert checked > 100


def as_number(value: object) -> float | None:
    """A cell of a CSV file as a number; pandas leaves it a string where the column has gaps."""
    try:
        return float(str(value))
    except ValueError:
        return None


def check_cell(place: str, text: str, values: list[object]) -> int:
    """The numbers that were compared; those of a name or a p-value below its bound are none."""
    known = [number for value in values if (number := as_number(value)) is not None]
    if text == "—":
        assert not values, place
        return 0
    if not known:
        assert values == [text] or "/" in str(values[0]), place  # measures have keys in files
        return 0
    if text.startswith("<"):
        assert known[0] < float(text[1:]), place
        return 1
    shown = numbers(text)
    assert len(shown) == len(known), (place, values)
    for one, value in zip(shown, known, strict=True):
        assert one.agrees(float(value)), (place, value)
    return len(known)


def test_the_main_table_has_the_same_numbers_and_letters_in_csv(made: Made) -> None:
    _, rows = markdown_rows(made.folder / "tables/main.md")
    table = pd.read_csv(made.folder / "tables/main.csv", keep_default_na=False)
    measures = [name.removesuffix(" letters") for name in table if name.endswith(" letters")]
    for shown, (_, values) in zip(rows, table.iterrows(), strict=True):
        assert shown[:3] == [values["teacher"], values["student"], values["label"]]
        for text, measure in zip(shown[4:], measures, strict=True):
            if text == "—":
                assert values[measure] == ""
                continue
            value, *ends = numbers(re.sub(r" [a-z]+$", "", text))
            assert value.agrees(float(values[measure]))
            assert text.endswith(values[f"{measure} letters"])
            low, high = (float(values[f"{measure} {end}"] or "nan") for end in ("low", "high"))
            if len(ends) == 2:  # an interval that the measure's scale has cut
                assert ends[0].agrees(low)
                assert ends[1].agrees(high)
            elif ends:
                assert ends[0].agrees((high - low) / 2)


@pytest.mark.parametrize("name", ["equal_steps", "equal_seconds", "equal_flops"])
def test_every_row_of_an_equal_budget_file_is_of_a_method(made: Made, name: str) -> None:
    head, rows = markdown_rows(made.folder / f"tables/{name}.md")
    table = pd.read_csv(made.folder / f"tables/{name}.csv")
    assert table["method"].notna().all()
    long = table.set_index(["teacher", "student", "accounting", "method", "when"]).sort_index()
    whens = [re.sub(r" \((.*)\)$", r" \1", title) for title in head[4:]]
    methods = [row for row in rows if not re.match("budget|lowest|lead", row[3])]
    assert len(methods) * len(whens) == len(table)
    for row in methods:
        for text, when in zip(row[4:], whens, strict=True):
            values = long.loc[(*row[:4], when)]
            own = [x for x in values[["nll_nats", "spread"]] if not pd.isna(x)]
            check_cell(f"{name}: {row[3]}", text, own)
    leaders = [row for row in rows if row[3] == "lowest NLL"]
    for row in leaders:
        lowest = long.loc[tuple(row[:3])].query("is_lowest").reset_index()
        leading = zip(row[4:], whens, strict=True)
        expected = [(label, when) for label, when in leading if label != "—"]
        assert {(one.method, one.when) for one in lowest.itertuples()} == set(expected)


def test_scores_that_stand_under_several_teachers_are_counted_once(made: Made) -> None:
    scores = pd.read_parquet(made.folder / "scores.parquet")
    nll = scores[(scores["metric"] == "nll_nats") & (scores["slice"] == "")]
    assert (nll["method"] == "sft").sum() == 4  # two seeds, under two teachers each
    once = nll[~nll["repeats"]]
    assert (once["method"] == "sft").sum() == 2
    assert not once.duplicated(["id", "task", "metric"]).any()
    # against each teacher it has a divergence of its own: that is no repetition
    kl = scores[(scores["metric"] == "kl_to_teacher_nats") & (scores["method"] == "sft")]
    assert not kl["repeats"].any()


def test_memory_in_gib_is_bytes_over_two_to_the_thirty(made: Made) -> None:
    table = pd.read_parquet(made.folder / "tables/cost.parquet")
    own = table["Peak memory (own, GiB)"]
    assert own.between(0.01, 1000).all()
