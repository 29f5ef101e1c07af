"""The files of a report: every cell of a table says the same in CSV, Parquet, Markdown and HTML."""

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from report_docs import TEXT, Documented
from reports import Made

from pipeline.artifacts import schemas
from pipeline.reporting.analysis.metrics import METRICS
from pipeline.reporting.render import formats

pytestmark = [pytest.mark.xdist_group("report"), pytest.mark.slow]
NUMBER = re.compile(r"(?<![\w.])[+-]?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?[kMB]?%?(?![\w-])")
ROUNDING = 1e-9  # of sums
LARGE = {"k": 1e3, "M": 1e6, "B": 1e9}


@dataclass(frozen=True)
class Shown:
    """A number in a text, and half of the unit of its last digit."""

    value: float
    half_digit: float

    def agrees(self, number: float) -> bool:
        return abs(self.value - number) <= self.half_digit * (1 + 1e-6)


def numbers(text: str) -> list[Shown]:
    """Every number that a cell shows, as it is rounded there."""
    shown = []
    for word in NUMBER.findall(text):
        plain = word.strip("%").replace(",", "")
        size = LARGE.get(plain[-1], 1.0)
        plain = plain.rstrip("kMB")
        digits, _, power = plain.partition("e")
        unit = 10.0 ** (int(power or 0) - len(digits.partition(".")[2]))
        if size > 1 and "." not in digits and len(digits) > 3:
            unit *= 10.0 ** (len(digits) - 3)
        shown.append(Shown(float(plain) * size, unit * size / 2))
    return shown


