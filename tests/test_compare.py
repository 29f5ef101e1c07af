"""Two reports compared: which scores moved, and what else is another in the second one."""

import json
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from reports import Made

from pipeline.artifacts import schemas
from pipeline.publishing.comparison import compare_reports
from pipeline.publishing.finished import FinishedReport
from pipeline.publishing.score_changes import ITEMS, PAIRED, SEEDS, compare_scores
from workflow.commands import main

METHODS = tuple(f"method_{number}" for number in range(8))
STDERR, COUNT = 0.02, 400


def scores(values: Mapping[str, Iterable[float]], first_seed: int = 1) -> pd.DataFrame:
    """Scores of methods on one measure, a value for each seed."""
    measure = ("heldout", "", "nll_nats")
    rows = [
        ("large", "small", method, seed, *measure, value, STDERR, COUNT, f"{method}.{seed}", False)
        for method, of_method in values.items()
        for seed, value in enumerate(of_method, first_seed)
    ]
    return pd.DataFrame(rows, columns=schemas.SCORES.names)


def drawn(rng: np.random.Generator, shift: float = 0.0) -> dict[str, list[float]]:
    """Three seeds of each method, alike but for their scatter."""
    return {method: list(3 + shift + 0.02 * rng.normal(size=3)) for method in METHODS}


def test_equal_scores_are_equal_and_nothing_moves() -> None:
    same = scores({"sft": [3.0, 3.1], "jsd": [2.9, 3.0]})
    compared = compare_scores(same, same)
    assert (compared.equal, compared.changes) == (2, ())


@pytest.mark.slow
def test_reruns_that_differ_by_chance_alone_are_seldom_said_to_have_moved() -> None:
    rng = np.random.default_rng(0)
    pairs = [(scores(drawn(rng)), scores(drawn(rng))) for _ in range(30)]
    false = sum(bool(compare_scores(*pair).moved) for pair in pairs)
    assert false <= 5  # 1.5 of 30 expected; more than 5 once in 300 such tests


def test_a_true_move_of_ten_standard_errors_is_found_in_every_cell() -> None:
    rng = np.random.default_rng(1)
    compared = compare_scores(scores(drawn(rng)), scores(drawn(rng, shift=0.2)))
    assert [change.method for change in compared.moved] == list(METHODS)
    assert {change.basis for change in compared.changes} == {PAIRED}


def test_equal_seeds_are_paired_and_others_are_not() -> None:
    values = np.array([2.0, 3.0, 4.0])  # seeds differ much more than the two reports
    before = scores({"jsd": values})
    after = values + np.array([0.100, 0.101, 0.099])
    (paired,) = compare_scores(before, scores({"jsd": after})).changes
    assert (paired.basis, paired.has_moved) == (PAIRED, True)
    (apart,) = compare_scores(before, scores({"jsd": after}, first_seed=11)).changes
    assert (apart.basis, apart.has_moved) == (SEEDS, False)
    # Welch's test by hand: variance 2 · 1 / 3, 4 degrees of freedom, t = 2.776
    assert apart.interval.half_width == pytest.approx(2.776 * (2 / 3) ** 0.5, rel=2e-3)


@pytest.mark.parametrize(("after", "moves"), [(3.05, False), (3.06, True)])
def test_a_single_seed_is_judged_by_the_errors_of_its_items(after: float, moves: bool) -> None:
    # 1.966 · (2 · 0.02²)^½ = 0.0556
    (change,) = compare_scores(scores({"jsd": [3.0]}), scores({"jsd": [after]})).changes
    assert (change.basis, change.has_moved) == (ITEMS, moves)
    assert change.interval.half_width == pytest.approx(0.0556, abs=1e-4)


def test_a_teacher_is_not_compared_by_its_distance_to_itself() -> None:
    rounding = [
        scores({"teacher": values, "jsd": values}).assign(metric="kl_to_teacher_nats")
        for values in ([1e-9], [2e-9])
    ]
    assert [change.method for change in compare_scores(*rounding).changes] == ["jsd"]


def test_no_interval_is_wider_than_the_scale() -> None:
    shares = [scores({"jsd": values}).assign(metric="ended") for values in ([0, 1], [1, 0.5])]
    (change,) = compare_scores(*shares).changes
    assert (change.interval.low, change.interval.high) == (-1, 1)


def test_one_score_that_stands_under_two_teachers_is_one_comparison() -> None:
    first, second = scores({"sft": [3.0, 3.1]}), scores({"sft": [3.2, 3.3]})
    both = [
        pd.concat([table, table.assign(teacher="base", repeats=True)]) for table in (first, second)
    ]
    assert len(compare_scores(*both).changes) == 1


