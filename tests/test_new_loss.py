"""A new loss, a loss around another one, and a policy are a file and a catalogue entry each.

The laws, the plan and the documentation then find it: no other list names it.
"""

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import forked
import pytest
from snaking import ROOT, Copy, edited

from workflow.config.validate import ConfigError, validate

# one worker makes the copy and tests the new losses in it, for all that look at the outcome
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("new_loss")]

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
# the same loss with a fault each, which the laws are to find
WRONG = LOSS.replace("(teacher + student) / 2", "student / 2").replace("arXiv:", "number ")
CLAIMING = LOSS.replace("needs_only", "zero_when_equal = False\n    needs_only")
LOSSES = {"hellinger": LOSS, "both_ways": WRAPPING_LOSS, "wrong": WRONG, "claiming": CLAIMING}
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
FAULTY = (
    ENTRIES
    + """
    "wrong": Method(title="Wrong", loss="wrong", source="this project", evidence="full"),
    "claiming": Method(title="Claiming", loss="claiming", source="this project", evidence="own"),
"""
)
REFERENCES = """

def hellinger(p: Rows, q: Rows, tokens: TokenContext, h: Hyperparameters) -> np.ndarray:
    return each(lambda a, b: sum((x**0.5 - y**0.5) ** 2 for x, y in zip(a, b)) / 2, p, q)


def both_ways(p: Rows, q: Rows, tokens: TokenContext, h: Hyperparameters) -> np.ndarray:
    w = h.forward_weight
    return each(lambda a, b: w * kl(a, b) + (1 - w) * kl(b, a), p, q)
"""
REFERENCE_OF_CLAIMING = REFERENCES.split("\n\n\n")[0].replace("hellinger", "claiming")
BOTH_WAYS = {"both_ways": {"base": "hellinger"}}


def extend(folder: Path, entries: str, references: str) -> Copy:
    """A copy of the project with its tests, further losses and a policy."""
    ignored = shutil.ignore_patterns("results", ".snakemake")
    for name in ("pipeline", "workflow", "benchmarks", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    for name in ("pyproject.toml", "Snakefile", "config.yaml"):
        shutil.copy(ROOT / name, folder)
    for name, source in LOSSES.items():
        if f'"{name}"' in entries:
            (folder / f"pipeline/losses/{name}.py").write_text(source)
    (folder / "pipeline/data_policies/alternating.py").write_text(POLICY)
    methods = folder / "pipeline/methods/catalogue.py"
    methods.write_text(methods.read_text().replace("METHODS = {\n", entries))
    with (folder / "tests/references.py").open("a") as file:
        file.write(references)
    return Copy(folder)


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Copy:
    """The project with two losses and a policy more."""
    return extend(tmp_path_factory.mktemp("extended"), ENTRIES, REFERENCES)


def printed(folder: Path, code: str) -> str:
    """What Python prints in the copy."""
    return forked.snakemake().run(["-c", code], folder).stdout


@dataclass(frozen=True)
class Outcomes:
    """What the laws say of the added losses and of the policy."""

    passed: tuple[str, ...]
    failed: tuple[str, ...]
    output: str


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    """Of one run of the tests that have a new component as a parameter, faulty ones among them."""
    folder = tmp_path_factory.mktemp("faulty")
    extend(folder, FAULTY, REFERENCES + "\n\n" + REFERENCE_OF_CLAIMING)
    names = " or ".join([*LOSSES, "alternating"])
    files = ("tests/test_loss_laws.py", "tests/test_data_policies.py")
    options = ("-q", "-rA", "-p", "no:cacheprovider", "-k", names)
    command = [sys.executable, "-m", "pytest", *options, *files]
    output = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False).stdout
    passed, failed = (re.findall(rf"^{end} (\S+)", output, re.M) for end in ("PASSED", "FAILED"))
    return Outcomes(tuple(passed), tuple(failed), output)


def of(component: str, tests: tuple[str, ...]) -> list[str]:
    """The tests that have a component as a parameter."""
    return [test for test in tests if re.search(rf"[\[-]{component}[]-]", test)]


@pytest.mark.parametrize(
    ("component", "count"),
    # of each loss: eight laws, the teacher's gradient, the source and the method
    [("hellinger", 11), ("both_ways", 11), ("alternating", 5)],
)
def test_the_laws_find_what_is_new_and_it_obeys(
    outcomes: Outcomes, component: str, count: int
) -> None:
    assert len(of(component, outcomes.passed)) == count, outcomes.output
    assert of(component, outcomes.failed) == [], outcomes.output


def test_what_a_loss_lacks_is_said_with_the_way_out(outcomes: Outcomes) -> None:
    assert "tests/references.py lacks wrong: the loss in NumPy" in outcomes.output
    expected = 'a loss without a publication has evidence="own" in pipeline/methods'
    assert expected in outcomes.output


@pytest.mark.parametrize("loss", ["wrong", "claiming"])
def test_the_laws_find_a_loss_that_is_wrong_or_is_not_what_its_class_says(
    outcomes: Outcomes, loss: str
) -> None:
    laws = [test for test in of(loss, outcomes.failed) if "source" not in test]
    assert [law for law in laws if "[reference-" not in law], outcomes.output
    assert ("reference" in "".join(laws)) == (loss == "wrong"), outcomes.output


def test_the_workflow_plans_them(extended: Copy, tiny: dict[str, Any]) -> None:
    methods = {"hellinger": None, **BOTH_WAYS, "alternating": None}
    planned = extended.planned(edited(tiny, {"methods": methods}))
    for name in methods:
        assert any(output.startswith(f"students/{name}.small.large.s1-") for output in planned)


def test_a_loss_may_serve_inside_another_only_if_it_says_so(extended: Copy) -> None:
    asked = "from pipeline.methods import components as c; print(c.base_divergences())"
    assert "hellinger" in printed(extended.folder, asked)
    constant = "    needs_only_distributions = True\n"
    with extended.edit("pipeline/losses/hellinger.py", constant, ""):
        assert "hellinger" not in printed(extended.folder, asked)


def test_an_edit_of_the_inner_loss_reruns_the_student_of_the_outer_one(extended: Copy) -> None:
    settings = {"loss": "both_ways", "loss_settings": {"base": "hellinger"}} | {
        "policy": "alternating", "update": None,
    }  # fmt: skip
    plugins = f"_plugins({{'method': {settings!r}}})"
    asked = f"from workflow.jobs.stage_modules import _plugins; print({plugins})"
    loaded = printed(extended.folder, asked)
    for module in ("losses.both_ways", "losses.hellinger", "data_policies.alternating"):
        assert f"pipeline.{module}" in loaded


def test_plan_and_documentation_know_what_a_policy_generates(extended: Copy) -> None:
    asked = (
        "from pipeline.methods.components import decoding_passes as passes; "
        "from pipeline.methods.catalogue import METHODS; "
        "print(passes('alternating'), METHODS['alternating'].generates_text)"
    )
    assert printed(extended.folder, asked).split() == ["0.5", "True"]
    page = printed(extended.folder, "from workflow.commands import methods; print(methods.page())")
    for name in ("hellinger", "both_ways", "alternating"):
        assert f"## {name}: " in page
    assert "source: this project (no publication" in page
    section = page.split("## alternating: ")[1].split("\n## ")[0]
    assert "text generated in training" in section


@pytest.mark.parametrize("name", ["hellinger", "both_ways", "alternating"])
def test_without_the_entry_it_is_no_method(tiny: dict[str, Any], name: str) -> None:
    with pytest.raises(ConfigError, match=f"unknown method '{name}'"):
        validate(edited(tiny, {"methods": {name: None}}))
