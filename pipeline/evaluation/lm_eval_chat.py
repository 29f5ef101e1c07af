"""lm-eval's questions, and its examples before them, as turns of the training's chat template."""

from collections.abc import Sequence

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
    text = tokenizer.apply_chat_template(
        list(messages),
        chat_template=chat.text,
        tokenize=False,
        add_generation_prompt=asks,
        continue_final_message=not asks,
        **chat.kwargs,
    )
    assert isinstance(text, str)
    return text
