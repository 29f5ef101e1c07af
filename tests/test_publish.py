"""Publishing: what is copied, and that every number is recomputed from the items first."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
from reports import Made

from pipeline.artifacts import checksums, schemas
from workflow.commands import publish, self_check

pytestmark = [pytest.mark.xdist_group("report"), pytest.mark.slow]


@pytest.fixture
def results(made: Made, tmp_path: Path) -> Path:
    """A copy of the results that a test may spoil."""
    shutil.copytree(made.results, tmp_path / "results")
    return tmp_path / "results"


def check(results: Path) -> int:
    evidence = self_check.in_results(results)
    return self_check.check(results / "demo/report", results / "demo/grid.csv", evidence)


def change_score(results: Path, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    path = results / "demo/report/scores.parquet"
    changed = change(pd.read_parquet(path))
    schemas.write(path, changed.to_dict("list"), schemas.SCORES)


def test_a_report_agrees_with_its_items_in_every_number(made: Made) -> None:
    scores = pd.read_parquet(made.folder / "scores.parquet")
    # value, error and count of each score; and of the main table, 2 pairs with 3 methods of two
    # seeds (mean and spread), untrained and start of one (mean) in 7 measures, the teacher in 5;
    # all of them again on 4 parts of the held-out text
    tables = 2 * (3 * 7 * 2 + 2 * 7 + 5) + 2 * 4 * (3 * 2 + 3)
    assert check(made.results) == 3 * len(scores) + tables


@pytest.mark.parametrize("metric", ["nll_nats", "kl_to_teacher_nats", "rouge_l", "ece"])
@pytest.mark.parametrize("column", ["value", "stderr", "n"])
def test_a_tampered_score_is_caught_by_name(results: Path, metric: str, column: str) -> None:
    def tampered(scores: pd.DataFrame) -> pd.DataFrame:
        of_method = (scores["method"] == "jsd") & (scores["teacher"] == "middle")
        place = scores.index[of_method & (scores["metric"] == metric)][0]
        scores.loc[place, column] *= 2 if column == "n" else 1 + 1e-6
        return scores

    change_score(results, tampered)
    task = "test_responses" if metric == "rouge_l" else "heldout"
    words = f"middle small jsd seed 1 {task} {metric}: the {column} is "
    with pytest.raises(ValueError, match=words):
        check(results)


@pytest.mark.parametrize("column", ["value", "sd"])
@pytest.mark.parametrize("name", ["main", "slices"])
def test_a_tampered_cell_of_a_table_is_caught_by_name(
    results: Path, name: str, column: str
) -> None:
    def tampered(table: pd.DataFrame) -> pd.DataFrame:
        table.loc[table.index[table["method"] == "jsd"][0], column] += 0.001
        return table

    change_table(results, name, tampered)
    with pytest.raises(ValueError, match=f"{name}.csv: large small jsd .*: the {column} is "):
        check(results)


def change_table(results: Path, name: str, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    path = results / f"demo/report/tables/{name}.csv"
    table = pd.read_csv(path)
    change(table).to_csv(path, index=False)


def test_a_mean_outside_its_interval_is_caught(results: Path) -> None:
    change_table(results, "main", lambda table: table.assign(high=table["low"]))
    with pytest.raises(ValueError, match="nll_nats is not between"):
        check(results)


def test_a_mean_that_is_left_out_is_caught(results: Path) -> None:
    change_table(results, "main", lambda table: table.iloc[:-1])
    with pytest.raises(ValueError, match="has no mean of middle small jsd"):
        check(results)


def test_a_tampered_item_is_caught(results: Path) -> None:
    path = next((results / "evals").glob("*gkd*/items.parquet"), None) or next(
        (results / "evals").glob("*jsd*/items.parquet")
    )
    items = pd.read_parquet(path)
    items.loc[0, "value"] += 0.001
    schemas.write(path, items.to_dict("list"), schemas.ITEMS)
    with pytest.raises(ValueError, match=f"the items of {path.parent.name} give"):
        publish.publish("demo", results)
    assert not (results / "published").exists()


def test_what_is_published_can_be_checked_again_by_itself(results: Path) -> None:
    checked = publish.publish("demo", results)
    folder = results / "published/demo"
    shutil.rmtree(results / "evals")
    evidence = self_check.beside(folder)
    assert self_check.check(folder, folder / "grid.csv", evidence) == checked


def test_report_grid_configuration_provenance_and_items_are_published(results: Path) -> None:
    (results / "demo/report/paper/report.aux").write_text("Of a compilation.\n")
    (results / "demo/report/notes.txt").write_text("By hand.\n")
    publish.publish("demo", results)
    folder = results / "published/demo"
    assert not (folder / "paper/report.aux").exists()
    names = {path.name for path in folder.iterdir()}
    beside = {"index.html", "outcome.json", "scores.parquet", "tables", "plots", "paper"}
    assert names == beside | {
        "manifest.json",
        "grid.csv",
        "config.json",
        "provenance.json",
        "items.parquet",
        "calibration.parquet",
    }
    told = json.loads((folder / "provenance.json").read_text())
    evaluations = {f"evals/{path.name}" for path in (results / "evals").iterdir()}
    assert evaluations <= set(told["artifacts"])
    rows = sum(
        pq.read_metadata(path).num_rows for path in (results / "evals").glob("*/items.parquet")
    )
    assert pq.read_metadata(folder / "items.parquet").num_rows == rows


def test_the_commands_of_a_published_page_name_the_published_configuration(results: Path) -> None:
    publish.publish("demo", results)
    folder = results / "published/demo"
    page = (folder / "index.html").read_text()
    assert "--configfile results/published/demo/config.json" in page
    assert "--configfile results/demo/report/config.json" not in page
    assert checksums.is_intact(folder)


def test_publishing_again_keeps_what_was_written_by_hand_and_nothing_else(results: Path) -> None:
    publish.publish("demo", results)
    folder = results / "published/demo"
    (folder / "README.md").write_text("By hand.\n")
    (folder / "old.txt").write_text("Of an earlier report.\n")
    publish.publish("demo", results)
    assert (folder / "README.md").read_text() == "By hand.\n"
    assert not (folder / "old.txt").exists()


def test_publishing_says_what_moved_since_the_report_that_it_replaces(
    results: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(results.parent)
    assert publish.main(experiment="demo") == 0
    first = capsys.readouterr()
    assert "moved" not in first.out
    assert "recomputing" in first.err  # it is not silent while it works
    path = results / "published/demo/scores.parquet"
    scores = pd.read_parquet(path)
    scores.loc[scores["method"] == "jsd", "value"] -= 1
    schemas.write(path, scores.to_dict("list"), schemas.SCORES)
    assert publish.main(experiment="demo") == 0
    out = capsys.readouterr().out
    assert re.search(r"scores in both: \d+ equal, 0 within .*, 14 moved", out)
    assert "large small jsd" in out
    path.write_bytes(b"")
    assert publish.main(experiment="demo") == 0
    assert "can't be compared" in capsys.readouterr().out


def test_the_code_behind_the_scores_is_published_by_file(results: Path) -> None:
    (results / "sources").mkdir()
    (results / "sources/abcd.json").write_text('{"pipeline/a.py": "0123456789abcdef"}')
    publish.publish("demo", results)
    sources = json.loads((results / "published/demo/sources.json").read_text())
    assert sources == {"pipeline/a.py": ["0123456789abcdef"]}


def test_an_experiment_without_a_report_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="run the experiment demo first"):
        publish.publish("demo", tmp_path)
