"""lm-eval's questions, and its examples before them, as turns of the training's chat template."""

from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase

from pipeline.settings.data import ChatTemplate


def chat_text(
    tokenizer: PreTrainedTokenizerBase,
    chat: ChatTemplate,
    messages: Sequence[dict[str, str]],
    *,
    asks: bool,
) -> str:
    """The text of some messages: one that asks for an answer, or whose last one is to go on."""
    variables: dict[str, Any] = {**chat.kwargs}  # of the template, as a user gives them
    text = tokenizer.apply_chat_template(
        list(messages),
        chat_template=chat.text,
        tokenize=False,
        add_generation_prompt=asks,
        continue_final_message=not asks,
        **variables,
    )
    assert isinstance(text, str)
    return text
