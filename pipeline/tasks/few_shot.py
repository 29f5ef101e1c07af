"""Examples before a question: the same ones of the training split for every item and every model.

They are drawn by their ids alone. None asks what an item of the task asks, and none has tools. In a
text each is its prompt and its first response, and an empty line follows; in a chat they are
earlier turns, without system prompts of their own.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pipeline.artifacts import schemas
from pipeline.artifacts.schemas import Row
from pipeline.data.conversations import Conversation
from pipeline.data.examples import Example, Piece, conversation_of, normalise, prompt_pieces
from pipeline.data.splits import first_shuffled
from pipeline.settings.data import Template

FILE = "few_shot.parquet"  # beside a task's items, where it has any
BETWEEN = "\n\n"  # an example and what follows it in a text
OF_WHOLE_CHATS = ("system", "developer")  # roles of turns that no earlier turn may have


def draw(data: Path, items: Sequence[Example], count: int, *, are_chats: bool) -> list[Row]:
    """The first `count` examples of the training split, drawn by id.

    Raises: ValueError where fewer fit.
    """
    asked = {_question(item.instruction, item.input) for item in items}
    batches = schemas.read_batches(data / "train.parquet", schemas.EXAMPLES)
    rows = (row for batch in batches for row in batch.to_pylist())
    fit = (row for row in rows if _fits(row, asked, are_chats=are_chats))
    drawn = first_shuffled(fit, lambda row: row["example_id"], "few_shot", count)
    if len(drawn) < count:
        raise ValueError(
            f"evaluation.few_shot = {count}: the training split has {len(drawn)} examples that ask "
            "something else than the task does, and need no tools; lower it"
        )
    return drawn


def _fits(row: Row, asked: set[str], *, are_chats: bool) -> bool:
    if _question(row["instruction"], row["input"]) in asked:
        return False
    if not are_chats:
        return True
    chat = conversation_of(row)
    if any(_question(str(turn["content"]), "") in asked for turn in chat.messages):
        return False  # an earlier turn would tell the answer
    return not chat.tools and all(turn["role"] != "tool" for turn in chat.messages)


def _question(instruction: str, input: str) -> str:
    return normalise(f"{instruction} {input}")


def write(folder: Path, rows: Sequence[Row]) -> None:
    """Writes the examples beside the items of their task."""
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    schemas.write(folder / FILE, columns, schemas.EXAMPLES)


def read(task: Path) -> list[Row]:
    """The examples of a task; none where it has no file of them."""
    path = task / FILE
    return schemas.read(path, schemas.EXAMPLES).to_pylist() if path.exists() else []


def pieces(rows: Sequence[Row], template: Template) -> list[Piece]:
    """The text before a question."""
    parts: list[Piece] = []
    for row in rows:
        parts += prompt_pieces(row["instruction"], row["input"], template)
        parts += [Piece(row["responses"][0], False), Piece(BETWEEN, True)]
    return parts


def before(chat: Conversation, rows: Sequence[Row]) -> Conversation:
    """A conversation with the examples as earlier turns, behind its system prompt."""
    turns = [
        turn
        for row in rows
        for turn in conversation_of(row).messages
        if turn["role"] not in OF_WHOLE_CHATS
    ]
    begins = [turn for turn in chat.messages if turn["role"] in OF_WHOLE_CHATS]
    rest = [turn for turn in chat.messages if turn["role"] not in OF_WHOLE_CHATS]
    return replace(chat, messages=[*begins, *turns, *rest])
