"""Training examples as the tokens that models read, and which of them are trained on."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from tokenizers import Tokenizer

from pipeline.artifacts import schemas

SHOWN, MOST_TOKENS = 3, 600  # examples, and tokens of each


@dataclass(frozen=True)
class Run:
    """Neighbouring tokens that are all trained on, or none of them."""

    is_trained: bool
    tokens: list[str]


@dataclass(frozen=True)
class TokenExample:
    """The tokens of an example; a long one's first tokens."""

    example_id: str
    runs: list[Run]
    left_out: int  # tokens


def read(tokens: Path) -> tuple[TokenExample, ...]:
    """The first training examples; none where texts or a fast tokenizer are not there."""
    texts, words = tokens / "train.parquet", tokens / "model" / "tokenizer.json"
    if not (texts.is_file() and words.is_file()):
        return ()
    tokenizer = Tokenizer.from_file(str(words))
    rows = schemas.read(texts, schemas.TOKENS).slice(0, SHOWN).to_pylist()
    return tuple(
        _example(
            tokenizer,
            row["example_id"],
            [*row["prompt_ids"], *row["response_ids"]],
            [*(row.get("earlier_spans") or []), len(row["prompt_ids"])],
        )
        for row in rows
    )


def _example(
    tokenizer: Tokenizer, name: str, ids: Sequence[int], bounds: Sequence[int]
) -> TokenExample:
    """The example whose tokens are trained on behind an odd number of bounds."""
    shown = list(enumerate(ids))[:MOST_TOKENS]
    runs = groupby(shown, lambda pair: sum(bound <= pair[0] for bound in bounds) % 2 == 1)
    return TokenExample(
        name,
        [
            Run(is_trained, [tokenizer.decode([id], skip_special_tokens=False) for _, id in pairs])
            for is_trained, pairs in runs
        ],
        len(ids) - len(shown),
    )