def markdown_rows(path: Path) -> tuple[list[str], list[list[str]]]:
    """Head and rows of a table in Markdown."""
    lines = [line for line in path.read_text().splitlines() if line.startswith("|")]
    split = [
        [
            re.sub(r"\*\*|\\(?=[\\`*\[\]|<])", "", cell).strip()
            for cell in re.split(r"(?<!\\)\|", line[1:-1])
        ]
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


def tables_of(made: Made) -> list[str]:
    return sorted(path.stem for path in (made.folder / "tables").glob("*.csv"))


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


def read_csv(made: Made, name: str) -> pd.DataFrame:
    """A table's CSV file; nothing is missing in a column of texts."""
    table = pd.read_csv(made.folder / f"tables/{name}.csv", keep_default_na=False)
    for column in table:
        if NUMBER_TYPES & set(DOCUMENTED.types[str(column)]):
            table[column] = pd.to_numeric(table[column])  # raises for what is no number
    return table


DOCUMENTED = Documented.read()
NUMBER_TYPES = {"number", "integer"}
TYPES = {"number": "float64", "integer": "int64", "yes/no": "bool"}  # everything else is text


def test_every_file_has_the_columns_and_types_that_its_documentation_says(made: Made) -> None:
    written = tables_of(made)
    assert set(DOCUMENTED.files) - set(written) == {"published", "missing", "tuning", "judges"}
    for name in written:
        table = pd.read_parquet(made.folder / f"tables/{name}.parquet")
        assert list(table) == DOCUMENTED.files[name], name
        for column, values in table.items():
            (type,) = set(DOCUMENTED.types[str(column)])
            assert str(values.dtype) == TYPES.get(type, "str"), (name, column)


def test_the_kept_step_is_that_of_the_best_validation(made: Made) -> None:
    kept = pd.read_parquet(made.folder / "tables/kept_weights.parquet")
    assert set(kept["method"]) == {"jsd"}
    grid = pd.read_csv(made.results / "demo/grid.csv").query("method == 'jsd'")
    lowest = {}
    for row in grid.itertuples():
        steps = pd.read_parquet(made.results / "students" / row.student_id / "steps.parquet")
        best = steps.sort_values("validation_nll_nats", kind="stable").iloc[0]
        lowest.setdefault((row.teacher, row.student), []).append(best["step"])
    assert {pair: list(of["step"]) for pair, of in kept.groupby(["teacher", "student"])} == lowest


def test_spans_of_another_vocabulary_are_shares_of_all_spans(made: Made) -> None:
    table = pd.read_parquet(made.folder / "tables/alignments.parquet")
    assert set(table["teacher"]) == {"middle"}
    of = table.set_index(["split", "quantity"])["value"]
    assert of["train", "one_to_one"] == 3_100 / 5_000
    assert of["train", "teacher_tokens_per_span"] == 6_900 / 5_000
    assert of["test", "vocabulary_in_common"] == 406 / 1024
    assert of["train", "too_long_for_teacher"] == of["validation", "other_bytes"] == 3
    assert pd.isna(of["validation", "bytes_per_span"])
    lengths = pd.read_parquet(made.folder / "tables/span_lengths.parquet")
    assert lengths.query("side == 'teacher'")["value"].tolist() == [0.74, 0.18, 0.05, 0.03]
    assert lengths.groupby("side")["value"].sum().tolist() == [1, 1]
    shown = (made.folder / "tables/span_lengths.md").read_text()
    assert all(f" {share} |" in shown for share in ("74.0", "18.0", "5.0", "3.0"))


def test_scores_have_the_columns_that_their_documentation_says() -> None:
    section = TEXT.partition("## `scores.parquet`")[2].partition("## Metrics")[0]
    rows = re.findall(r"^\| (`.+?) \|", section, flags=re.MULTILINE)
    assert [name for row in rows for name in re.findall(r"`(\w+)`", row)] == schemas.SCORES.names


def test_every_metric_is_documented_with_its_title_unit_and_direction() -> None:
    better = {True: "higher", False: "lower", None: ""}
    assert TEXT.partition("## Metrics")[2].splitlines()[4 : 4 + len(METRICS)] == [
        f"| `{metric.name}` | {metric.title} | {metric.unit} | {better[metric.higher_is_better]} |"
        for metric in METRICS
    ]


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


def test_csv_and_parquet_have_the_same_numbers(made: Made, one_seed: Made) -> None:
    for report in (made, one_seed):
        for name in tables_of(report):
            parquet = pd.read_parquet(report.folder / f"tables/{name}.parquet")
            expected = formats.spreadsheet(parquet)  # no formulas
            pd.testing.assert_frame_equal(read_csv(report, name), expected, check_exact=True)


@pytest.mark.parametrize("text", ["=1+1", "+1", "-cmd|' /C calc'!A0", "@SUM(1)", "\t=1", "＝1"])
def test_no_text_in_a_csv_file_is_a_formula(tmp_path: Path, text: str) -> None:
    formats.write_data(tmp_path, "x", pd.DataFrame({"label": [text, "jsd"], "value": [-1.5, 2.0]}))
    with (tmp_path / "x.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows == [["label", "value"], [f"'{text}", "-1.5"], ["jsd", "2.0"]]
    assert pd.read_parquet(tmp_path / "x.parquet")["label"].tolist() == [text, "jsd"]


def test_no_interval_of_a_report_leaves_its_scale_or_contradicts_its_verdict(
    made: Made, one_seed: Made
) -> None:
    for report in (made, one_seed):
        scales = read_csv(report, "measures").set_index(["task", "slice", "metric"])
        for name in ("main", "slices", "differences", "teacher_size", "retention"):
            for row in read_csv(report, name).itertuples() if name in tables_of(report) else ():
                lowest, highest = scales.loc[row.task, row.slice, row.metric][["lowest", "highest"]]
                if name in ("main", "slices"):
                    ends = lowest, highest
                else:
                    ends = lowest - highest, highest - lowest
                    assert row.is_significant == (row.low > 0 or row.high < 0)
                assert not row.low < ends[0], (name, row)  # no comparison holds with NaN
                assert not row.high > ends[1], (name, row)
                assert not row.low > row.value + ROUNDING, (name, row)
                assert not row.high < row.value - ROUNDING, (name, row)


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
    table = read_csv(made, "cost")
    memory = table[table["quantity"] == "peak_memory"]
    assert set(memory["unit"]) == {"GiB"}
    assert memory["value"].between(0.01, 1000).all()
