"""The first rows of local tables are looked at before any job, and refused in its words."""

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from refusals import refusal
from small_tables import Row, gathered, jsonl, rows
from snaking import edited

from pipeline.data.first_rows import first_row
from pipeline.settings.data import DataSettings
from workflow.config.validate import validate

ASKED: list[Row] = [{"question": f"Which {n}?", "answer": f"#### {n}"} for n in range(40)]
CHATS: list[Row] = [
    {"talk": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": f"It is {n}."}]}
    for n in range(40)
]
BLANK: Row = {"instruction": "a", "input": "", "output": " "}
MAPPED = {"instruction": "question", "input": None, "response": "answer"}


def of_file(train: str, **changes: object) -> dict[str, Any]:
    """The settings of examples in a file, two or three of them held out."""
    return {"source": "files", "train": train, "validation": 2, "test": 3, **changes}


@pytest.mark.parametrize(
    ("table", "changes", "message"),
    [
        (ASKED, {}, "no column 'instruction', there are: answer, question; name the right one in"),
        (ASKED, {"columns": MAPPED | {"response": "reply"}}, "no column 'reply', there are: answ"),
        (ASKED, {"columns": MAPPED | {"source": "topic"}}, "no column 'topic', there are: answer"),
        (CHATS, {}, "'talk' holds a chat; conversations are read through a chat template: set "),
        ([{**BLANK, "output": 7}], {}, "column 'output' holds no text but 7"),
        ([BLANK, *rows(40)], {}, "empty response, 'output' is ' '; fix the row, or set"),
        ([], {}, " holds no rows; name another file in data.examples"),
    ],
    ids=["default columns", "response", "source", "chat", "number", "blank", "empty"],
)
def test_a_first_row_that_makes_no_example_is_refused_in_the_words_of_the_job(
    tiny: dict[str, Any],
    tmp_path: Path,
    table: Sequence[Row],
    changes: dict[str, Any],
    message: str,
):
    file = jsonl(tmp_path / "mine.jsonl", table)
    examples = of_file(file, **changes)
    line = refusal(tiny, ("data.examples", examples))
    assert line.startswith(f"data.examples.train = {file!r}: {file}")
    assert message in line
    with pytest.raises(ValueError, match="mine") as of_job:
        gathered(DataSettings.model_validate({"examples": examples}))
    assert line.endswith(str(of_job.value))


def test_every_table_of_examples_is_looked_at_and_named_by_its_key(
    tiny: dict[str, Any], tmp_path: Path
):
    good, bad = (
        jsonl(tmp_path / f"{name}.jsonl", t) for name, t in (("a", rows(40)), ("b", ASKED))
    )
    for key in ("validation", "test", "plain_text"):
        line = refusal(tiny, ("data.examples", of_file(good, **{key: bad})))
        assert line.startswith(f"data.examples.{key} = {bad!r}: {bad}:1: no column ")
    line = refusal(tiny, ("data.examples", of_file(str(tmp_path))))
    assert line.startswith(f"data.examples.train = {str(tmp_path)!r}: {bad}:1: no column ")
    of_hub = {"source": "hub", "name": str(tmp_path), "train": "b.jsonl"}
    assert refusal(tiny, ("data.examples", of_hub)).startswith("data.examples.train = 'b.jsonl': ")
    mixed = {"source": "mixture", "sources": {"one": of_file(good), "two": of_file(bad)}}
    line = refusal(tiny, ("data.examples", mixed))
    assert line.startswith(f"data.examples.sources.two.train = {bad!r}: {bad}:1: no column ")
    assert line.endswith("in data.examples.sources.two.columns (input and source may be null)")


def test_plain_text_without_any_text_and_a_split_without_a_file_are_refused(
    tiny: dict[str, Any], tmp_path: Path
):
    blank, good = tmp_path / "blank.txt", jsonl(tmp_path / "a.jsonl", rows(40))
    blank.write_text("\n \n")
    line = refusal(tiny, ("data.examples", of_file(good, plain_text=str(blank))))
    assert line.startswith(f"data.examples.plain_text = {str(blank)!r}: no text is in it; name")
    of_hub = {"source": "hub", "name": str(tmp_path), "train": "a.jsonl", "test": "b.jsonl"}
    line = refusal(tiny, ("data.examples", of_hub))
    assert line.startswith("data.examples.test = 'b.jsonl': there is no such file (a relative path")
    assert line.endswith(f"starts at {tmp_path})")


def test_rows_to_hold_out_are_counted_in_all_files_of_a_folder(
    tiny: dict[str, Any], tmp_path: Path
):
    for number in range(2):
        jsonl(tmp_path / f"{number}.jsonl", rows(20, 20 * number))
    examples = of_file(str(tmp_path), test=38)
    line = refusal(tiny, ("data.examples", examples))
    assert line.startswith(f"data.examples.train = {str(tmp_path)!r}: it has 40 rows, and holding")
    assert validate(edited(tiny, {"data.examples": examples | {"test": 37}}))


def test_a_column_of_a_conversation_that_is_missing_is_asked_for_by_its_key(
    tiny: dict[str, Any], tmp_path: Path
):
    template = tmp_path / "chat.jinja"
    template.write_text("{% for turn in messages %}{{ turn.content }}{% endfor %}")
    config = edited(tiny, {"data.template": {"chat": str(template)}})
    examples = of_file(jsonl(tmp_path / "mine.jsonl", CHATS))
    for columns in ({}, {"messages": "turns"}):
        line = refusal(config, ("data.examples", examples | {"columns": columns}))
        assert line.endswith("neither messages nor conversations as data.examples.columns.messages")
    assert validate(edited(config, {"data.examples": examples | {"columns": {"messages": "talk"}}}))


def test_what_can_be_read_is_not_refused_for_its_first_row(tiny: dict[str, Any], tmp_path: Path):
    examples = of_file(jsonl(tmp_path / "mine.jsonl", [BLANK, *rows(40)]))
    assert validate(edited(tiny, {"data.examples": examples | {"empty_responses": "drop"}}))
    asked = of_file(jsonl(tmp_path / "asked.jsonl", ASKED), columns=MAPPED)
    assert validate(edited(tiny, {"data.examples": asked}))


def test_a_misspelt_key_of_columns_is_the_only_fault(tiny: dict[str, Any], tmp_path: Path):
    columns = MAPPED | {"respons": "answer"}
    del columns["response"]
    examples = of_file(jsonl(tmp_path / "mine.jsonl", ASKED), columns=columns)
    line = refusal(tiny, ("data.examples", examples))
    assert line.startswith("data.examples.columns.respons: unknown key; did you mean response?")
    assert "\n" not in line


@pytest.mark.parametrize(
    ("task", "table", "columns", "message"),
    [
        (
            "dolly",
            ASKED,
            {},
            "no column 'instruction', there are: answer, question; name the right",
        ),
        ("dolly", ASKED, MAPPED | {"response": "reply"}, "in evaluation.data.dolly.columns (input"),
        (
            "answers",
            [{"question": "Which?", "answer": "This.\nNo, that."}],
            MAPPED,
            "no answer to be checked in",
        ),
        (
            "arc_easy",
            ASKED,
            {},
            "nothing at 'id'; its columns are answer, question; name the right",
        ),
    ],
    ids=["default columns", "columns", "answers", "lm-eval"],
)
def test_a_first_row_that_makes_no_item_is_refused_before_any_job(
    tiny: dict[str, Any],
    tmp_path: Path,
    task: str,
    table: Sequence[Row],
    columns: dict[str, Any],
    message: str,
):
    file = jsonl(tmp_path / "mine.jsonl", table)
    data = {"files": file} | ({"columns": columns} if columns else {})
    line = refusal(tiny, ("evaluation.tasks", ["heldout", task]), ("evaluation.data", {task: data}))
    assert line.startswith(f"evaluation.data.{task}: {file}:1: ")
    assert message in line


def test_files_of_a_task_of_lm_eval_are_of_one_task_and_of_its_kind(
    tiny: dict[str, Any], tmp_path: Path
):
    choices = [{"text": "cat", "label": "A"}, {"text": "dog", "label": "B"}]
    asked = {"stem": "Which one says meow?", "choices": choices}
    file = jsonl(tmp_path / "arc.jsonl", [{"id": "a", "question": asked, "answerKey": "A"}])
    text = tmp_path / "a.txt"
    text.write_text("Once.\n")
    config = edited(tiny, {"evaluation.tasks": ["arc_easy"]})
    assert validate(edited(config, {"evaluation.data": {"arc_easy": file}}))
    line = refusal(config, ("evaluation.data", {"arc_easy": str(text)}))
    assert line.startswith(f"evaluation.data.arc_easy: {text}: can't read '.txt' files as this ta")
    line = refusal(config, ("evaluation.data", {"arc_easy": {"files": {"trian": [file]}}}))
    assert line == "evaluation.data.arc_easy: evaluation.data.arc_easy.files lacks the split 'test'"
    shown = (("evaluation.tasks", ["gsm8k"]), ("evaluation.data", {"gsm8k": file}))
    assert "gsm8k shows 5 examples of the split 'train': name files for it in" in refusal(
        tiny, *shown
    )
    several = (("evaluation.tasks", ["mmlu"]), ("evaluation.data", {"mmlu": file}))
    assert "mmlu is several tasks, which can't share files: name a folder" in refusal(
        tiny, *several
    )


def test_a_csv_or_a_compressed_table_has_items_and_no_csv_has_documents(
    tiny: dict[str, Any], tmp_path: Path
):
    (tmp_path / "asked.csv").write_text("instruction,input,output\nWhich?,,This.\n")
    with gzip.open(tmp_path / "asked.jsonl.gz", "wt") as file:
        file.write(json.dumps(rows(1)[0]))
    for name in ("asked.csv", "asked.jsonl.gz"):
        mine = {"evaluation.data": {"dolly": str(tmp_path / name)}, "evaluation.tasks": ["dolly"]}
        assert validate(edited(tiny, mine))
    labels = tmp_path / "labels.csv"
    labels.write_text("goal,sol1,sol2,label\na,b,c,0\n")
    line = refusal(tiny, ("evaluation.tasks", ["piqa"]), ("evaluation.data", {"piqa": str(labels)}))
    assert "can't read '.csv' files as this task's documents; allowed: .json" in line


@pytest.mark.parametrize("text", ["list", "lines", "indented lines"])
def test_of_a_long_json_text_the_beginning_is_enough(tmp_path: Path, text: str):
    wide = [{**row, "output": "word " * 10_000} for row in rows(40)]
    texts = {"list": json.dumps(wide), "lines": "\n".join(map(json.dumps, wide))}
    texts["indented lines"] = "\n".join(json.dumps(row, indent=1) for row in wide)
    file = tmp_path / "mine.json"
    file.write_text(texts[text] + "\nno JSON")
    row = first_row(file)
    if text == "indented lines":  # which no job reads
        assert row is None
    else:
        assert row is not None
        assert row.values == wide[0]


def test_a_first_row_that_is_longer_than_a_beginning_is_left_to_the_job(tmp_path: Path):
    file = tmp_path / "mine.json"
    file.write_text(json.dumps([{**BLANK, "output": "word " * 10**6}, *rows(3)]))
    assert first_row(file) is None
