"""Every cell of a report's tables says the same in CSV, Markdown and HTML."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser

import pandas as pd
import pytest
from report_tables import markdown_rows, numbers, read_csv
from reports import Made

from pipeline.reporting.analysis.texts import amount, duration, nats
from pipeline.reporting.costs.attribution import IN_FULL, OWN
from pipeline.reporting.render.table import MISSING

pytestmark = [pytest.mark.xdist_group("report"), pytest.mark.slow]


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
        attributes = dict(attrs)
        if tag == "figure":
            self.name = (attributes.get("id") or "").removeprefix("table-")
        if tag == "tr":
            self.row = None if attributes.get("class") == "group" else []
        if tag in ("td", "th") and self.row is not None:
            self.row.append("")
            self.in_cell = True
        if tag == "button":  # explains a term
            self.in_cell = False
        if tag == "sup" and self.row:
            self.row[-1] += " "

    def handle_endtag(self, tag: str) -> None:
        if tag == "button":
            self.in_cell = True
        if tag in ("td", "th"):
            self.in_cell = False
        if tag == "tr" and self.row:
            self.rows.setdefault(self.name, []).append(self.row)
            self.row = None

    def handle_data(self, data: str) -> None:
        if self.in_cell and self.row:
            self.row[-1] += data


def test_every_cell_of_the_page_is_that_of_the_markdown_table(made: Made) -> None:
    parser = Tables()
    parser.feed(made.page)
    checked = 0
    for path in (made.folder / "tables").glob("*.md"):
        name = path.stem
        _, rows = markdown_rows(path)
        shown = parser.rows.get(name)
        if shown is None:  # too long for the page
            continue
        assert len(shown) == len(rows) + 1
        for on_page, in_markdown in zip(shown[1:], rows, strict=True):
            assert on_page == in_markdown[-len(on_page) :]
            checked += len(on_page)
    assert checked > 200


def test_the_first_table_has_the_mean_time_over_its_pairs_as_the_table_of_cost_has_it(made: Made):
    parser = Tables()
    parser.feed(made.page)
    costs = read_csv(made, "cost").query("quantity == 'time'")
    seconds = costs.groupby(["method", "account"])["value"].mean()
    headings, _, *methods, teacher = parser.rows["primary"]
    assert [heading[:4] for heading in headings[-2:]] == ["Time", "Time"]
    assert teacher[-2:] == [MISSING, MISSING]
    assert {row[0] for row in methods} == {*costs["method"]}
    for method, *_, own, in_full in methods:
        assert [own, in_full] == [duration(seconds[method, each]) for each in (OWN, IN_FULL)]


FLAT = {  # tables whose rows are those of their file
    "differences": {
        "Seeds": "n_seeds",
        "Difference": "value",
        "Low (95 % corrected)": "low",
        "High (95 % corrected)": "high",
        "Effect (d of items)": "effect_size",
        "p": "p",
        "p (Holm)": "p_holm",
        "p (these checkpoints)": "p_checkpoints",
        "Method": "method",
        "minus": "minus_method",
    },
    "detectable": {
        "Seeds": "n_seeds",
        "Detectable (single test)": "single_test",
        "Detectable (after Holm)": "after_holm",
    },
    "crossovers": {
        "Leads first": "first",
        "Leads later": "later",
        "From (budget)": "value",
        "Interval (lower end)": "low",
        "Interval (upper end)": "high",
        "Lead before (nats/token, at most)": "lead_before_nats",
        "Lead at the end (nats/token)": "lead_after_nats",
    },
}
FLAT["teacher_size"] = {
    **{head: name for head, name in FLAT["differences"].items() if name not in ("minus_method",)},
    "Smaller (teacher)": "minus_teacher",
    "Larger (teacher)": "teacher",
}
FLAT["contrasts"] = {
    "Contrast": "contrast",
    "Is": "terms",
    "Seeds": "n_seeds",
    "Value": "value",
    "Low (95 % corrected)": "low",
    "High (95 % corrected)": "high",
    "p": "p",
    "p (Holm)": "p_holm",
}


@pytest.mark.parametrize("name", sorted(FLAT))
def test_every_number_of_a_table_stands_in_its_csv(made: Made, name: str) -> None:
    head, rows = markdown_rows(made.folder / f"tables/{name}.md")
    table = read_csv(made, name)
    columns = {head.index(title): column for title, column in FLAT[name].items() if title in head}
    assert len(columns) > 2
    assert len(rows) == len(table)
    for shown, (_, values) in zip(rows, table.iterrows(), strict=True):
        for place, column in columns.items():
            check_cell(f"{name}: {head[place]}", shown[place], [values[column]])


def long_rows(made: Made, name: str) -> Iterator[tuple[str, str, pd.Series | None]]:
    """Every cell of a table with a column for each measure: its place, text and row of the CSV."""
    head, rows = markdown_rows(made.folder / f"tables/{name}.md")
    table, measures = read_csv(made, name), read_csv(made, "measures")
    measures = measures[measures["slice"].ne("") == (name == "slices")].drop_duplicates("metric")
    names = head.index("Method") + 1
    skipped = names + (head[names] in ("Seeds", "Runs"))
    where = {"Teacher": "teacher", "Student": "student", "Task": "task", "Part": "slice"}
    where |= {"Method": "label", "Stage": "stage", "Job": "job"}
    for row in rows:
        of_row = table
        for title, text in zip(head[:names], row[:names], strict=True):
            of_row = of_row[of_row[where[title]] == text]
        for title, text in zip(head[skipped:], row[skipped:], strict=True):
            if "quantity" in of_row:
                quantity, _, detail = title.partition(" (")
                chosen = of_row["quantity"] == quantity.lower().replace(" ", "_")
                chosen &= of_row["account"] == detail.rstrip(")").split(", ")[0]
            else:
                metric = measures[[title.startswith(measure) for measure in measures["title"]]][
                    "metric"
                ]
                chosen = of_row["metric"].isin(metric)
            matches = [values for _, values in of_row[chosen].iterrows()]
            assert len(matches) <= 1
            yield f"{name}: {title}", text, matches[0] if matches else None


@pytest.mark.parametrize("name", ["main", "slices", "gap_closed", "cost", "cost_tokens"])
def test_every_number_of_a_table_with_a_column_for_each_measure_stands_in_its_csv(
    made: Made, name: str
) -> None:
    checked = 0
    for place, text, values in long_rows(made, name):
        if values is None:
            assert text == "—", place
            continue
        ends = [values["low"], values["high"]] if "low" in values else []
        if letters := values.get("letters"):
            assert text.endswith(f" {letters}"), place
            text = text.removesuffix(letters)
        if "±" in text:
            ends = [(ends[1] - ends[0]) / 2] if ends else [values["sd"]]
        elif not ends or "(" not in text:
            ends = []
        checked += check_cell(place, text, [values["value"], *ends])
    assert checked > 10


def test_every_job_costs_the_same_in_csv(made: Made) -> None:
    head, rows = markdown_rows(made.folder / "tables/cost_shared.md")
    costs = read_csv(made, "cost_shared").set_index(["stage", "job", "quantity"])
    for stage, job, trainings, *texts in rows:
        for title, text in zip(head[3:], texts, strict=True):
            quantity = title.partition(" (")[0].lower().replace(" ", "_")
            row = costs.loc[stage, job, quantity]
            check_cell(f"{job}: {title}", text, [row["value"]])
            assert trainings == ("—" if row["trainings"] == 0 else str(row["trainings"]))


def check_cell(place: str, text: str, values: list[object]) -> int:
    """The numbers that were compared; those of a name or a p-value below its bound are none."""
    if text in ("—", "none"):
        assert pd.isna(values[0]), place
        return 0
    if isinstance(values[0], str):
        assert values == [text], place
        return 0
    if text.startswith("<"):
        assert values[0] < float(text[1:]), place
        return 1
    shown = numbers(text)
    assert len(shown) == len(values), (place, text, values)
    for number, value in zip(shown, values, strict=True):
        assert number.agrees(float(str(value))), (place, text, value)
    return len(values)


@pytest.mark.parametrize("name", ["equal_steps", "equal_seconds", "equal_flops"])
def test_every_row_of_an_equal_budget_file_is_of_a_method(made: Made, name: str) -> None:
    head, rows = markdown_rows(made.folder / f"tables/{name}.md")
    table = read_csv(made, name)
    accounts = table["budget_unit"].str.cat(table["account"], sep=", ")
    table["shown"] = table["budget_unit"] if name == "equal_steps" else accounts
    long = table.set_index(["teacher", "student", "shown", "label", "when"]).sort_index()
    whens = [re.sub(r" \((.*)\)$", r" \1", title) for title in head[4:]]
    methods = [row for row in rows if not re.match("budget|lowest|lead", row[3])]
    assert len(methods) * len(whens) == len(table)
    for row in methods:
        for text, when in zip(row[4:], whens, strict=True):
            values = long.loc[(*row[:4], when)]
            own = [values["value"], *([values["sd"]] if "±" in text else [])]
            check_cell(f"{name}: {row[3]}", text, own)
    leaders = [row for row in rows if row[3] == "lowest NLL"]
    for row in leaders:
        lowest = long.loc[tuple(row[:3])].query("is_lowest").reset_index()
        leading = zip(row[4:], whens, strict=True)
        expected = [(label, when) for label, when in leading if label != "—"]
        assert {(leader.label, leader.when) for leader in lowest.itertuples()} == set(expected)


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0"), (999, "999"), (1_500, "1.5k"), (999_499, "999k"), (999_600, "1M"), (2e12, "2T")],
)
def test_an_amount_has_three_digits_and_no_exponent(number: float, text: str) -> None:
    assert amount(number) == text


def test_no_zero_is_negative(made: Made) -> None:
    assert nats(-0.0001) == "0.000"
    tables = [path.read_text() for path in (made.folder / "tables").glob("*.md")]
    assert len(tables) > 10
    assert not [text for text in tables if re.search(r" -0(\.0*)? ", text)]
