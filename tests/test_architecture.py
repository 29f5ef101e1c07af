"""docs/architecture.md knows every stage and every package."""

import re

import pytest
from snaking import ROOT

from pipeline.stages.options import STAGES

TEXT = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")


def test_every_stage_has_a_row() -> None:
    rows = re.findall(r"^\| `(\w+)` \| `(\S+)` \|", TEXT, re.MULTILINE)
    assert dict(rows) == {stage: f"pipeline/stages/{stage}.py" for stage in STAGES}


@pytest.mark.parametrize("root", ["pipeline", "workflow"])
def test_every_package_is_in_the_tree(root: str) -> None:
    tree = re.search(rf"^{root}/\n((?:  .*\n)+)", TEXT, re.MULTILINE)
    assert tree is not None
    listed = re.findall(r"^  (\w+)/ ", tree[1], re.MULTILINE)
    folders = {path.parent.name for path in (ROOT / root).glob("*/*.py")}
    assert folders <= set(listed)
