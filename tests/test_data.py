"""The data stage on files as people have them: what it writes, counts and refuses."""

import json
import subprocess
from pathlib import Path

import pytest
from small_tables import DOLLY, files, gathered, jsonl, rows
from stage_commands import job_file, run_stage

from pipeline.artifacts import schemas
from pipeline.data.examples import Example, assign_ids, prompt
from pipeline.settings.data import Columns, DataSettings, Template


def stage(
    settings: dict[str, object], out: Path, **environment: str
) -> subprocess.CompletedProcess[str]:
    job = job_file(out.with_name(f"{out.name}.json"), "toy-1", settings, "c0de")
    return run_stage("prepare_data", job=job, out=out, environment=environment)


def test_the_stage_writes_three_splits_prose_card_and_manifest(tmp_path: Path) -> None:
    prose = tmp_path / "prose.txt"
    prose.write_text("One line of prose.\n\nAnother line.\n")
    train = jsonl(tmp_path / "train.jsonl", rows(30))
    examples = {
        "source": "files",
        "train": train,
        "validation": 4,
        "test": 6,
        "plain_text": str(prose),
    }

    done = stage({"examples": examples, "test_limit": 5}, tmp_path / "out")

    assert done.returncode == 0, done.stderr
    tables = {
        s: schemas.read(tmp_path / "out" / f"{s}.parquet", schemas.EXAMPLES) for s in schemas.SPLITS
    }
    assert {split: len(table) for split, table in tables.items()} == {
        "train": 20,
        "validation": 4,
        "test": 5,
    }
    ids = [name for table in tables.values() for name in table["example_id"].to_pylist()]
    assert len(set(ids)) == 29
    plain = schemas.read(tmp_path / "out" / "plain.parquet", schemas.PLAIN)
    assert sorted(plain["text"].to_pylist()) == ["Another line.", "One line of prose."]
    card = json.loads((tmp_path / "out" / "card.json").read_text())
    assert card["splits"]["test"]["by_source"] == {"train": 5}
    assert len(card["examples"]) == 10
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["id"] == "toy-1"


def test_a_fault_ends_the_stage_with_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    train = jsonl(tmp_path / "train.jsonl", [*rows(9), {"instruction": "?", "input": ""}])

    done = stage({"examples": {"source": "files", "train": train}}, tmp_path / "out")

    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(f"error: {train}:10: no column 'output'")
    assert "Traceback" not in done.stderr
    assert {file.name for file in tmp_path.iterdir()} == {"train.jsonl", "out.json"}


def test_questions_shared_with_given_test_files_are_kept_counted_and_named(tmp_path: Path) -> None:
    train = jsonl(tmp_path / "train.jsonl", rows(20))
    test = jsonl(tmp_path / "test.jsonl", [*rows(2, first=100), *rows(1)])
    examples = {"source": "files", "train": train, "validation": test, "test": test}

    done = stage({"examples": examples}, tmp_path / "out")

    card = json.loads((tmp_path / "out" / "card.json").read_text())
    assert card["shared_with_train"]["test"] == {"questions": 1, "instructions": 1}
    assert card["splits"]["train"]["examples"] == 20
    assert card["splits"]["test"]["examples"] == 3
    table = schemas.read(tmp_path / "out" / "test.parquet", schemas.EXAMPLES).to_pylist()
    [shared] = [row["example_id"] for row in table if row["instruction"] == "What is 0?"]
    assert any(
        f"1 of 3 test questions are asked in train too: {shared}" in w for w in card["warnings"]
    )
    assert f"warning: {card['warnings'][-1]}" in done.stderr


def test_limits_draw_by_the_seed_and_smaller_draws_are_part_of_larger_ones(tmp_path: Path) -> None:
    file = jsonl(tmp_path / "a.jsonl", rows(50))

    def train(limit: int, seed: int) -> list[Example]:
        settings = files(file).model_copy(update={"train_limit": limit, "seed": seed})
        return gathered(settings).splits["train"]

    assert train(5, seed=0) == train(20, seed=0)[:5]
    assert set(train(20, seed=0)) != set(train(20, seed=1))


def test_a_limit_beyond_the_data_is_said(tmp_path: Path) -> None:
    settings = files(jsonl(tmp_path / "a.jsonl", rows(50))).model_copy(update={"test_limit": 9})

    assert gathered(settings).warnings == ["test_limit is 9, but there are only 3 examples"]


