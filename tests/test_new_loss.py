"""A new loss is one file and one entry in the catalogue: the laws and the workflow find it."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from snaking import ROOT, Copy, edited

from workflow.config.validate import ConfigError, validate

FILE = '''"""Squared Hellinger distance.

E. Hellinger, 1909. As a distance of distributions over tokens in AdaKD, arXiv:2510.11615.
"""

from dataclasses import dataclass

import torch

from pipeline.distributions.log_probs import LogProbs, PerToken, TokenContext


@dataclass(frozen=True)
class Loss:
    """1 - Σ √(p q)."""

    def __call__(self, teacher: LogProbs, student: LogProbs, tokens: TokenContext) -> PerToken:
        return 1 - torch.exp((teacher + student) / 2).sum(-1)
'''
ENTRY = """METHODS = {
    "hellinger": Method(
        title="Hellinger", loss="hellinger", source="arXiv:2510.11615", evidence="abstract"
    ),
"""
REFERENCE = """

def hellinger(p: Rows, q: Rows, tokens: TokenContext, h: Hyperparameters) -> np.ndarray:
    return each(lambda a, b: sum((x**0.5 - y**0.5) ** 2 for x, y in zip(a, b)) / 2, p, q)
"""


@pytest.fixture(scope="module")
def extended(project: Copy, tmp_path_factory: pytest.TempPathFactory) -> Copy:
    """The project with one loss more."""
    folder = tmp_path_factory.mktemp("extended")
    ignored = shutil.ignore_patterns("__pycache__", "results", ".snakemake")
    shutil.copytree(project.folder, folder, ignore=ignored, dirs_exist_ok=True)
    for name in ("benchmarks", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", folder)
    (folder / "pipeline/losses/hellinger.py").write_text(FILE)
    methods = folder / "pipeline/methods/catalogue.py"
    methods.write_text(methods.read_text().replace("METHODS = {\n", ENTRY))
    with (folder / "tests/references.py").open("a") as references:
        references.write(REFERENCE)
    return Copy(folder)


def laws(folder: Path) -> subprocess.CompletedProcess[str]:
    """The laws of the new loss, in the copy."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "hellinger"]
    return subprocess.run(
        [*command, "tests/test_loss_laws.py"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_laws_find_it_and_it_obeys(extended: Copy) -> None:
    done = laws(extended.folder)
    assert done.returncode == 0, done.stdout
    assert "10 passed" in done.stdout, done.stdout  # eight laws, the teacher's gradient, the source


def test_the_laws_find_it_where_it_is_wrong(extended: Copy) -> None:
    with extended.edit("pipeline/losses/hellinger.py", "(teacher + student) / 2", "student / 2"):
        assert laws(extended.folder).returncode == 1


def test_the_workflow_plans_it(extended: Copy, tiny: dict[str, Any]) -> None:
    planned = extended.planned(edited(tiny, {"methods": {"hellinger": None}}))
    assert any(one.startswith("students/hellinger.small.large.s1-") for one in planned)


def test_without_the_entry_it_is_no_method(tiny: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="unknown method 'hellinger'"):
        validate(edited(tiny, {"methods": {"hellinger": None}}))
