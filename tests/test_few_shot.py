"""Examples before a question: of training alone, the same for every model, and counted."""

from pathlib import Path
from typing import Any

import pytest
from small_tasks import WORDS, lines, model

from pipeline.artifacts import artifact, schemas
from pipeline.artifacts.artifact import Job
from pipeline.data.conversations import Conversation
from pipeline.data.examples import Example, assign_ids, example_columns
from pipeline.evaluation import questions
from pipeline.settings.data import AnyTemplate, ChatTemplate, Template
from pipeline.settings.evaluation import (
    Evaluation,
    EvaluationJob,
    EvaluationTask,
    GenerationSettings,
    InstructionJob,
)
from pipeline.settings.generation import Sampling
from pipeline.stages import evaluator as stage
from pipeline.stages import prepare_task
from pipeline.stages.options import EvaluateOptions
from pipeline.tasks import few_shot
from workflow.config import evaluation_checks
from workflow.grid import evaluations
from workflow.grid.artifact import Artifact

TEXT = Template(with_input="{instruction} {input}\n", without_input="{instruction}\n")
CHAT = ChatTemplate(
    chat="mine.jinja",
    text="{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}[assistant] {% endif %}",
)
SOUNDS = [
    Example(f"Which animal says {sound}?", "", (animal, "It"), "here")
    for sound, animal in [("meow", "cat"), ("woof", "dog"), ("moo", "cow"), ("hoot", "owl")]
]
ASKED = [
    {"instruction": f"  which animal SAYS {sound}?", "input": "", "output": "?"}
    for sound in ("moo", "baa")
]


def job(path: Path, template: AnyTemplate, count: int) -> InstructionJob:
    settings = Evaluation(tasks=["dolly"], data={"dolly": str(path)}, few_shot=count)
    (task,) = evaluations.tasks(settings, Artifact.of("data", "files", {}))
    plain = InstructionJob.model_validate(task.settings["task"])
    return plain.model_copy(update={"template": template})


def prepared(
    folder: Path, template: AnyTemplate, count: int = 2, train: list[Example] = SOUNDS
) -> dict[str, Any]:
    """A task with examples, its data and tokens; returns the card."""
    splits = assign_ids({"train": train, "validation": [], "test": []}, template)
    for name in ("data", "task"):
        (folder / name).mkdir(parents=True)
    columns = example_columns(splits["train"], template)
    schemas.write(folder / "data/train.parquet", columns, schemas.EXAMPLES)
    WORDS.save_pretrained(folder / "tokens/model")
    made = job(lines(folder / "asked.jsonl", ASKED), template, count)
    card = prepare_task.write_instruction(made, folder / "data", folder / "task")
    settings = {"task": made.model_dump(mode="json")}
    artifact.write_json(folder / "task" / artifact.MANIFEST, {"id": "dolly", "settings": settings})
    return card


def asked(folder: Path, most: int | None = None) -> questions.Questions:
    return questions.of_task(folder / "task", folder / "tokens", None, most, "0 dolly")


def drawn(folder: Path) -> list[str]:
    return [row["instruction"] for row in few_shot.read(folder / "task")]


def test_a_text_has_each_example_with_its_first_response_before_the_question(tmp_path: Path):
    prepared(tmp_path, TEXT)
    answers = {example.instruction: example.responses[0] for example in SOUNDS}
    begin = "".join(f"{question}\n{answers[question]}\n\n" for question in drawn(tmp_path))
    answer = asked(tmp_path)
    assert list(answer.prompt_ids.values()) == [
        WORDS.encode(f"{begin}{row['instruction']}\n") for row in ASKED
    ]
    assert list(answer.prompt_ids) == [f"{row['instruction']}\n" for row in ASKED]  # to be shown


def test_a_chat_has_the_examples_as_earlier_turns_behind_the_system_prompt(tmp_path: Path):
    chat = Conversation(
        [
            {"role": "system", "content": "Be short."},
            {"role": "user", "content": "And moo?"},
            {"role": "assistant", "content": "cow"},
        ],
        [],
        "here",
    )
    trained = Example("And meow?", "", ("cat",), "here", chat=chat.dumps(), location="here")
    prepared(tmp_path, CHAT, 1, [trained])
    (row,) = few_shot.read(tmp_path / "task")
    turns = [(turn["role"], turn["content"]) for turn in few_shot.before(chat, [row]).messages]
    assert turns == [
        ("system", "Be short."),
        ("user", "And moo?"),
        ("assistant", "cow"),
        ("user", "And moo?"),
        ("assistant", "cow"),
    ]
    begin = "[user] And moo?\n[assistant] cow\n"
    expected = [f"{begin}[user] {row['instruction']}\n[assistant] " for row in ASKED]
    assert [WORDS.decode(ids) for ids in asked(tmp_path).prompt_ids.values()] == expected


