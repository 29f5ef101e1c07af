"""The digest of a stage's source: what it sees, and what it is blind to."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.methods import components
from workflow.jobs.source_hash import RECORDS, closure, digest, record, recorded

ROOT = Path(__file__).parent.parent
STAGES = (
    "prepare_data",
    "train_tokenizer",
    "tokenize",
    "prepare_model",
    "train",
    "generate",
    "cache_teacher",
)
TWICE = """
def twice(number: int) -> int:
    return 2 * number
"""
TWICE_WITH_WORDS = '''"""Arithmetic."""

def twice(
    number: int,  # any
) -> int:
    """Twice a number."""
    # the easy way
    return (2 * number)
'''


def of_source(folder: Path, source: str) -> str:
    """The digest of a project with one module."""
    package = folder / "pipeline"
    if package.exists():
        shutil.rmtree(package)
        shutil.rmtree(folder / "workflow")
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "one.py").write_text(source)
    for room in ("artifacts", "runtime"):  # what the module itself imports
        shutil.copytree(ROOT / "pipeline" / room, package / room)
    (folder / "workflow/jobs").mkdir(parents=True)
    for name in ("__init__", "jobs/__init__", "jobs/source_hash"):
        copied = (ROOT / "workflow" / f"{name}.py").read_text()
        (folder / "workflow" / f"{name}.py").write_text(copied)
    asked = "from workflow.jobs.source_hash import digest; print(digest('pipeline.one'))"
    command = [sys.executable, "-c", asked]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_comments_formatting_and_docstrings_are_not_seen(tmp_path: Path):
    bare = of_source(tmp_path / "bare", TWICE)
    assert len(bare) == 8
    assert of_source(tmp_path / "words", TWICE_WITH_WORDS) == bare


def test_a_change_in_the_code_is_seen(tmp_path: Path):
    changed = of_source(tmp_path / "changed", TWICE.replace("2 *", "3 *"))
    assert changed != of_source(tmp_path / "bare", TWICE)


def test_what_a_start_before_this_one_has_parsed_changes_no_digest(tmp_path: Path):
    changed = TWICE.replace("2 *", "3 *")
    bare, other = (of_source(tmp_path / "alone", source) for source in (TWICE, changed))
    parsed = tmp_path / "parsed/.snakemake/parsed_sources.json"
    parsed.parent.mkdir(parents=True)
    again = [of_source(tmp_path / "parsed", source) for source in (TWICE, changed, TWICE)]
    assert again == [bare, other, bare]
    for damaged in (parsed.read_text()[:-9], "[]", '{"key": 1}'):
        parsed.write_text(damaged)
        assert of_source(tmp_path / "parsed", TWICE) == bare


def test_a_string_that_is_no_docstring_is_seen(tmp_path: Path):
    first, second = (f"{TWICE}\nWORD = {word!r}\n" for word in ("one", "two"))
    assert of_source(tmp_path / "one", first) != of_source(tmp_path / "two", second)


def test_a_stage_depends_on_what_it_imports_and_on_no_more():
    distill = closure("pipeline.stages.train")
    assert {
        "pipeline.stages.train",
        "pipeline.training.loop",
        "pipeline.artifacts.schemas",
    } <= distill
    assert not distill & {
        "pipeline.stages.evaluate",
        "pipeline.stages.report",
        "pipeline.methods.catalogue",
    }
    assert "pipeline.training.loop" not in closure("pipeline.stages.evaluate")


@pytest.mark.parametrize("stage", STAGES)
def test_no_stage_depends_on_a_single_loss_policy_or_plot(stage: str):
    plugins = tuple(f"pipeline.{kind}." for kind in components.CLASSES)
    own = [name for name in closure(f"pipeline.stages.{stage}") if name.startswith(plugins)]
    assert own == []
    assert not any("reporting" in name for name in closure(f"pipeline.stages.{stage}"))


def test_a_loss_counts_for_those_that_use_it():
    with_jsd = digest("pipeline.stages.train", ("pipeline.losses.jsd",))
    assert with_jsd != digest("pipeline.stages.train")
    assert with_jsd != digest("pipeline.stages.train", ("pipeline.losses.forward_kl",))


def test_templates_and_styles_of_the_report_are_its_code():
    assert "pipeline.reporting.web" in closure("pipeline.stages.report")
    assert list((ROOT / "pipeline" / "reporting" / "web").glob("*.css"))


def test_a_package_runs_before_its_modules():
    assert "pipeline.losses" in closure("pipeline.losses.jsd")


def test_a_record_that_another_run_is_writing_is_left_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    of_other = RECORDS / ".0a1b2c3d.json.1.tmp"
    of_other.parent.mkdir(parents=True)
    of_other.write_text("{")
    record("0a1b2c3d", {"pipeline/losses/jsd.py": "4d5e6f70"})
    assert recorded("0a1b2c3d") == {"pipeline/losses/jsd.py": "4d5e6f70"}
    assert of_other.exists()
