"""What a task's items share with the training texts is counted, whatever its form."""

import json
from pathlib import Path
from typing import Any

import pytest
from small_tasks import DATA, instruction_job, lines
from stage_commands import job_file, run_stage

from pipeline.data.examples import Example, normalise
from pipeline.tasks import instruction_items
from pipeline.tasks.contamination import contaminated_examples


def test_what_a_task_shares_with_training_is_found():
    def example(instruction: str, input: str = "", response: str = "Yes.") -> Example:
        return Example(instruction, input, (response,), "here")

    many = "one two three four five six seven eight nine ten eleven twelve thirteen"
    train = [example("Is it so?", "A"), example("Why?", "", f"Because {many}.")]
    asked = [example("is  it so?", "a"), example("Is it so?", "B"), example("How?", many)]
    shared = contaminated_examples(["x", "y", "z"], asked, train)
    assert shared.questions == ("x",)
    assert shared.instructions == ("x", "y")
    assert shared.ngrams == ("z",)
    assert any(
        "1 of 3 items ask what training asks: x" in warning for warning in shared.warnings(3)
    )


def test_a_task_s_question_is_found_in_conversations_with_a_system_prompt(tmp_path: Path):
    def row(*turns: str) -> dict[str, Any]:
        roles = ("system", "user", "assistant", "user", "assistant")
        pairs = zip(roles, turns, strict=False)
        return {"messages": [{"role": role, "content": content} for role, content in pairs]}

    rows = [
        *(row("Be brief.", f"Where is {place}?", "There.") for place in ("Rome", "Oslo", "Bonn")),
        row("Be kind.", "Hello!", "Hi.", "What is the capital of France?", "Paris."),
    ]
    source = {"source": "files", "train": str(lines(tmp_path / "train.jsonl", rows))}
    held_out = {
        key: str(lines(tmp_path / f"{key}.jsonl", rows[:1])) for key in ("validation", "test")
    }
    settings = {"template": {"chat": "tokenizer"}, "examples": source | held_out}
    job = job_file(tmp_path / "job.json", "data", settings, "x")
    run_stage("prepare_data", job=job, out=tmp_path / "data")
    train = instruction_items.read_split(tmp_path / "data", "train")
    asked = [
        Example(question, "", ("Yes.",), "here")
        for question in ("what is the capital of France?", "Hello!", "Be kind.", "Paris.", "Where?")
    ]
    shared = contaminated_examples(["v", "w", "x", "y", "z"], asked, train)
    assert shared.questions == ("v", "w")


@pytest.mark.parametrize(
    "other",
    [
        "Ou\u0300 est le cafe\u0301 ou\u0300 l'on sert du the\u0301 tre\u0300s sucre\u0301 ?",
        "Où est le café où l\u2019on sert du thé très sucré ?",
        "Où est le café où l'on\u200b sert du thé\u00ad très sucré\u00a0?\ufeff",
        "ＯÙ est le café où l'on sert du thé très sucré ?",
    ],
    ids=["decomposed", "curly apostrophe", "without width", "full width and capitals"],
)
def test_a_copy_in_another_unicode_form_is_a_copy(other: str):
    first = "Où est le café où l'on sert du thé très sucré ?"
    more = " Un deux trois quatre cinq six sept huit neuf dix onze."
    train = [Example(first + more, "", ("Ici.",), "here")]
    shared = contaminated_examples(
        ["x", "y"], [Example(other + more, "", ("Là.",), "here")] * 2, train
    )
    assert shared.questions == shared.instructions == shared.ngrams == ("x", "y")


@pytest.mark.parametrize(
    "shared",
    [
        "中国的首都是北京它有三千多年的历史",
        "日本の首都は東京でとても大きな都市です",
        "กรงเทพมหานครเปนเมองหลวงของไทย",
    ],
    ids=["Chinese", "Japanese", "Thai"],
)
def test_a_run_of_a_script_without_spaces_is_found_in_a_longer_clause(shared: str):
    train = [Example("Why?", "", (f"x{shared}也都好。",), "here")]
    asked = [Example(f"How {text}?", "", ("So.",), "here") for text in (shared, shared[:12])]
    assert contaminated_examples(["x", "y"], asked, train).ngrams == ("x",)


def test_words_of_scripts_with_spaces_are_whole():
    text = "où est le café де жили старые 대한민국 ΑΘΗΝΑ a1 b2 c3 d4"  # 13 words
    asked = [Example(part, "", ("So.",), "here") for part in (text, text[:-1])]
    train = [Example("Why?", "", (text,), "here")]
    assert contaminated_examples(["x", "y"], asked, train).ngrams == ("x",)


def test_texts_that_differ_in_more_than_form_are_no_copies():
    assert normalise("Was it resumed?") != normalise("Was it résumé?")
    assert normalise("a b") != normalise("ab")


def test_the_shared_dolly_sets_have_two_instructions_in_common():
    dev, test = DATA / "instruction/dolly_dev.jsonl", DATA / "instruction/dolly_test.jsonl"
    if not dev.is_file():
        pytest.skip("../shared/data is not there")
    rows = [json.loads(line) for line in dev.read_text().splitlines()]
    train = [Example(row["instruction"], row.get("input") or "", ("",), "") for row in rows]
    gathered = instruction_items.gather(instruction_job("dolly", test), train)
    assert gathered.count == 500
    items = {row["instruction"] for row in map(json.loads, test.read_text().splitlines())}
    assert len(items & {example.instruction for example in train}) == 2  # to the letter
    assert len(gathered.contamination.instructions) == 3  # and one but for a capital
