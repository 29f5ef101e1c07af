"""Names that stand for nothing, or would leave their place, are refused with what is allowed."""

from typing import Any

import pytest
from refusals import refusal
from snaking import TINY, edited

from pipeline.artifacts.stages import STAGES
from workflow.config.validate import validate


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("experiment", "runs/tiny"),
        ("experiment", "../tiny"),
        ("models", {"big/model": TINY["models"]["wide"]} | TINY["models"]),
        ("methods", {"jsd.low": {"method": "jsd"}}),
    ],
)
def test_a_name_that_would_leave_its_folder_is_refused(
    tiny: dict[str, Any], key: str, value: object
):
    line = refusal(tiny, (key, value))
    assert line.startswith(key)
    assert line.endswith(
        "not a name; allowed: lower-case letters, digits and _, beginning with a letter, at most 40"
    )


@pytest.mark.parametrize("name", ["start", "untrained", "teacher"])
def test_a_name_that_is_the_reports_own_is_refused_at_once(tiny: dict[str, Any], name: str):
    line = refusal(tiny, ("methods", {"sft": None, name: {"method": "jsd"}}))
    assert line.startswith(f"methods.{name}: ")
    line = refusal(tiny, ("students", {name: {"model": "narrow"}}))
    assert line.startswith(f"students.{name}: ")
    assert validate(edited(tiny, {"teachers": {name: {"model": "wide"}}}))


def test_an_experiment_is_not_named_as_a_folder_of_something_else(tiny: dict[str, Any]):
    folders = ("jobs", "logs", "benchmarks", "state", "sources", "damaged", "published")
    for name in (*STAGES, *folders):
        line = refusal(tiny, ("experiment", name))
        assert line.startswith(f"experiment = '{name}': results/{name} holds something else")
    assert validate(edited(tiny, {"experiment": "data_1"}))


def test_a_missing_file_is_named_with_its_key(tiny: dict[str, Any]):
    line = refusal(tiny, ("data.examples.train", "nowhere.jsonl"))
    assert line.startswith("data.examples.train = 'nowhere.jsonl': there is no such file")


def test_a_package_that_the_corpus_lacks_is_named(tiny: dict[str, Any]):
    source = {"source": "docstrings", "packages": ["numpy", "no_such_package"]}
    line = refusal(tiny, ("data.examples", source))
    assert line.startswith("data.examples.packages: no 'no_such_package'")
    assert "available: numpy, pandas" in line


def test_an_unknown_source_is_answered_with_those_there_are(tiny: dict[str, Any]):
    line = refusal(tiny, ("models.wide.source", "wheel"))
    assert line.startswith("models.wide.source = 'wheel': allowed: ")
    assert all(f"'{name}'" in line for name in ("shape", "layers_of", "hub", "path", "pypi"))


def test_a_name_that_nothing_defines_is_answered_with_what_is_defined(tiny: dict[str, Any]):
    line = refusal(tiny, ("grid.0.methods", ["sft", "gkd"]))
    assert line == "grid.0.methods: 'gkd' is not defined; there are sft, jsd"
    line = refusal(tiny, ("students.small.model", "tall"))
    assert line == "students.small.model: 'tall' is not defined; there are wide, narrow"
