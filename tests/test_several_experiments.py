"""Experiments share what they have in common, on the disk and in time, and forget nothing."""

from pathlib import Path
from typing import Any

import pytest
from snaking import JOB, Copy, edited

from workflow.config.validate import validate
from workflow.grid.grid import Grid
from workflow.jobs.jobs import OUTDATED

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("chain")]
METHODS = {"sft": None, "seqkd": None, "jsd": None}
OWN = {"seqkd": None, "reverse_kl": None}


def run(chain: Copy, config: dict[str, Any]) -> set[str]:
    """What Snakemake made for a configuration."""
    done = chain.snakemake(config, "--cores", "2", preloaded=True)
    assert done.returncode == 0, done.stdout + done.stderr + chain.logs()
    made = set(JOB.findall(done.stderr))
    return made - {OUTDATED}


def test_a_second_experiment_shares_data_teacher_text_and_cache_and_makes_what_is_its_own(
    chain: Copy, tiny: dict[str, Any]
):
    first = edited(tiny, {"experiment": "one", "methods": METHODS})
    second = edited(tiny, {"experiment": "two", "methods": OWN})
    run(chain, first)
    grid = Grid(validate(second))
    shared = set(Grid(validate(first)).artifacts) & set(grid.artifacts)
    assert {path.split("/")[1] for path in shared} >= {"data", "teachers", "texts", "caches"}
    before = {path: (chain.folder / path / "manifest.json").stat() for path in shared}

    student = grid.student("reverse_kl", "small", "large", 1)
    own = {student.path, grid.evaluations[student].path, "results/two/grid.csv"}
    assert run(chain, second) == own | {"results/two/report"}
    after = {path: (chain.folder / path / "manifest.json").stat() for path in shared}
    assert [(one.st_ino, one.st_mtime) for one in after.values()] == [
        (one.st_ino, one.st_mtime) for one in before.values()
    ]
    for stage in ("teachers", "data"):
        made = [one for one in (chain.folder / "results" / stage).iterdir() if one.is_dir()]
        assert len(made) == 1


def test_changing_back_to_an_earlier_configuration_finds_its_results(
    chain: Copy, tiny: dict[str, Any]
):
    first = edited(tiny, {"experiment": "back"})
    changed = edited(first, {"training.steps": 5})
    run(chain, first)
    scores = chain.folder / "results/back/report/scores.parquet"
    before = scores.read_bytes()
    assert {Path(path).parent.name for path in run(chain, changed)} == {
        *("teachers", "caches", "students", "evals", "back")
    } - {"teachers", "caches"}
    assert scores.read_bytes() != before

    # the report has one name for both, so it alone is made again
    assert run(chain, first) == {"results/back/grid.csv", "results/back/report"}
    assert scores.read_bytes() == before
    assert chain.planned(first) == set()
