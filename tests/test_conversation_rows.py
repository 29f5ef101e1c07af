"""Rows of every shape that a file of conversations has, and those that are none."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from chats import CHATML, CONVERSATIONS, WORDS, dialogue, pair
from small_tables import Row, files, gathered, jsonl
from word_pieces import END

from pipeline.artifacts import artifact, schemas
from pipeline.data import conversations
from pipeline.data.batch import read_texts
from pipeline.data.examples import assign_ids, conversation_of, example_columns
from pipeline.data.rows import read_rows
from pipeline.evaluation import questions
from pipeline.models import vocabulary
from pipeline.reporting.analysis import token_examples
from pipeline.settings.data import ChatTemplate, TokensSettings
from pipeline.stages.options import TokenizeOptions
from pipeline.stages.tokenize import run

ROW = {"messages": CONVERSATIONS["several"]}
SHAPES: dict[str, Row] = {
    "messages": ROW,
    "ShareGPT": {
        "conversations": [
            {"from": {"user": "human", "assistant": "gpt"}.get(m["role"], "system")}
            | {"value": m["content"]}
            for m in CONVERSATIONS["several"]
        ]
    },
    "ShareGPT with a column for the system prompt": {
        "system": "Be short",
        "conversations": CONVERSATIONS["several"][1:],
        "tools": "[]",
    },
    "content in parts": {
        "messages": [
            m | {"content": [{"type": "text", "text": part} for part in (m["content"], "")]}
            for m in CONVERSATIONS["several"]
        ],
        "system": None,
    },
    "prompt and completion": {
        "prompt": CONVERSATIONS["several"][:-1],
        "completion": CONVERSATIONS["several"][-1:],
    },
    "a preference": {
        "prompt": CONVERSATIONS["several"][:-1],
        "chosen": CONVERSATIONS["several"][-1:],
        "rejected": [{"role": "assistant", "content": "no"}],
    },
    "a preference in whole": {"prompt": "sea?", "chosen": CONVERSATIONS["several"]},
}


def settings_of(file: str, **more: object) -> Any:
    settings = files(file, **more)
    return type(settings).model_validate(settings.model_dump() | {"template": "chat"})


@pytest.mark.parametrize("shape", SHAPES)
def test_rows_of_every_shape_are_the_same_conversation(tmp_path: Path, shape: str):
    name, file = "train.jsonl", tmp_path / "train.jsonl"
    rows = [json.loads(json.dumps(SHAPES[shape]).replace("sea?", f"sea {n}?")) for n in range(9)]
    dataset = gathered(settings_of(jsonl(file, rows)))
    examples = [example for split in dataset.splits.values() for example in split]
    assert len({example.instruction for example in examples}) == 9
    example = next(example for example in examples if "sea 3?" in example.instruction)
    (row,) = (
        dict(zip(columns, values, strict=True))
        for columns in [example_columns([("a", example)], ChatTemplate())]
        for values in zip(*columns.values(), strict=True)
    )
    conversation = conversation_of(row)
    expected = json.loads(json.dumps(ROW["messages"]).replace("sea?", "sea 3?"))
    assert conversation.messages == expected
    assert conversation.location.endswith(f"{name}:4")
    assert row["responses"] == ["map"]
    assert row["prompt"].splitlines()[:2] == ["system: Be short", "user: sea 3?"]


def test_columns_of_parquet_tell_no_conversation_what_only_others_hold(tmp_path: Path):
    rows = []
    for number, name in enumerate(("city", "zone", "day", "unit", "page", "line")):
        schema = {"type": "object", "properties": {name: {"type": "string"}}}
        call = {"name": f"of_{name}", "arguments": {name: f"{number}"}}
        asking = {"role": "assistant", "content": "", "tool_calls": [{"function": call}]}
        turns = [*dialogue(f"what {name}?"), asking, {"role": "tool", "content": "1"}]
        answer = {"role": "assistant", "content": f"one {name}"}
        tool = {"function": {"name": f"of_{name}", "parameters": schema}}
        rows.append({"messages": [*turns, answer], "tools": [tool]})
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    assert "unit" in f"{pq.read_table(tmp_path / 'a.parquet').to_pylist()[0]}"
    kept = {}
    for path in (jsonl(tmp_path / "a.jsonl", rows), str(tmp_path / "a.parquet")):
        chats = [
            conversations.of_row(row.own_values, None, "here:1") for row in read_rows(Path(path))
        ]
        kept[path] = [(chat.messages, chat.tools) for chat in chats if chat]
    (by_lines, by_columns) = kept.values()
    assert by_columns == by_lines == [(row["messages"], row["tools"]) for row in rows]


def test_a_null_that_a_line_of_json_holds_is_kept(tmp_path: Path):
    tool = {"name": "look", "parameters": {"depth": {"default": None}}}
    path = jsonl(tmp_path / "a.jsonl", [{"messages": dialogue("one", "two"), "tools": [tool]}])
    (row,) = read_rows(Path(path))
    chat = conversations.of_row(row.own_values, None, "here:1")
    assert chat is not None
    assert chat.tools == [tool]


def test_tools_may_come_as_the_text_of_a_list():
    tools = [{"name": "look"}]
    for column in (tools, json.dumps(tools)):
        conversation = conversations.of_row(ROW | {"tools": column}, None, "here:1")
        assert conversation is not None
        assert conversation.tools == tools


def test_instructions_are_conversations_of_one_turn(tmp_path: Path):
    rows: list[Row] = [
        {"instruction": f"Add {n}", "input": "and 1", "output": str(n + 1)} for n in range(9)
    ]
    settings = settings_of(jsonl(tmp_path / "a.jsonl", rows))
    (example, *_) = gathered(settings).splits["train"]
    assert example.chat == ""
    ((_, same),) = assign_ids(
        {"train": [example], "validation": [], "test": []}, settings.template
    )["train"]
    columns = example_columns([("a", same)], settings.template)
    assert set(columns) == set(schemas.EXAMPLES.names)
    assert columns["prompt"] == [f"{example.instruction}\n\nand 1"]


def turns(*pairs: tuple[str, object]) -> Row:
    return {"messages": [{"role": role, "content": content} for role, content in pairs]}


BAD = {
    "an unknown role": (turns(("user", "a"), ("narrator", "b")), r"turn 2 has the role 'narrator'"),
    "no answer": (turns(("system", "a"), ("user", "b")), "no turn of the assistant answers"),
    "no question": (turns(("system", "a"), ("assistant", "b")), "no turn of the assistant answers"),
    "a last word of the user": (
        turns(("user", "a"), ("assistant", "b"), ("user", "c")),
        "the last turn is of role user, not the assistant's; fix the row, or set .* drop",
    ),
    "an empty turn": (turns(("user", " "), ("assistant", "b")), "turn 1, of role user, is empty"),
    "content that is no text": (turns(("user", 3)), "turn 1 has the content 3, which is no text"),
    "a turn without a role": ({"messages": [{"content": "a"}]}, "turn 1 is .*, expected `role`"),
    "no turns": ({"messages": "hello"}, "no column 'instruction', there are: messages"),
    "an image": (
        turns(("user", [{"type": "text", "text": "a"}, {"type": "image", "text": None}])),
        "turn 1 has a part of type 'image'; only parts of text can be read",
    ),
    "a last answer of no weight": (
        {"messages": [*dialogue("a"), {"role": "assistant", "content": "b", "weight": 0}]},
        "the last turn has the weight 0",
    ),
    "half a weight": (
        {"messages": [*dialogue("a"), {"role": "assistant", "content": "b", "weight": 0.5}]},
        "turn 2 has the weight 0.5; allowed: 0, not trained on, or 1",
    ),
    "two system prompts": (
        turns(("system", "a"), ("user", "b"), ("assistant", "c")) | {"system": "d"},
        "both column 'system' and a turn hold a system prompt",
    ),
    "tools that are no list": (
        turns(("user", "b"), ("assistant", "c")) | {"tools": "look"},
        "column 'tools' holds 'look', expected a list",
    ),
    "an answer alone": ({"chosen": "Human: a Assistant: b"}, "no column 'prompt' has its question"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_row_that_is_no_conversation_is_named_by_file_and_row(case: str, tmp_path: Path):
    row, fault = BAD[case]
    file = jsonl(tmp_path / "train.jsonl", [ROW, row] * 5)
    with pytest.raises(ValueError, match=rf"train\.jsonl:2: .*{fault}") as refusal:
        gathered(settings_of(file))
    assert "\n" not in str(refusal.value)


def test_conversations_without_an_answer_can_be_left_out_and_are_counted(tmp_path: Path):
    rows = [turns(("user", f"a {n}"), ("assistant", "b")) for n in range(9)]
    rows += [turns(("user", "c")), turns(("user", "a"), ("assistant", "b"), ("user", "c"))]
    file = jsonl(tmp_path / "train.jsonl", rows)
    dataset = gathered(settings_of(file, empty_responses="drop"))
    assert sum(map(len, dataset.splits.values())) == 9
    assert "2 examples dropped: empty_responses" in dataset.warnings


def test_the_stage_keeps_what_is_trained_on(tmp_path: Path):
    data, words, out = (tmp_path / name for name in ("data", "words", "tokens"))
    template = ChatTemplate(chat="mine.jinja", text=CHATML)
    others = [{"messages": dialogue(f"cat {n}", "dog")} for n in range(5)]
    dataset = gathered(settings_of(jsonl(tmp_path / "a.jsonl", [ROW, *others])))
    examples = [example for split in dataset.splits.values() for example in split]
    (example,) = (each for each in examples if "Repeat hat" in each.instruction)
    data.mkdir()
    for split, rows in assign_ids({split: [example] for split in schemas.SPLITS}, template).items():
        schemas.write(data / f"{split}.parquet", example_columns(rows, template), schemas.EXAMPLES)
    settings = {"settings": {"template": template.model_dump()}, "id": "data"}
    artifact.write_json(data / artifact.MANIFEST, settings)
    WORDS.save_pretrained(words / "model")
    job = artifact.Job("tokens", "x", TokensSettings().model_dump())
    run(TokenizeOptions(job=job, data=data, tokenizer=words, out=out))

    expected = pair(CONVERSATIONS["several"], CHATML)
    (text,) = read_texts(out / "test.parquet")
    assert (list(text.prompt_ids), list(text.response_ids)) == (
        expected.prompt_ids,
        expected.response_ids,
    )
    assert text.earlier == expected.earlier
    assert vocabulary.conventions_of_texts(out).ends == [WORDS.eos_token_id]
    (shown,) = token_examples.read(out)
    assert [run.is_trained for run in shown.runs] == [False, True] * 3
    spelt = ["".join(run.tokens) for run in shown.runs if run.is_trained]
    assert spelt == [f"one two{END}", f"hat\nhat {END}", f"map{END}"]
    asked = questions.of_test_split(data, [text], None)
    assert asked.prompt_ids == {example.instruction: expected.prompt_ids}
