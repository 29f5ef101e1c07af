"""Experiments share what they have in common, on the disk and in time."""

from typing import Any

import pytest
from snaking import Copy, edited

from workflow.config.validate import validate
from workflow.grid.grid import Grid

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("chain")]
METHODS = {"sft": None, "seqkd": None, "jsd": None}
OWN = {"seqkd": None, "reverse_kl": None}


def test_a_second_experiment_shares_data_teacher_text_and_cache_and_makes_what_is_its_own(
    chain: Copy, tiny: dict[str, Any]
):
    first = edited(tiny, {"experiment": "one", "methods": METHODS})
    second = edited(tiny, {"experiment": "two", "methods": OWN})
    chain.made(first)
    grid = Grid(validate(second))
    shared = set(Grid(validate(first)).artifacts) & set(grid.artifacts)
    assert {path.split("/")[1] for path in shared} >= {"data", "teachers", "texts", "caches"}
    before = {path: (chain.folder / path / "manifest.json").stat() for path in shared}

    student = grid.student("reverse_kl", "small", "large", 1)
    own = {student.path, grid.evaluations[student].path, "results/two/grid.csv"}
    assert chain.made(second) == own | {"results/two/report"}
    after = {path: (chain.folder / path / "manifest.json").stat() for path in shared}
    assert [(state.st_ino, state.st_mtime) for state in after.values()] == [
        (state.st_ino, state.st_mtime) for state in before.values()
    ]
    for stage in ("teachers", "data"):
        made = [path for path in (chain.folder / "results" / stage).iterdir() if path.is_dir()]
        assert len(made) == 1
