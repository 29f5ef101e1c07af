"""A new loss, a loss around another one, and a policy are a file and a catalogue entry each.

The laws, the plan and the documentation then find it: no other list names it.
"""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from snaking import ROOT, Copy, edited

from workflow.config.validate import ConfigError, validate

pytestmark = pytest.mark.slow

LOSS = '''"""Squared Hellinger distance.

E. Hellinger, 1909. As a distance of distributions over tokens in AdaKD, arXiv:2510.11615.
"""

from dataclasses import dataclass

import torch

from pipeline.distributions.log_probs import LogProbs, PerToken, TokenContext


@dataclass(frozen=True)
class Loss:
    """1 - Σ √(p q)."""

    needs_only_distributions = True
    on_sparse_support = "lower"

    def __call__(self, teacher: LogProbs, student: LogProbs, tokens: TokenContext) -> PerToken:
        return 1 - torch.exp((teacher + student) / 2).sum(-1)
'''
WRAPPING_LOSS = '''"""A divergence in both directions."""

from dataclasses import dataclass
from functools import cached_property

from pipeline.distributions.log_probs import LogProbs, PerToken, TokenContext
from pipeline.losses import Loss as BaseLoss
from pipeline.losses import build_loss
from pipeline.methods.ranges import BaseDivergence, Share


@dataclass(frozen=True)
class Loss:
    """w D(p, q) + (1 - w) D(q, p)."""

    forward_weight: Share = 0.5  # w
    base: BaseDivergence = "forward_kl"  # D

    @cached_property
    def divergence(self) -> BaseLoss:
        """D, built once."""
        return build_loss(self.base, {})

    def __call__(self, teacher: LogProbs, student: LogProbs, tokens: TokenContext) -> PerToken:
        w = self.forward_weight
        forward = self.divergence(teacher, student, tokens)
        return w * forward + (1 - w) * self.divergence(student, teacher, tokens)
'''
POLICY = '''"""Every other step is of the student's text.

Invented for this test.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.data.batch import Text
from pipeline.generation import generate, sampler
from pipeline.generation.rollouts import StepContext
from pipeline.settings.generation import Sampling


@dataclass(frozen=True)
class Policy:
    """The drawn texts at even steps, the student's responses to their prompts at odd ones."""

    is_off_policy = False
    decoding_passes = 0.5

    def texts(self, batch: Sequence[Text], context: StepContext) -> list[Text]:
        if context.step % 2 == 0:
            return list(batch)
        models, most = [context.student], context.max_new_tokens
        return generate(batch, models, sampler(Sampling()), most, context.seed, "student")
'''
ENTRIES = """METHODS = {
    "hellinger": Method(
        title="Hellinger", loss="hellinger", source="arXiv:2510.11615", evidence="abstract"
    ),
    "both_ways": Method(
        title="Both ways", loss="both_ways", source="this project", evidence="own"
    ),
    "alternating": Method(
        title="Alternating",
        loss="forward_kl",
        policy="alternating",
        teacher="live",
        source="arXiv:2306.13649",
        evidence="abstract",
    ),
"""
REFERENCES = """

def hellinger(p: Rows, q: Rows, tokens: TokenContext, h: Hyperparameters) -> np.ndarray:
    return each(lambda a, b: sum((x**0.5 - y**0.5) ** 2 for x, y in zip(a, b)) / 2, p, q)


def both_ways(p: Rows, q: Rows, tokens: TokenContext, h: Hyperparameters) -> np.ndarray:
    w = h.forward_weight
    return each(lambda a, b: w * kl(a, b) + (1 - w) * kl(b, a), p, q)
"""
BOTH_WAYS = {"both_ways": {"base": "hellinger"}}