@pytest.mark.parametrize("template", [TEXT, CHAT], ids=["text", "chat"])
def test_examples_depend_on_the_training_set_alone_and_ask_what_no_item_asks(
    tmp_path: Path, template: AnyTemplate
):
    card = prepared(tmp_path / "a", template, 3)
    prepared(tmp_path / "b", template, 3, SOUNDS[::-1])
    assert drawn(tmp_path / "a") == drawn(tmp_path / "b")
    assert set(drawn(tmp_path / "a")) == {SOUNDS[index].instruction for index in (0, 1, 3)}
    assert len(card["few_shot"]) == 3
    assert card["digest"] != prepared(tmp_path / "c", template, 2)["digest"]
    assert drawn(tmp_path / "c") == drawn(tmp_path / "a")[:2]
    with pytest.raises(ValueError, match=r"few_shot = 4: the training split has 3 examples"):
        prepared(tmp_path / "d", template, 4)


def test_a_chat_that_asks_an_item_in_an_earlier_turn_is_no_example(tmp_path: Path):
    roles, turns = ("user", "assistant") * 2, ("Which animal says moo?", "cow", "Sure?", "Yes")
    messages = [{"role": role, "content": turn} for role, turn in zip(roles, turns, strict=True)]
    chat = Conversation(messages, [], "here")
    example = Example(chat.question, "", ("Yes",), "here", chat=chat.dumps(), location="here")
    with pytest.raises(ValueError, match="has 0 examples"):
        prepared(tmp_path, CHAT, 1, [example])


def test_chats_with_tools_are_no_examples(tmp_path: Path):
    tools = Conversation(
        [{"role": "user", "content": "Now?"}, {"role": "assistant", "content": "Yes"}],
        [{"name": "clock"}],
        "here",
    )
    with_tools = Example("Now?", "", ("Yes",), "here", chat=tools.dumps(), location="here")
    with pytest.raises(ValueError, match="has 0 examples"):
        prepared(tmp_path, CHAT, 1, [with_tools])


def test_examples_count_among_the_tokens_of_a_prompt(tmp_path: Path):
    prepared(tmp_path, TEXT)
    lengths = sorted(len(ids) for ids in asked(tmp_path).prompt_ids.values())
    most = lengths[0]
    assert most > len(WORDS.encode(ASKED[0]["instruction"] + "\n"))
    assert asked(tmp_path, most).left_out == sum(length > most for length in lengths)
    with pytest.raises(ValueError, match=r"prompt_tokens, or lower evaluation\.few_shot"):
        asked(tmp_path, most - 1)


def test_examples_that_leave_no_room_are_refused_before_a_task_begins(tmp_path: Path):
    card = prepared(tmp_path, TEXT)
    longest = max(len(ids) for ids in asked(tmp_path).prompt_ids.values())
    folders = {name: tmp_path / name for name in ("model", "data", "tokens", "state", "out")}
    evaluator = stage.Evaluator(
        EvaluateOptions(job=Job("evals", "", {}), **folders),
        EvaluationJob(tasks=[], items=None, seed=0),
        model(1),
        {"dolly": (tmp_path / "task", card)},
    )
    evaluator.model.config.max_position_embeddings = longest + 8

    def check(new_tokens: int) -> None:
        written = GenerationSettings(
            sampling=Sampling(temperature=0), decoding_seeds=[0], max_new_tokens=new_tokens
        )
        evaluator.check_examples_fit(EvaluationTask(name="dolly", generation=written))

    check(8)
    with pytest.raises(ValueError, match=rf"2 examples: .* has {longest + 8} pos.*few_shot"):
        check(9)


def test_no_task_with_examples_is_a_fault():
    (fault,) = evaluation_checks.task_faults(Evaluation(tasks=["heldout", "arc_easy"], few_shot=2))
    assert fault.startswith("evaluation.few_shot = 2: no listed task")
    assert "dolly" in fault
    assert not evaluation_checks.task_faults(Evaluation(tasks=["dolly"], few_shot=2))


def test_without_examples_a_task_is_the_artifact_that_it_was():
    def of(**settings: Any) -> Artifact:
        (task,) = evaluations.tasks(
            Evaluation(tasks=["dolly"], **settings), Artifact.of("data", "files", {})
        )
        return task

    assert of().id == of(few_shot=0).id != of(few_shot=1).id
    assert "few_shot" not in of().settings["task"]
