"""The report of what is finished, while the rest is not, or never will be."""

import csv
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import forked
import pandas as pd
import pytest
from snaking import Copy, edited

from pipeline.runtime.progress import STOPPED
from workflow.commands.partial_report import PartialReport
from workflow.config.validate import validate
from workflow.grid.grid import Grid
from workflow.jobs.jobs import Jobs

pytestmark = pytest.mark.xdist_group("chain")


def asked(copy: Copy, config: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    """`distilbench report --partial` as a user starts it."""
    path = copy.folder / f"{config['experiment']}.json"
    path.write_text(json.dumps(config))
    command = ["-m", "workflow.commands.main", "report", "--partial", path.name]
    return forked.jobs().run(command, copy.folder)


@pytest.fixture(scope="module")
def hot(chain: Copy, tiny: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """An experiment after a run in which one row has failed for good, and what that run said."""
    rows = {"sft": None, "jsd": None, "hot": {"method": "sft", "training": {"learning_rate": 1e30}}}
    config = edited(tiny, {"experiment": "hot", "methods": rows})
    done = chain.snakemake(config, "--cores", "2", "--keep-going", "--quiet", preloaded=True)
    assert done.returncode != 0
    return config, done.stderr


def test_a_cell_that_fails_for_good_leaves_a_hole_and_not_no_report(
    chain: Copy, hot: tuple[dict[str, Any], str]
):
    config, printed = hot
    assert "A partial report: results/hot/partial/report/index.html" in printed
    done = asked(chain, config)
    assert done.returncode == 0, done.stdout + done.stderr
    student = Grid(validate(config)).student("hot", "small", "large", 1)
    why = f"students/{student.id} failed: the gradient norm is nan at step 2"
    for told in (printed, done.stdout):
        assert f"left out: hot.small.large.s1: {why}" in told
    assert "5 of 6 cells are in it" in done.stdout

    folder = chain.folder / "results/hot/partial"
    with (folder / "grid.csv").open(newline="") as file:
        assert [row["method"] for row in csv.DictReader(file) if row["kind"] == "method"] == [
            "sft",
            "jsd",
        ]
    partial, whole = (
        pd.read_parquet(chain.folder / f"results/{experiment}/report/scores.parquet")
        for experiment in ("hot/partial", "tiny")
    )
    pd.testing.assert_frame_equal(partial, whole, check_exact=True)
    (hole,) = pd.read_csv(folder / "report/tables/missing.csv").to_dict("records")
    assert (hole["method"], hole["student"], hole["seed"]) == ("hot", "small", 1)
    assert hole["why"].startswith(why)
    page = (folder / "report/index.html").read_text()
    assert "1 of 6 cells missing" in page
    assert re.search(r'<th scope="row">hot <small>1 failed</small></th>(<td>—</td>)+</tr>', page)
    assert why in page.partition('id="missing">')[2].partition('id="scores">')[0]
    assert "A partial report: 1 cell of the grid missing (hot)" in page
    assert not (chain.folder / "results/hot/report").exists()


def test_a_job_that_was_asked_to_stop_has_not_failed(
    chain: Copy, hot: tuple[dict[str, Any], str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(chain.folder)
    grid = Grid(validate(hot[0]))
    log = Path(f"results/logs/students/{grid.student('hot', 'small', 'large', 1).id}.log")
    text = log.read_text()
    assert PartialReport(Jobs(grid)).has_failures
    log.write_text(f"{text}{STOPPED} by signal 2; finished work is kept, rerun to resume\n")
    report = PartialReport(Jobs(grid))
    assert not report.has_failures
    assert [cell.why for cell in report.missing] == ["not yet run"]
    log.write_text(text)


def test_the_whole_report_takes_the_place_of_the_partial_one(
    chain: Copy, hot: tuple[dict[str, Any], str]
):
    assert (chain.folder / "results/hot/partial").exists()
    config = edited(hot[0], {"methods": {"sft": None, "jsd": None}})
    done = chain.snakemake(config, "--cores", "2", "--quiet", preloaded=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (chain.folder / "results/hot/report/index.html").exists()
    assert not (chain.folder / "results/hot/partial").exists()


def test_where_no_method_is_evaluated_there_is_nothing_to_report(chain: Copy, tiny: dict[str, Any]):
    done = asked(chain, edited(tiny, {"experiment": "early", "training.steps": 14}))
    assert done.returncode == 1
    assert done.stderr == "early: no method is evaluated yet: there is nothing to report\n"
    assert not (chain.folder / "results/early").exists()