def test_ids_come_from_content_and_copies_are_numbered_test_first() -> None:
    copied, alone = Example("A?", "", ("Yes.",), "my set"), Example("B?", "", ("Yes.",), "my set")
    splits = {"train": [alone, copied], "validation": [], "test": [copied]}

    named = assign_ids(splits, Template())

    [(first, _)] = named["test"]
    assert first.startswith("my_set-")
    assert [name for name, _ in named["train"]][1] == f"{first}-2"
    assert assign_ids({**splits, "train": []}, Template())["test"] == named["test"]


def test_text_in_braces_is_not_taken_for_a_place_of_the_template() -> None:
    asking = Example("Explain {input} in {x}.", "a {instruction}", ("Yes.",), "toy")
    template = Template(with_input="{instruction}|{input}|{}", without_input="{instruction}")

    assert prompt(asking, template) == "Explain {input} in {x}.|a {instruction}|{}"


def test_an_example_without_input_is_asked_without_an_input_section() -> None:
    assert "### Input" not in prompt(Example("Why?", " \n", ("So.",), "toy"), Template())
    assert "### Input:\nthis\n" in prompt(Example("Why?", "this", ("So.",), "toy"), Template())


def test_an_unreachable_hub_is_one_error_with_the_data_set_and_the_ways_out(tmp_path: Path) -> None:
    examples = {"source": "hub", "name": "databricks/databricks-dolly-15k", "columns": DOLLY}

    done = stage(
        {"examples": examples}, tmp_path / "out", HF_HUB_OFFLINE="1", HF_HOME=str(tmp_path / "hf")
    )

    assert done.returncode == 2
    [error] = [line for line in done.stderr.splitlines() if line.startswith("error")]
    assert "databricks/databricks-dolly-15k" in error
    assert "`files`" in error
    assert "`docstrings`" in error
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_data_set_is_loaded_by_the_hub_library_with_dollys_columns(tmp_path: Path) -> None:
    # The library takes a folder laid out like a data set of the hub for one.
    folder, prose = tmp_path / "dolly", tmp_path / "prose"
    folder.mkdir()
    prose.mkdir()
    values = [
        {"instruction": f"Who {n}?", "context": "", "response": "Me.", "category": "open_qa"}
        for n in range(12)
    ]
    jsonl(folder / "train.jsonl", values)
    jsonl(prose / "train.jsonl", [{"text": f"Line {number} of prose."} for number in range(9)])
    columns = Columns(**DOLLY, source="category").model_dump()
    examples = {
        "source": "hub",
        "name": str(folder),
        "columns": columns,
        "validation": 2,
        "test": 3,
        "plain_text": str(prose),
        "plain_text_documents": 4,
        "plain_text_revision": "b" * 40,
    }

    done = stage(
        {"examples": examples}, tmp_path / "out", HF_HUB_OFFLINE="1", HF_HOME=str(tmp_path / "hf")
    )

    assert done.returncode == 0, done.stderr
    train = schemas.read(tmp_path / "out" / "train.parquet", schemas.EXAMPLES)
    assert train["source"].to_pylist() == ["open_qa"] * 7
    assert train["responses"].to_pylist() == [["Me."]] * 7
    plain = schemas.read(tmp_path / "out" / "plain.parquet", schemas.PLAIN)["text"].to_pylist()
    assert sorted(plain) == [f"Line {number} of prose." for number in range(4)]
    (line,) = [line for line in done.stderr.splitlines() if "can move" in line]
    assert "revision 'main' of " in line  # that of the plain text is a commit


def test_the_first_examples_of_a_file_are_held_out_in_its_order(tmp_path: Path) -> None:
    written = rows(30)
    train = jsonl(tmp_path / "train.jsonl", written)
    data = gathered(files(train=train, validation=4, test=6, held_out_by="order"))
    questions = {
        split: [example.instruction for example in examples]
        for split, examples in data.splits.items()
    }
    asked = [row["instruction"] for row in written]
    assert set(questions["validation"]) == set(asked[:4])
    assert set(questions["test"]) == set(asked[4:10])
    assert set(questions["train"]) == set(asked[10:])


@pytest.mark.parametrize(
    ("more", "fault"),
    [
        ({"validation": "a.jsonl", "test": "b.jsonl", "held_out_by": "order"}, "nothing is held"),
        ({"plain_text_documents": 5}, "plain_text_documents: there is no plain_text"),
    ],
)
def test_settings_of_what_is_not_there_are_refused(more: dict[str, object], fault: str) -> None:
    for source in ({"source": "files", "train": "a.jsonl"}, {"source": "hub", "name": "a/b"}):
        with pytest.raises(ValueError, match=fault):
            DataSettings.model_validate({"examples": source | more})
