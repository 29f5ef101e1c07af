"""What is asked for a written answer: the same items and ids for every model, long ones counted."""

from pathlib import Path

import pytest
from word_pieces import END, byte_level

from pipeline.artifacts import artifact, schemas
from pipeline.data.batch import read_texts
from pipeline.data.examples import Example, assign_ids, example_columns
from pipeline.evaluation import questions
from pipeline.settings.data import Template
from pipeline.tasks.instruction_items import ITEMS

TEMPLATE = Template(with_input="{instruction} {input}\n", without_input="<s>{instruction}\n")
ASKED = ["Repeat cat", "Repeat dog sun sea hat map cup key", f"Why {END} is", "Repeat the sea"]


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    """An artifact of texts whose tokenizer begins them with BOS and would end them with EOS."""
    byte_level(begins=True, ends=True).save_pretrained(tmp_path / "tokens/model")
    return tmp_path / "tokens"


@pytest.fixture
def task(tmp_path: Path) -> Path:
    """An instruction task as its artifact keeps it."""
    folder = tmp_path / "task"
    folder.mkdir()
    examples = [Example(question, "", ("So.",), "here") for question in ASKED]
    identified = assign_ids({"train": [], "validation": [], "test": examples}, TEMPLATE)["test"]
    schemas.write(folder / ITEMS, example_columns(identified, TEMPLATE), schemas.EXAMPLES)
    settings = {"task": {"template": TEMPLATE.model_dump()}}
    artifact.write_json(folder / artifact.MANIFEST, {"id": "task", "settings": settings})
    return folder


def test_an_instruction_task_is_asked_in_the_ids_of_the_experiment_s_texts(
    task: Path, tokens: Path
):
    asked = questions.of_task(task, tokens, None, None, "0 task")
    words = byte_level(begins=True)  # ends none: what is asked goes on
    first = asked.prompt_ids["<s>Repeat cat\n"]
    assert first == words.encode("Repeat cat\n")
    special = asked.prompt_ids[f"<s>Why {END} is\n"]
    assert words.eos_token_id not in special
    assert words.decode(special, skip_special_tokens=True) == f"Why {END} is\n"
    assert asked.left_out == 0


def test_items_with_long_prompts_are_left_out_before_any_are_drawn(task: Path, tokens: Path):
    words = byte_level(begins=True)
    most = len(words.encode("Repeat the sea\n"))
    short = [
        question
        for question in ASKED
        if END not in question and len(words.encode(question + "\n")) <= most
    ]
    asked = questions.of_task(task, tokens, None, most, "0 task")
    assert [item["instruction"] for item in asked.items] == short == [ASKED[0], ASKED[3]]
    assert asked.left_out == 2
    drawn = questions.of_task(task, tokens, 1, most, "0 task")
    assert drawn.items[0]["instruction"] in short
    assert drawn.left_out == 2
    with pytest.raises(ValueError, match=r"all 4 prompts .* raise evaluation\.prompt_tokens"):
        questions.of_task(task, tokens, None, 2, "0 task")


def test_the_test_split_is_asked_in_the_ids_that_are_kept(tmp_path: Path):
    examples = [Example(question, "", ("So.",), "here") for question in ASKED]
    identified = assign_ids({"train": [], "validation": [], "test": examples}, TEMPLATE)["test"]
    rows = example_columns(identified, TEMPLATE)
    for name in ("data", "tokens"):
        (tmp_path / name).mkdir()
    schemas.write(tmp_path / "data/test.parquet", rows, schemas.EXAMPLES)
    kept = {"example_id": rows["example_id"][1:], "prompt_ids": [[7], [8], [9]]}
    kept["response_ids"] = [[1]] * 3
    schemas.write(tmp_path / "tokens/test.parquet", kept, schemas.TOKENS)
    asked = questions.of_test_split(
        tmp_path / "data", read_texts(tmp_path / "tokens/test.parquet"), 2
    )
    assert [item["instruction"] for item in asked.items] == ASKED[1:3]
    assert asked.prompt_ids == {rows["prompt"][1]: [7], rows["prompt"][2]: [8]}
