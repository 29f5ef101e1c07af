"""Which token has which id: what models and texts that meet must agree on."""

import hashlib
from pathlib import Path

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from pipeline import artifacts, integrity


def digest(tokenizer: PreTrainedTokenizerBase) -> str:
    """Tells tokenizers apart by what they map to which id."""
    pairs = sorted(tokenizer.get_vocab().items())
    return hashlib.blake2b(repr(pairs).encode(), digest_size=8).hexdigest()


def of_texts(tokens: Path) -> str:
    """The digest of the tokenizer that the texts in a folder were made with."""
    return artifacts.read_json(tokens / artifacts.MANIFEST)["tokenizer_digest"]


def check(model: Path, tokens: Path) -> None:
    """Raises ValueError unless the texts in `tokens` are in the vocabulary of `model`."""
    integrity.check(model, "model/*.json")
    spoken = digest(AutoTokenizer.from_pretrained(model / "model"))
    written = of_texts(tokens)
    if spoken != written:
        raise ValueError(
            f"{model} has another vocabulary ({spoken}) than the texts in {tokens} ({written}): "
            "teacher and student must share one"
        )
