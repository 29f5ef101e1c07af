"""The report's section on judges: each with its verdict, and what tells whether to trust it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from made_up import Cell, made
from report_docs import Documented

from pipeline.artifacts import schemas
from pipeline.methods.catalogue import METHODS
from pipeline.reporting.analysis.comparisons import compare
from pipeline.reporting.analysis.load import ReportInputs
from pipeline.reporting.analysis.scores import assemble
from pipeline.reporting.page.samples import samples
from pipeline.reporting.render import formats
from pipeline.reporting.render.table import MISSING, Table
from pipeline.reporting.sections.judges import judges_table
from pipeline.settings.report import ReportSettings

JUDGES = {
    "strict": {"model": "qwen", "against": "sft"},
    "taste": {"model": "liking", "kind": "reward"},
    "far": {"model": "large", "endpoint": "http://127.0.0.1:8000/v1"},
}
SETTINGS = ReportSettings(
    experiment="made",
    data_id="d",
    methods={"jsd": METHODS["jsd"]},
    config={"evaluation": {"judges": JUDGES}},
)
WINS = np.array([0.0, 50.0, 100.0, 100.0] * 5)
MEASURED = {
    "judge_win:strict": WINS,
    "judge_win_length_controlled:strict": WINS - 2.5,
    "judge_disagreement:strict": np.array([1.0, 0.0] * 10),
    "judge_first:strict": np.array([0.5, 1.0] * 10),
    "judge_reward:taste": np.array([-1.5, 0.5] * 10),
    "judge_win:far": WINS,
    "judge_unread:far": np.array([0.0, 0.0, 0.0, 0.5] * 5),
}


def judged(metrics: dict[str, np.ndarray]) -> ReportInputs:
    """One method with these values of its items."""
    parts = [made({Cell("jsd", 1): values}, metric) for metric, values in metrics.items()]
    return replace(parts[0], item_sums=pd.concat([part.item_sums for part in parts]))


def table_of(inputs: ReportInputs) -> Table | None:
    return judges_table(SETTINGS, compare(assemble(inputs), SETTINGS))


@pytest.fixture(scope="module")
def table() -> Table:
    table = table_of(judged(MEASURED))
    assert table is not None
    return table


def test_a_row_has_the_verdict_with_its_interval_and_the_doubts_about_it(table: Table):
    rows = {group.names[2]: group.rows[0] for group in table.groups}
    strict, taste, far = rows["strict"], rows["taste"], rows["far"]
    assert [cell.value for cell in strict[1:5]] == pytest.approx([62.5, 60.0, 0.5, 0.75])
    assert strict[1].spread or " to " in strict[1].text
    assert strict[5].text == MISSING  # a local judge without the measure
    assert strict[6].value == 20
    assert strict[6].link == "samples"
    assert taste[1].value == pytest.approx(-0.5)
    assert [cell.text for cell in taste[2:6]] == [MISSING] * 4
    assert far[5].value == pytest.approx(0.125)


def test_a_group_says_which_judge_it_is_of_and_what_that_was_asked(table: Table):
    titles = [group.title.partition(": ")[2] for group in table.groups]
    assert sorted(titles) == [
        "far: large, behind an endpoint, against the reference; t",
        "strict: qwen, against sft; t",
        "taste: liking, reward; t",
    ]


def test_its_file_has_the_documented_columns_and_every_measure(table: Table, tmp_path: Path):
    formats.write(tmp_path, table)
    data = pd.read_parquet(tmp_path / "judges.parquet")
    assert list(data) == Documented.read().files["judges"]
    assert list(data["judge"]) == list(data["metric"].str.partition(":")[2])
    means = dict(zip(data["metric"], data["value"], strict=True))
    assert means == pytest.approx({name: items.mean() for name, items in MEASURED.items()})
    assert "strict" in (tmp_path / "judges.md").read_text()


def test_a_judge_that_the_configuration_does_not_have_is_shown_and_said_to_be_so():
    table = table_of(judged({"judge_win": WINS, "judge_win:gone": WINS}))
    assert table is not None
    assert [group.title.partition(": ")[2] for group in table.groups] == [
        "a judge without a name (not in the configuration); t",
        "gone (not in the configuration); t",
    ]
    assert [group.rows[0][1].value for group in table.groups] == pytest.approx([62.5, 62.5])


def test_what_judges_prefer_is_ranked_under_their_names():
    keys = {measure.key for measure in assemble(judged(MEASURED)).ranked_measures}
    preferred = ("judge_win:strict", "judge_win_length_controlled:strict", "judge_win:far")
    assert keys == {f"t/{name}" for name in (*preferred, "judge_reward:taste")}


def test_without_a_judge_there_is_no_section():
    assert table_of(judged({"rouge_l": np.arange(20.0)})) is None


ITEM = ("t", "", 0, "item 0")


def samples_of(items: list[tuple]) -> dict[str, Any]:
    """The samples of one response whose scores are these."""
    inputs = judged({"rouge_l": WINS, "judge_win:strict": WINS, "judge_first:strict": WINS / 100})
    (id,) = inputs.grid["eval_id"]
    output = {"task": "t", "decoding_seed": 0, "example_id": "item 0", "prompt": "Why?"}
    output |= {"references": ["So."], "output": "Because."}
    inputs = replace(
        inputs,
        shown_items={id: pd.DataFrame(items, columns=schemas.ITEMS.names)},
        shown_outputs={id: pd.DataFrame([output])},
    )
    shown = samples(inputs, assemble(inputs))
    assert shown is not None
    tasks = shown["tasks"]
    assert isinstance(tasks, list)
    return tasks[0]


def test_samples_have_the_verdict_beside_the_score_of_a_response():
    task = samples_of(
        [
            (*ITEM, "rouge_l", "", 12.345, 1.0),
            (*ITEM, "judge_win:strict", "teacher-large", 50.0, 1.0),  # against one of its rows
            (*ITEM, "judge_first:strict", "teacher-large", 0.5, 1.0),
        ]
    )
    assert task["measures"] == ["ROUGE-L", "Win rate, strict"]
    assert task["items"][0]["scores"] == [[["12.35", "50.0"]]]


def test_samples_have_no_verdict_of_several_opponents_or_without_an_answer():
    wins = "judge_win:strict"
    several = [(*ITEM, wins, "teacher-large", 50.0, 1.0), (*ITEM, wins, "teacher-small", 0.0, 1.0)]
    score = (*ITEM, "rouge_l", "", 12.0, 1.0)
    for verdicts in (several, [(*ITEM, wins, "", float("nan"), 0.0)]):
        assert samples_of([score, *verdicts])["items"][0]["scores"] == [[["12.00", ""]]]
