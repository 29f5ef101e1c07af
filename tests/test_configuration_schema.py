"""Every key is in config.yaml, and in a JSON Schema that is up to date and accepts what we do."""

import re
from pathlib import Path

import jsonschema
import pytest
import yaml
from configuration_keys import blocks
from snaking import ROOT, edited

from pipeline.settings.experiment import Experiment
from workflow.commands import schema

CONFIGS = [ROOT / "config.yaml", *sorted(ROOT.glob("configs/*.yaml"))]


def test_every_key_is_in_the_default_configuration():
    text = (ROOT / "config.yaml").read_text()
    missing = [
        f"{block.__name__}.{name}"
        for block in blocks(Experiment)
        for name in block.model_fields
        if name not in block.filled_in and not re.search(rf"\b{name}\b", text)
    ]
    assert not missing


def test_the_schema_is_up_to_date():
    written = (ROOT / schema.FILE).read_text(encoding="utf-8")
    assert written == schema.text(), "run `distilbench schema`"


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_configuration_names_its_schema_and_obeys_it(path: Path):
    text = path.read_text()
    named = text.partition("\n")[0].removeprefix("# yaml-language-server: $schema=")
    assert (path.parent / named).resolve() == ROOT / schema.FILE
    jsonschema.validate(yaml.safe_load(text), schema.schema())


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("trainning", {}),
        ("training.stepz", 5),
        ("teachers.large.training.stepz", 5),
        ("tokens.prompt_tokens", -1),
        ("models.wide.source", "wheel"),
    ],
)
def test_the_schema_refuses_what_we_refuse(key: str, value: object):
    config = edited(yaml.safe_load((ROOT / "config.yaml").read_text()), {key: value})
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(config, schema.schema())


def test_keys_are_described_and_those_of_the_workflow_left_out():
    definitions = schema.schema()["$defs"]
    assert definitions["Training"]["properties"]["epochs"]["description"].startswith("passes")
    assert "digests" not in definitions["Files"]["properties"]
