"""Foreign tables: how their columns are mapped, and what is said of those that can't be used."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from small_tables import DOLLY, files, gathered, jsonl, rows

from pipeline.data.examples import Example


def test_json_jsonl_and_parquet_hold_the_same_examples(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(rows(20)))
    jsonl(tmp_path / "a.jsonl", rows(20))
    pq.write_table(pa.Table.from_pylist(rows(20)), tmp_path / "a.parquet")

    datasets = [
        gathered(files(str(tmp_path / f"a.{suffix}"))) for suffix in ("json", "jsonl", "parquet")
    ]

    assert datasets[0].splits == datasets[1].splits == datasets[2].splits
    assert {split: len(part) for split, part in datasets[0].splits.items()} == {
        "train": 15,
        "validation": 2,
        "test": 3,
    }


def test_columns_of_dolly_and_alpaca_are_mapped(tmp_path: Path) -> None:
    dolly = {
        "instruction": "Who?",
        "context": "A tale.",
        "response": "Me.",
        "category": "closed_qa",
    }
    alpaca = {"instruction": "Add.", "input": "1 2", "output": "3", "text": "Below is ..."}
    train = jsonl(tmp_path / "dolly.jsonl", [dolly])
    test = jsonl(tmp_path / "alpaca.jsonl", [alpaca])

    by_dolly = files(train, validation=train, test=train, columns={**DOLLY, "source": "category"})
    by_alpaca = files(test, validation=test, test=test)

    assert gathered(by_dolly).splits["test"] == [Example("Who?", "A tale.", ("Me.",), "closed_qa")]
    assert gathered(by_alpaca).splits["test"] == [Example("Add.", "1 2", ("3",), "alpaca")]


def test_a_list_of_references_is_kept_and_an_input_may_be_absent(tmp_path: Path) -> None:
    file = jsonl(tmp_path / "a.jsonl", [{"q": "Name one.", "a": ["A cat.", "A dog."]}])
    columns = {"instruction": "q", "input": None, "response": "a"}

    data = gathered(files(file, validation=file, test=file, columns=columns))

    assert data.splits["train"] == [Example("Name one.", "", ("A cat.", "A dog."), "a")]


def test_line_separators_inside_json_text_do_not_end_a_line(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text('{"instruction": "One\u2028two?", "input": null, "output": "Yes."}\n')

    data = gathered(files(str(file), validation=str(file), test=str(file)))

    assert data.splits["train"][0].instruction == "One\u2028two?"


BAD_LINES = [
    ('{"instruction": "Is it?", "inp', r"a\.jsonl:3: invalid JSON \(Unterminated .* column 27"),
    ("[", r"a\.jsonl:3: invalid JSON .* in '\['; a file that is one list is to end in \.json"),
    ('["no", "object"]', r"a\.jsonl:3: \['no', 'object'\] is not an object"),
    (
        '{"instruction": "?", "input": ""}',
        r"a\.jsonl:3: no column 'output', there are: input, inst",
    ),
    (
        '{"instruction": "?", "input": "", "output": " "}',
        r"a\.jsonl:3: empty response, .* ' '.*drop",
    ),
    (
        '{"instruction": "?", "input": "", "output": []}',
        r"a\.jsonl:3: empty response, 'output' is \[\]",
    ),
    (
        '{"instruction": "?", "input": "", "output": 42}',
        r"a\.jsonl:3: column 'output' holds no text",
    ),
    ('{"instruction": "?", "input": "", "output": ["a", 4]}', r"a\.jsonl:3: 'output' lists 4"),
    (
        '{"instruction": "", "input": " ", "output": "b"}',
        r"a\.jsonl:3: neither instruction nor input",
    ),
]


@pytest.mark.parametrize(("line", "message"), BAD_LINES)
def test_a_row_that_makes_no_example_is_named_by_file_and_line(
    tmp_path: Path, line: str, message: str
) -> None:
    file = tmp_path / "a.jsonl"
    jsonl(file, rows(1))
    file.write_text(file.read_text() + "\n" + line + "\n")  # a blank line is no row, but counts

    with pytest.raises(ValueError, match=message):
        gathered(files(str(file)))


BAD_FILES = [
    ("absent.json", None, "absent.json is not a file; correct data.examples.train"),
    ("a.xlsx", b"PK", "can't read '.xlsx' files, only .json, .jsonl, .csv, .tsv, .parquet"),
    (
        "a.json",
        b'[{"instruction": "?", "input": "", "output": "b"},\n oops]',
        "a.json:2: invalid JSON",
    ),
    ("a.json", b'{"a": 1}', "holds a JSON dict, expected a list"),
    ("a.json", b"[]", "holds no rows"),
    ("a.jsonl", b"\n\n", "holds no rows"),
    ("a.jsonl", b'{"a": "\xff"}\n', "is not UTF-8"),
    ("a.parquet", b"PAR1 half", "is not a whole Parquet file"),
]


@pytest.mark.parametrize(("name", "content", "message"), BAD_FILES)
def test_a_file_that_cannot_be_used_is_named_with_what_is_wrong(
    tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)

    with pytest.raises(ValueError, match=message.replace(".", r"\.")):
        gathered(files(str(tmp_path / name)))


def test_empty_responses_can_be_dropped_and_are_counted(tmp_path: Path) -> None:
    file = jsonl(tmp_path / "a.jsonl", [*rows(10), {"instruction": "?", "input": "", "output": ""}])

    data = gathered(files(file, empty_responses="drop"))

    assert data.facts["dropped"] == {"copies_in_train": 0, "empty_responses": 1}
    assert data.warnings == ["1 examples dropped: empty_responses"]


def test_copies_are_dropped_from_train_only_and_counted(tmp_path: Path) -> None:
    train = jsonl(tmp_path / "train.jsonl", [*rows(10), *rows(4)])
    test = jsonl(tmp_path / "test.jsonl", [*rows(3, first=100), *rows(1, first=100)])

    data = gathered(files(train, test=test))

    assert data.facts["dropped"] == {"copies_in_train": 4, "empty_responses": 0}
    assert len(data.splits["test"]) == 4
    assert len(data.splits["train"]) == 8


def one_row(**more: object) -> dict[str, object]:
    return {"instruction": "?", "input": "", "output": "b", **more}


DEEP = '{"instruction": "?", "input": "", "output": "b", "x": ' + "[" * 5000 + "]" * 5000 + "}"
HUGE = '{"instruction": "?", "input": "", "output": "b", "x": ' + "9" * 5000 + "}"
HALF = '{"instruction": "?", "input": "", "output": "ok \\ud83d"}'


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (DEEP, "it has lists or objects too deep inside each other; fix or remove the row"),
        (HUGE, "it has a number of more than 4300 digits; fix or remove the row"),
        (HALF, r"column 'output' holds '\\ud83d', half of a character; fix or remove the row"),
    ],
    ids=["deep", "huge", "half a character"],
)
def test_json_that_python_cannot_hold_is_named_by_file_and_row(
    tmp_path: Path, line: str, message: str
) -> None:
    good = json.dumps(one_row())
    (tmp_path / "a.jsonl").write_text(f"{good}\n{line}\n")
    (tmp_path / "a.json").write_text(f"[{good},\n {line}]")
    for name, place in (("a.jsonl", r"a\.jsonl:2: "), ("a.json", r"a\.json, row 2: ")):
        with pytest.raises(ValueError, match=place + message):
            gathered(files(str(tmp_path / name)))


def test_a_pair_of_surrogates_is_the_character_that_it_means(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text('{"instruction": "?", "input": "", "output": "ok \\ud83d\\ude00"}\n')
    data = gathered(files(str(file), validation=str(file), test=str(file)))
    assert data.splits["train"][0].responses == ("ok 😀",)


def test_json_lines_are_read_under_the_name_of_json_too(tmp_path: Path) -> None:
    lines = jsonl(tmp_path / "a.jsonl", rows(9))
    same = jsonl(tmp_path / "a.json", rows(9))
    assert gathered(files(same)).splits == gathered(files(lines)).splits


CHATS = [
    {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]},
    {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Ho"}]},
]


@pytest.mark.parametrize("row", CHATS, ids=["messages", "ShareGPT"])
def test_conversations_under_a_text_template_are_refused(
    tmp_path: Path, row: dict[str, object]
) -> None:
    (column,) = row
    file = jsonl(tmp_path / "a.jsonl", [row] * 9)
    mapped = {"instruction": "id", "input": None, "response": column}
    text = rf"a\.jsonl:1: '{column}' holds a chat; conversations are .* set `data\.template: chat`"
    with pytest.raises(ValueError, match=text):
        gathered(files(file))
    with pytest.raises(ValueError, match=text):
        gathered(files(jsonl(tmp_path / "a.jsonl", [row | {"id": "a"}] * 9), columns=mapped))


def test_a_byte_that_is_no_utf_8_is_named_by_its_line(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_bytes(json.dumps(one_row()).encode() + b'\n{"instruction": "\xe9"}\n')
    with pytest.raises(ValueError, match=r"a\.jsonl:2 is not UTF-8"):
        gathered(files(str(file)))


def test_parquet_text_that_is_no_utf_8_is_named_by_its_row(tmp_path: Path) -> None:
    texts = [b"a", b"b", b"caf\xe9"]
    columns = {name: pa.array(texts, pa.binary()).view(pa.string()) for name in one_row()}
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    with pytest.raises(ValueError, match=r"a\.parquet, row 3: its text is not UTF-8"):
        gathered(files(str(tmp_path / "a.parquet")))
