"""Several reports in one leaderboard: protocols apart, unequal measurements refused."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from reports import Made

from pipeline.reporting.analysis.load import KINDS
from workflow.commands import main

pytestmark = [pytest.mark.xdist_group("report"), pytest.mark.slow]
Copied = Callable[[str, str, str, str], Path]


@pytest.fixture
def copied(made: Made, tmp_path: Path) -> Copied:
    """A copy of a report of the experiment demo, with another text in one of its JSON files."""

    def copy(name: str, file: str, old: str, new: str) -> Path:
        shutil.copytree(made.folder, tmp_path / name)
        config = json.loads((made.folder / "config.json").read_text()) | {"experiment": "demo"}
        (tmp_path / name / "config.json").write_text(json.dumps(config))
        path = tmp_path / name / file
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))
        return tmp_path / name

    return copy


def run(*arguments: object) -> int:
    return main.main(["merge", *map(str, arguments)])


def test_reports_of_one_protocol_are_one_table_and_others_have_their_own(
    made: Made, copied: Copied, tmp_path: Path
) -> None:
    labs = copied("lab_a", "config.json", "{", "{"), copied("lab_b", "config.json", "{", "{")
    other = copied("lab_c", "config.json", '"demo"', '"<b>other"')
    assert run(*labs, other, "--out", tmp_path / "out") == 0
    page = (tmp_path / "out/index.html").read_text()
    assert page.count("<h2>") == page.count("<table>") == 2
    assert "experiment &lt;b&gt;other" in page
    assert "<script" not in page
    assert "http" not in page.replace("http-equiv", "")  # it needs no network

    table = pd.read_csv(tmp_path / "out/leaderboard.csv")
    assert list(dict.fromkeys(table["report"])) == ["lab_a", "lab_b", "lab_c"]
    scores = pd.read_parquet(made.folder / "scores.parquet")
    of_cell = {"teacher": "large", "student": "small", "method": "jsd", "metric": "nll_nats"}
    whole = scores[scores["slice"] == ""]
    for name, value in of_cell.items():
        whole, table = whole[whole[name] == value], table[table[name] == value]
    assert len(table) == 3
    assert list(table["value"]) == pytest.approx([whole["value"].mean()] * 3)
    assert list(table["sd"]) == pytest.approx([whole["value"].std()] * 3)
    assert set(table["n_seeds"]) == {2}


def test_the_best_comes_first_and_what_is_relative_to_a_teacher_is_left_out(
    made: Made, tmp_path: Path
) -> None:
    assert run(made.folder, "--out", tmp_path / "out") == 0
    table = pd.read_csv(tmp_path / "out/leaderboard.csv")
    values = table.loc[table["metric"] == "nll_nats", "value"]
    assert len(values) > 3
    assert values.is_monotonic_increasing
    assert "kl_to_teacher_nats" not in set(table["metric"])
    trained = values[~table["method"].isin(KINDS)]
    page = (tmp_path / "out/index.html").read_text()
    assert f"<b>{trained.min():.3f}</b>" in page
    assert f"<b>{values.min():.3f}</b>" not in page  # the teacher's


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('"items": 12', '"items": 13', r"evaluation\.items: 12 and 13"),
        ('"tasks": ["heldout"]', '"tasks": ["heldout", "ifeval"]', r"evaluation\.tasks: "),
    ],
)
def test_unequal_measurements_of_one_protocol_are_refused(
    copied: Copied, tmp_path: Path, old: str, new: str, words: str
) -> None:
    first = copied("lab_a", "config.json", "{", "{")
    other = copied("lab_b", "provenance.json", old, new)
    with pytest.raises(SystemExit, match=f"error: .*not measured alike .*{words}.*leave one out"):
        run(first, other, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_with_something_else_in_it_is_not_replaced(made: Made, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("Years of work.")
    with pytest.raises(SystemExit, match="holds no leaderboard"):
        run(made.folder, "--out", tmp_path)
    assert (tmp_path / "thesis.tex").exists()
