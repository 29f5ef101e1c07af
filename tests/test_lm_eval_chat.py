"""Tasks of lm-eval that are asked as the training asks: through its chat template."""

import re
from pathlib import Path

from small_tasks import BUDGET, QUESTIONS, WORDS, gathered, lines, lm_eval_job, model

from pipeline.evaluation import lm_eval_results
from pipeline.evaluation.lm_eval_model import CheckpointLM
from pipeline.settings.data import ChatTemplate, Template
from pipeline.settings.evaluation import Evaluation, LocalFiles
from pipeline.tasks import lm_eval_documents, lm_eval_tasks
from workflow.grid import evaluations

CHAT = ChatTemplate(
    text="{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{{ mood }}{% endif %}",
    kwargs={"mood": "calm "},
)


def contexts(folder: Path, chat: ChatTemplate | None, shots: int | None = None) -> list[str]:
    """What a model is asked, by document."""
    tasks = lm_eval_tasks.load("arc_easy", lm_eval_tasks.stored(folder), shots, "a test")
    checkpoint = CheckpointLM(model(1), WORDS, BUDGET)
    checkpoint.chat = chat
    results = lm_eval_results.evaluate_tasks(checkpoint, tasks, 2, seed=0)
    return [sample["arguments"][0][0] for sample in results["samples"]["arc_easy"]]


def test_a_question_is_a_turn_of_the_user_and_the_model_is_asked_for_the_next(tmp_path: Path):
    folder = gathered(tmp_path / "kept", "arc_easy", lines(tmp_path / "test.jsonl", QUESTIONS))
    for plain, asked in zip(contexts(folder, None), contexts(folder, CHAT), strict=True):
        assert asked == f"<user>{plain}<assistant>calm "


def test_a_question_has_the_same_date_on_every_day(tmp_path: Path):
    folder = gathered(tmp_path / "kept", "arc_easy", lines(tmp_path / "test.jsonl", QUESTIONS))
    dated = ChatTemplate(chat="mine.jinja", text=f"{{{{ strftime_now('%d %b %Y') }}}}{CHAT.text}")
    for asked, on_a_day in zip(
        contexts(folder, ChatTemplate(text=CHAT.text)), contexts(folder, dated), strict=True
    ):
        assert on_a_day == f"26 Jul 2024{asked}"


def test_examples_are_turns_of_their_own(tmp_path: Path):
    path = lines(tmp_path / "test.jsonl", QUESTIONS)
    both = LocalFiles(files={"evaluation": [str(path)], "train": [str(path)]})
    job = lm_eval_job("arc_easy", path, shots=2, source=both)
    (tmp_path / "kept").mkdir()
    lm_eval_documents.gather(job, [], tmp_path / "kept")
    for asked in contexts(tmp_path / "kept", CHAT, shots=2):
        assert re.findall("<(user|assistant)>", asked) == ["user", "assistant"] * 3


def test_only_lm_eval_s_tasks_of_chats_change_a_job():
    lm_eval, own = Evaluation(tasks=["arc_easy"]), Evaluation(tasks=["heldout", "answers"])
    assert evaluations.job(lm_eval, CHAT).chat == CHAT
    assert "chat" not in evaluations.job(lm_eval, Template()).model_dump()
    assert evaluations.job(own, CHAT).chat is None
