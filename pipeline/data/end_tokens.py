"""Which tokens end a text, as configurations name them; read without any library."""

from collections.abc import Sequence

CONFIGS = ("generation_config.json", "config.json")  # of a saved model, that may name such tokens


def as_list(ids: int | Sequence[int] | None) -> list[int]:
    """Token ids as a configuration may have them: none, one or several."""
    if ids is None:
        return []
    return [ids] if isinstance(ids, int) else list(ids)


def agree(own: Sequence[int], texts: Sequence[int]) -> bool:
    """Whether a teacher would write the end of the texts, and ends where its students will.

    The first of the tokens that end texts is the one that data are ended with.
    """
    return texts[0] in own and set(own) <= set(texts)
