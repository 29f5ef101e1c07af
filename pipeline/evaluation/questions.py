"""Prompts to generate answers to, as items and as the ids that every model reads.

The ids are made by the tokenizer of the experiment's texts, so that models are asked the same
whatever their own tokenizers would put around a text.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.artifacts import artifact, schemas
from pipeline.artifacts.schemas import Row
from pipeline.data.batch import Text
from pipeline.data.chat_encoding import ChatEncoder
from pipeline.data.encoding import Encoder
from pipeline.data.examples import conversation_of, prompt_pieces
from pipeline.data.splits import shuffled
from pipeline.models.language_model import load_tokenizer
from pipeline.settings.data import ChatTemplate, template_of
from pipeline.tasks import few_shot
from pipeline.tasks.instruction_items import ITEMS


@dataclass(frozen=True)
class Questions:
    """Items, the ids of each prompt by its text, and how many items were too long to be asked."""

    items: list[Row]
    prompt_ids: dict[str, list[int]]
    left_out: int = 0


def of_test_split(data: Path, texts: Sequence[Text], most: int | None) -> Questions:
    """The test examples whose texts are there, in their fair order, or the first of them."""
    rows = schemas.read(data / "test.parquet", schemas.EXAMPLES).to_pylist()
    ids = {text.example_id: text.prompt_ids for text in texts}
    items = [row for row in rows if row["example_id"] in ids][:most]
    return Questions(items, {item["prompt"]: list(ids[item["example_id"]]) for item in items})


def of_task(
    task: Path, tokens: Path, most: int | None, prompt_tokens: int | None, seed: str
) -> Questions:
    """The items of an instruction task, or `most` drawn by the seed from those short enough.

    Its examples are before each question, and count among the tokens of its prompt.
    """
    rows = schemas.read(task / ITEMS, schemas.EXAMPLES).to_pylist()
    examples = few_shot.read(task)
    ids = _prompt_ids(task, tokens, rows, examples)
    short = [
        (row, prompt_ids)
        for row, prompt_ids in zip(rows, ids, strict=True)
        if prompt_tokens is None or len(prompt_ids) <= prompt_tokens
    ]
    if not short:
        raise ValueError(
            f"{task}: all {len(rows)} prompts have more than {prompt_tokens} tokens; raise "
            f"evaluation.prompt_tokens{', or lower evaluation.few_shot' if examples else ''}"
        )
    chosen = shuffled(short, lambda pair: pair[0]["example_id"], seed)[:most] if most else short
    by_prompt = {row["prompt"]: prompt_ids for row, prompt_ids in chosen}
    return Questions([row for row, _ in chosen], by_prompt, len(rows) - len(short))


def _prompt_ids(
    task: Path, tokens: Path, rows: Sequence[Row], examples: Sequence[Row]
) -> list[list[int]]:
    """The ids of each prompt, by the template of the task's own settings."""
    settings = artifact.read_json(task / artifact.MANIFEST)["settings"]["task"]
    template, tokenizer = template_of(settings["template"]), load_tokenizer(tokens)
    if isinstance(template, ChatTemplate):
        chats = [few_shot.before(conversation_of(row), examples) for row in rows]
        return ChatEncoder(tokenizer, template, ()).prompts(chats)
    begin = few_shot.pieces(examples, template)
    asked = [prompt_pieces(row["instruction"], row["input"], template) for row in rows]
    return Encoder(tokenizer).prompts([[*begin, *question] for question in asked])
