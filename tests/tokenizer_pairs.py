"""Two trained tokenizers of different kinds and sizes, and texts that are hard to cut alike."""

import os
import random
from functools import cache

from transformers import PreTrainedTokenizerFast

from pipeline.settings.models import Tokenizer
from pipeline.stages.train_tokenizer import train

WORDS = dir(str) + dir(os) + dir(random)
CORPUS = [f"{first} {second}\n" for first, second in zip(WORDS, WORDS[7:], strict=False)]
PIECES = (
    *("the cat", " sat", "sum", "  ", "\n", "\n\n", "\t", " ", "12345", "3.14", "naïve", "e\u0301"),
    *(
        "猫",
        "東京",
        "👩‍👩‍👧",
        "🙂",
        "\x00",
        "\u00a0",
        "ﬁ",
        "Ω",
        "```",
        "<b>",
        "x",
        "ȫ",
        "\r\n",
        "\\n",
    ),
)


@cache
def byte_level_bpe() -> PreTrainedTokenizerFast:
    """A byte-level BPE of 450 tokens."""
    return train(CORPUS, Tokenizer(vocabulary_size=450))


@cache
def unigram() -> PreTrainedTokenizerFast:
    """A unigram model of 500 tokens, 256 of them bytes."""
    return train(CORPUS, Tokenizer(kind="unigram", vocabulary_size=500))


def hard_texts(count: int = 300) -> list[str]:
    """Drawn texts of drawn pieces: emoji, Chinese, digits, spaces, newlines, combining signs."""
    draw = random.Random(0)
    return ["".join(draw.choices(PIECES, k=draw.randint(1, 9))) for _ in range(count)]
