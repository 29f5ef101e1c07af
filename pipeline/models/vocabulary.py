"""Conventions that models and texts must share: token ids, and how a text begins and ends.

The texts of an experiment have one tokenizer, the first teacher's or one of its own, which is saved
beside them. They begin as it begins any text, and end with its EOS. A model that is trained on them
learns to end as they do; a teacher that is used untrained must do so already.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pipeline.artifacts import artifact, checksums
from pipeline.data.encoding import Encoder
from pipeline.data.eos_tokens import MODEL_CONFIGS, same_endings, token_ids
from pipeline.models.language_model import Precision, load_frozen, load_tokenizer


@dataclass(frozen=True)
class TextConventions:
    """The tokenizer of texts and how they begin and end, as in their manifest."""

    tokenizer_digest: str
    before: list[int]  # what every text begins with
    ends: list[int]  # the tokens that end a text; the first is the one that data are ended with

    def with_ends(self, last_ids: Iterable[int]) -> "TextConventions":
        """The conventions of texts with these last tokens."""
        return replace(self, ends=list(dict.fromkeys([*last_ids, *self.ends])))


def tokenizer_digest(tokenizer: PreTrainedTokenizerBase) -> str:
    """A digest of the mapping from tokens to ids."""
    pairs = sorted(tokenizer.get_vocab().items())
    return hashlib.blake2b(repr(pairs).encode(), digest_size=8).hexdigest()


def conventions_of_model(folder: Path) -> TextConventions:
    """The conventions of an artifact's tokenizer and of the model beside it.

    Raises: ValueError for a tokenizer without EOS.
    """
    tokenizer = load_tokenizer(folder)
    if tokenizer.eos_token_id is None:
        raise ValueError(f"{folder}: its tokenizer has no EOS token, so that no text could end")
    configs = [path for name in MODEL_CONFIGS if (path := folder / "model" / name).exists()]
    eos_token_ids = [json.loads(path.read_bytes()).get("eos_token_id") for path in configs]
    ends = [tokenizer.eos_token_id, *(end for ids in eos_token_ids for end in token_ids(ids))]
    distinct = list(dict.fromkeys(ends))
    return TextConventions(tokenizer_digest(tokenizer), Encoder(tokenizer).prefix, distinct)


def conventions_of_texts(tokens: Path) -> TextConventions:
    """The conventions of the texts in a folder."""
    manifest = artifact.read_json(tokens / artifact.MANIFEST)
    return TextConventions(
        **{name: manifest[name] for name in TextConventions.__dataclass_fields__}
    )


def check(model: Path, tokens: Path) -> None:
    """Raises ValueError unless the texts in `tokens` are in the vocabulary of `model`."""
    _check_same_vocabulary(model, conventions_of_model(model), tokens)


def check_teacher(model: Path, tokens: Path) -> None:
    """Raises ValueError unless a teacher begins and ends texts as those in `tokens` do.

    One that was trained on such texts does, whatever its tokenizer did before.
    """
    teacher, texts = conventions_of_model(model), conventions_of_texts(tokens)
    _check_same_vocabulary(model, teacher, tokens)
    differing = [
        f"{what} {_named(mine, model)}, the texts in {tokens} {_named(theirs, model)}"
        for what, mine, theirs, agree in (
            ("begins texts with", teacher.before, texts.before, teacher.before == texts.before),
            ("ends texts with", teacher.ends, texts.ends, same_endings(teacher.ends, texts.ends)),
        )
        if not agree
    ]
    if differing and not _was_trained(model):
        raise ValueError(
            f"{model} {differing[0]}: give this teacher `training`, so that it learns to, put it "
            "first in `teachers`, or give it an experiment of its own"
        )


def _check_same_vocabulary(model: Path, conventions: TextConventions, tokens: Path) -> None:
    digest, theirs = conventions.tokenizer_digest, conventions_of_texts(tokens).tokenizer_digest
    if digest != theirs:
        raise ValueError(
            f"{model} has another vocabulary ({digest}) than the texts in {tokens} ({theirs}): "
            "teacher and student must share one"
        )


def _was_trained(model: Path) -> bool:
    is_artifact = checksums.has_manifest(model)
    return is_artifact and "tokens" in checksums.read_manifest(model).get("inputs", {})


def _named(ids: list[int], folder: Path) -> str:
    words = load_tokenizer(folder).convert_ids_to_tokens(ids)
    return " and ".join(map(repr, words)) or "nothing"


def load_writer(
    folder: Path, tokens: Path, device: torch.device, precision: Precision
) -> PreTrainedModel:
    """A frozen model that also stops at the tokens that end the texts in `tokens`."""
    return adopt_end_tokens(load_frozen(folder, device, precision), tokens)


def adopt_end_tokens(model: PreTrainedModel, tokens: Path) -> PreTrainedModel:
    """The model, which now also stops at the tokens that end the texts in `tokens`."""
    settings, ends = model.generation_config, conventions_of_texts(tokens).ends
    own_ends = [*token_ids(settings.eos_token_id), *token_ids(model.config.eos_token_id)]
    both = list(dict.fromkeys([*ends, *own_ends]))
    model.config.eos_token_id = ends[0]
    settings.eos_token_id = both if len(both) > 1 else ends[0]
    return model
