"""Chat templates that are none, or that a tokenizer lacks, are refused before any job."""

import json
from pathlib import Path
from typing import Any

import pytest
from refusals import refusal
from snaking import TINY, edited, saved_model

from workflow.config.validate import validate

PLAIN = "{{ messages[-1].content }}"
MARKED = f"{{% generation %}}{PLAIN}{{% endgeneration %}}"


@pytest.fixture
def of_folder(tiny: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    """An experiment whose models have the tokenizer of a folder, which has no chat template."""
    folder = saved_model(tmp_path / "model", {"<end>": 0, "cat": 1})
    shape = TINY["models"]["narrow"] | {"tokenizer_of": "wide"}
    models = {"wide": {"source": "path", "path": str(folder)}, "narrow": shape}
    changes = {"tokenizer": None, "teacher_cache.k": 2, "models": models, "data.template": "chat"}
    return edited(tiny, changes)


def test_a_tokenizer_without_a_chat_template_is_refused(
    tiny: dict[str, Any], of_folder: dict[str, Any], tmp_path: Path
):
    line = refusal(tiny, ("data.template", "chat"))
    assert line.startswith(
        "data.template = 'chat': the tokenizer that `tokenizer` trains has no te"
    )
    line = refusal(of_folder)
    assert line == (
        "data.template = 'chat': the tokenizer of model wide has no chat template; name a file "
        "with one, as `template: {chat: FILE.jinja}`, or write a text template"
    )
    teachers = of_folder["teachers"] | {"own": {"model": "narrow", "tokenizer": {"kind": "bpe"}}}
    lines = refusal(of_folder, ("teachers", teachers)).splitlines()
    assert any("that `teachers.own.tokenizer` trains has no template" in each for each in lines)
    (tmp_path / "model" / "chat_template.jinja").write_text(PLAIN)
    assert validate(of_folder)


@pytest.mark.parametrize("place", ["chat_template.jinja", "tokenizer_config.json"])
def test_a_mask_of_what_is_generated_needs_a_template_that_marks_it(
    of_folder: dict[str, Any], tmp_path: Path, place: str
):
    def write(template: str) -> None:
        file = tmp_path / "model" / place
        values = json.loads(file.read_text()) if place.endswith(".json") else None
        file.write_text(json.dumps(values | {"chat_template": template}) if values else template)

    config = edited(of_folder, {"data.template": {"chat": "tokenizer", "generation_mask": True}})
    write(PLAIN)
    assert refusal(config).startswith(
        "data.template.generation_mask = True: the chat template of model wide has no {% generation"
    )
    write(MARKED)
    assert validate(config)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "{% for turn in messages %}",
            "it is no Jinja template (line 1: Unexpected end of template",
        ),
        ("{{ messages | joined }}", "it is no Jinja template (line 1: No filter named 'joined'.)"),
        (" \n", "the file is empty"),
    ],
)
def test_a_file_that_is_no_template_is_refused(
    tiny: dict[str, Any], tmp_path: Path, text: str, message: str
):
    file = tmp_path / "mine.jinja"
    file.write_text(text)
    line = refusal(tiny, ("data.template", {"chat": str(file)}))
    assert line.startswith(f"data.template.chat = {str(file)!r}: {message}")


def test_a_file_with_the_tags_of_transformers_is_a_template(tiny: dict[str, Any], tmp_path: Path):
    file = tmp_path / "mine.jinja"
    file.write_text("{% for turn in messages %}{% if turn %}{% break %}{% endif %}{% endfor %}")
    named = {"chat": str(file), "generation_mask": True}
    assert "has no {% generation %}" in refusal(tiny, ("data.template", named))
    file.write_text(file.read_text() + MARKED)
    assert validate(edited(tiny, {"data.template": named}))
