"""Rows of foreign tables as examples: their columns by name, or a conversation."""

from pipeline.data import conversations
from pipeline.data.examples import Example
from pipeline.data.rows import Row
from pipeline.settings.data import Columns


def to_example(
    row: Row, columns: Columns, source: str, empty: str, *, are_chats: bool
) -> Example | None:
    """The example of a row; for one without a response None ("drop") or an error ("refuse").

    With a chat template a row may be a conversation; one that can't be learned from has none.

    Raises:
        ValueError: for a row without a column or text that it needs.
    """
    chat = _chat(row, columns, source) if are_chats else None
    example = chat or _example(row, columns, source)
    if all(text.strip() for text in example.responses):
        return example
    if empty == "refuse":
        raise ValueError(
            f"{row.location}: {_emptiness(row, columns, example.chat)}; fix the row, or set "
            "data.examples.empty_responses to drop, which leaves it out"
        )
    return None


def _example(row: Row, columns: Columns, source: str) -> Example:
    example = Example(
        instruction=row.text(columns.instruction),
        input=row.text(columns.input) if columns.input else "",
        responses=row.texts(columns.response) or ("",),
        source=(row.text(columns.source) if columns.source else "") or source,
    )
    if not (example.instruction + example.input).strip():
        raise ValueError(f"{row.location}: neither instruction nor input; fix or remove the row")
    return example


def _chat(row: Row, columns: Columns, source: str) -> Example | None:
    """The example of a row that holds a conversation and no instruction."""
    if columns.messages is not None:
        row.value(columns.messages)
    elif columns.instruction in row.values:
        return None
    chat = conversations.of_row(row.own_values, columns.messages, row.location)
    if chat is None:
        return None
    return Example(
        instruction=chat.question,
        input="",
        responses=("" if chat.fault else str(chat.messages[-1]["content"]),),
        source=(row.text(columns.source) if columns.source else "") or source,
        chat=chat.dumps(),
        location=row.location,
    )


def _emptiness(row: Row, columns: Columns, chat: str) -> str:
    """Why a row has nothing to learn from."""
    if chat:
        return conversations.loads(chat, row.location).fault
    return f"empty response, {columns.response!r} is {row.value(columns.response)!r:.80}"
