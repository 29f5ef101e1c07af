"""The files of a report: columns and types as documented, and what the jobs wrote."""

import csv
import re
from pathlib import Path

import pandas as pd
import pytest
from report_docs import TEXT
from report_tables import DOCUMENTED, read_csv, tables_of
from reports import Made

from pipeline.artifacts import schemas
from pipeline.reporting.analysis.metrics import METRICS
from pipeline.reporting.render import formats

pytestmark = [pytest.mark.xdist_group("report"), pytest.mark.slow]
ROUNDING = 1e-9  # of sums
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
        lowest[row.teacher, row.student, row.seed] = best["step"]
    assert kept.set_index(["teacher", "student", "seed"])["step"].to_dict() == lowest


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
