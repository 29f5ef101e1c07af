"""The tokens that end a text, as model configurations name them; imports no library."""

from collections.abc import Sequence

MODEL_CONFIGS = ("generation_config.json", "config.json")  # of a saved model: may name EOS tokens


def token_ids(ids: int | Sequence[int] | None) -> list[int]:
    """The list of ids in a configuration's `eos_token_id`: none, one or several."""
    if ids is None:
        return []
    return [ids] if isinstance(ids, int) else list(ids)


def same_endings(teacher_eos: Sequence[int], text_eos: Sequence[int]) -> bool:
    """Whether a teacher would generate the end of the texts, and stops where its students will.

    The first EOS token of the texts is the one that the responses in the data end with.
    """
    return text_eos[0] in teacher_eos and set(teacher_eos) <= set(text_eos)