@pytest.fixture
def edited(made: Made, tmp_path: Path) -> Callable[..., Path]:
    """A copy of a report with other scores, and other words in its JSON files."""

    def edit(
        change: Callable[[pd.DataFrame], pd.DataFrame], words: Mapping[str, str] | None = None
    ) -> Path:
        shutil.copytree(made.folder, tmp_path / "report")
        path = tmp_path / "report/scores.parquet"
        changed = change(pd.read_parquet(path))
        (tmp_path / "report/manifest.json").unlink()
        schemas.write(path, changed.to_dict("list"), schemas.SCORES)
        for file in ("config.json", "provenance.json"):
            text = (tmp_path / "report" / file).read_text()
            for old, new in (words or {}).items():
                text = text.replace(old, new)
            (tmp_path / "report" / file).write_text(text)
        return tmp_path

    return edit


def jsd_is_worse(scores: pd.DataFrame) -> pd.DataFrame:
    of_jsd = (scores["method"] == "jsd") & (scores["metric"] == "nll_nats")
    return scores.assign(value=scores["value"].where(~of_jsd, scores["value"] + 0.5))


def run(*arguments: object) -> int:
    return main.main(["compare", *map(str, arguments)])


@pytest.mark.slow
@pytest.mark.xdist_group("report")
def test_a_report_is_equal_to_itself(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(made.folder.parent, made.folder) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == f"{made.folder} -> {made.folder}"
    assert second.endswith("0 within the interval of their difference, 0 moved")


@pytest.mark.slow
@pytest.mark.xdist_group("report")
def test_what_moved_and_what_differs_is_told(
    made: Made, edited: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    other = edited(
        lambda scores: jsd_is_worse(scores[scores["method"] != "forward_kl"]),
        {"node7": "node8", '"2.13.0"': '"2.14.0"', "v0.1.0-7-g0123456": "v0.2.0"},
    )
    assert run(made.folder, other) == 3
    out = capsys.readouterr().out
    assert "large small jsd" in out
    assert max(map(len, out.splitlines()[1:])) <= 100

    assert run(made.folder, other, "--json") == 3
    told = json.loads(capsys.readouterr().out)
    moved = {(change["method"], change["metric"]) for change in told["changes"] if change["moved"]}
    assert moved == {("jsd", "nll_nats")}
    unequal = {
        (difference["kind"], difference["name"]): (difference["before"], difference["after"])
        for difference in told["unequal"]
    }
    assert unequal["seeds", "large small forward_kl"] == ("1, 2", "none")
    assert unequal["version", "torch"] == ("2.13.0", "2.14.0")
    assert unequal["machine", "machine"][1].startswith("node8")
    assert unequal["commit", "commit"][1] == "v0.2.0, 2 files changed"


@pytest.mark.slow
@pytest.mark.xdist_group("report")
def test_other_data_is_told_before_any_score(
    made: Made, edited: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    other = edited(jsd_is_worse)
    path = other / "report/provenance.json"
    manifests = json.loads(path.read_text())
    for artifact, manifest in manifests["artifacts"].items():
        if artifact.startswith("data/"):
            manifest["content"] = "0123456789abcdef"
    path.write_text(json.dumps(manifests))
    assert run(made.folder, other) == 3
    assert "measured on different data" in capsys.readouterr().out.splitlines()[1]


@pytest.mark.slow
@pytest.mark.xdist_group("report")
def test_settings_and_code_are_compared_by_key_and_by_file(
    made: Made, edited: Callable[..., Path]
) -> None:
    folder = edited(lambda scores: scores)
    assert (
        compare_reports(FinishedReport.read(made.folder), FinishedReport.read(folder)).unequal == ()
    )
    (folder / "report/config.json").write_text('{"training": {"steps": 7, "schedule": "cosine"}}')
    (folder / "report/sources.json").write_text('{"pipeline/a.py": ["0f"], "pipeline/b.py": ["1"]}')
    changed = FinishedReport.read(folder)
    (folder / "report/config.json").write_text('{"training": {"steps": 8, "schedule": "cosine"}}')
    (folder / "report/sources.json").write_text('{"pipeline/a.py": ["0e"], "pipeline/b.py": ["1"]}')
    again = FinishedReport.read(folder)
    unequal = compare_reports(changed, again).unequal
    assert [
        (difference.kind, difference.name, difference.before, difference.after)
        for difference in unequal
    ] == [
        ("setting", "training.steps", "7", "8"),
        ("code", "pipeline/a.py", "0f", "0e"),
    ]


def test_a_folder_without_a_report_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"error: .*there is no scores\.parquet.*name a folder"):
        run(tmp_path, tmp_path)