@pytest.fixture(scope="module")
def extended(project: Copy, tmp_path_factory: pytest.TempPathFactory) -> Copy:
    """The project with two losses and a policy more."""
    folder = tmp_path_factory.mktemp("extended")
    ignored = shutil.ignore_patterns("__pycache__", "results", ".snakemake")
    shutil.copytree(project.folder, folder, ignore=ignored, dirs_exist_ok=True)
    for name in ("benchmarks", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", folder)
    (folder / "pipeline/losses/hellinger.py").write_text(LOSS)
    (folder / "pipeline/losses/both_ways.py").write_text(WRAPPING_LOSS)
    (folder / "pipeline/data_policies/alternating.py").write_text(POLICY)
    methods = folder / "pipeline/methods/catalogue.py"
    methods.write_text(methods.read_text().replace("METHODS = {\n", ENTRIES))
    with (folder / "tests/references.py").open("a") as references:
        references.write(REFERENCES)
    return Copy(folder)


def run_python(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Python in the copy."""
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def run_tests(folder: Path, file: str, name: str) -> subprocess.CompletedProcess[str]:
    """The tests of a file, in the copy, that have a new component as a parameter."""
    arguments = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", name, f"tests/{file}")
    return run_python(folder, *arguments)


def test_the_laws_find_the_losses_and_they_obey(extended: Copy) -> None:
    done = run_tests(extended.folder, "test_loss_laws.py", "hellinger or both_ways")
    assert done.returncode == 0, done.stdout
    # of each: eight laws, the teacher's gradient, the source and the method
    assert "22 passed" in done.stdout, done.stdout


def test_what_a_loss_lacks_is_said_with_the_way_out(extended: Copy) -> None:
    entry = 'source="this project", evidence="own"'
    with (
        extended.edit("tests/references.py", "def both_ways(", "def renamed("),
        extended.edit("pipeline/methods/catalogue.py", entry, entry.replace("own", "full")),
    ):
        done = run_tests(
            extended.folder, "test_loss_laws.py", "both_ways and (source or reference)"
        )
    assert "tests/references.py lacks both_ways: the loss in NumPy" in done.stdout
    assert 'a loss without a publication has evidence="own" in pipeline/methods' in done.stdout
    assert "2 failed" in done.stdout


def test_the_laws_find_a_loss_that_is_wrong(extended: Copy) -> None:
    with extended.edit("pipeline/losses/hellinger.py", "(teacher + student) / 2", "student / 2"):
        assert run_tests(extended.folder, "test_loss_laws.py", "hellinger").returncode == 1


def test_the_laws_hold_a_loss_to_what_its_class_says(extended: Copy) -> None:
    constant = "    needs_only_distributions = True\n"
    wrong = constant + "    zero_when_equal = False\n"
    with extended.edit("pipeline/losses/hellinger.py", constant, wrong):
        assert run_tests(extended.folder, "test_loss_laws.py", "hellinger").returncode == 1


def test_the_tests_of_policies_find_a_policy_and_it_obeys(extended: Copy) -> None:
    done = run_tests(extended.folder, "test_data_policies.py", "alternating")
    assert done.returncode == 0, done.stdout
    assert "5 passed" in done.stdout, done.stdout


def test_the_workflow_plans_them(extended: Copy, tiny: dict[str, Any]) -> None:
    methods = {"hellinger": None, **BOTH_WAYS, "alternating": None}
    planned = extended.planned(edited(tiny, {"methods": methods}))
    for name in methods:
        assert any(output.startswith(f"students/{name}.small.large.s1-") for output in planned)


def test_a_loss_may_serve_inside_another_only_if_it_says_so(extended: Copy) -> None:
    asked = "from pipeline.methods import components as c; print(c.base_divergences())"
    assert "hellinger" in run_python(extended.folder, "-c", asked).stdout
    constant = "    needs_only_distributions = True\n"
    with extended.edit("pipeline/losses/hellinger.py", constant, ""):
        assert "hellinger" not in run_python(extended.folder, "-c", asked).stdout


def test_an_edit_of_the_inner_loss_reruns_the_student_of_the_outer_one(extended: Copy) -> None:
    settings = {"loss": "both_ways", "loss_settings": {"base": "hellinger"}} | {
        "policy": "alternating", "update": None,
    }  # fmt: skip
    plugins = f"_plugins({{'method': {settings!r}}})"
    asked = f"from workflow.jobs.stage_modules import _plugins; print({plugins})"
    loaded = run_python(extended.folder, "-c", asked).stdout
    for module in ("losses.both_ways", "losses.hellinger", "data_policies.alternating"):
        assert f"pipeline.{module}" in loaded


def test_plan_and_documentation_know_what_a_policy_generates(extended: Copy) -> None:
    asked = (
        "from pipeline.methods.components import decoding_passes as passes; "
        "from pipeline.methods.catalogue import METHODS; "
        "print(passes('alternating'), METHODS['alternating'].generates_text)"
    )
    assert run_python(extended.folder, "-c", asked).stdout.split() == ["0.5", "True"]
    printed = "from workflow.commands import methods; print(methods.page())"
    page = run_python(extended.folder, "-c", printed).stdout
    for name in ("hellinger", "both_ways", "alternating"):
        assert f"## {name}: " in page
    assert "source: this project (no publication" in page
    section = page.split("## alternating: ")[1].split("\n## ")[0]
    assert "text generated in training" in section


@pytest.mark.parametrize("name", ["hellinger", "both_ways", "alternating"])
def test_without_the_entry_it_is_no_method(tiny: dict[str, Any], name: str) -> None:
    with pytest.raises(ConfigError, match=f"unknown method '{name}'"):
        validate(edited(tiny, {"methods": {name: None}}))
