"""The tokenizer of another repository or folder, for models that come without one of their own.

A model has a row of embeddings for each token, and maybe some more that only pad the matrix. Which
tokenizer a model was trained with can't be read from it: that the numbers fit is what can be seen.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tokenizers import Tokenizer

from pipeline.models import foreign_files

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerBase

MOST_PADDING = 1024  # rows without a token: 905 of Phi-2, 411 of Pythia 12B, 399 of Qwen2.5 7B


def folder_faults(folder: Path, rows: int | None) -> Iterator[str]:
    """Why a folder has no tokenizer for a model with `rows` embeddings, by its files alone."""
    if faults := [
        *foreign_files.link_faults(folder),
        *foreign_files.description_faults(folder),
        *foreign_files.tokenizer_faults(folder),
    ]:
        yield from faults
    elif rows is not None and (tokens := _count_saved(folder)) is not None:
        yield from row_faults(rows, tokens)


def row_faults(rows: int, tokens: int) -> Iterator[str]:
    """Why a tokenizer can't be that of a model: more tokens than rows, or far fewer."""
    numbers = f"the model's embedding has {rows} rows, and this tokenizer {tokens} tokens"
    if tokens > rows:
        yield f"{numbers}, {tokens - rows} too many: name the tokenizer that it was trained with"
    elif rows - tokens > MOST_PADDING:
        yield (
            f"{numbers}: {rows - tokens} rows would have none, and no model is padded by more than "
            f"{MOST_PADDING}; name the tokenizer that it was trained with"
        )


def check(config: "PretrainedConfig", tokenizer: "PreTrainedTokenizerBase", name: str) -> None:
    """Raises ValueError where the tokenizer of that name doesn't fit a model."""
    for fault in row_faults(config.get_text_config().vocab_size, len(tokenizer)):
        raise ValueError(f"tokenizer {name}: {fault}")


def _count_saved(folder: Path) -> int | None:
    """The tokens of a tokenizer.json; None where there is none, or it can't be read."""
    with contextlib.suppress(Exception):  # the library's own, which is raised again by the job
        return Tokenizer.from_file(str(folder / "tokenizer.json")).get_vocab_size()
    return None
