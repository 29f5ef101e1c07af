"""What models and texts that meet must agree on: which token has which id, and where texts end.

The texts of an experiment have one tokenizer, the first teacher's or one of its own, which is kept
beside them. They begin as it begins any text, and end with its EOS. A model that is trained on them
ends where they do; a teacher that is used as it is must do so already.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from pipeline.artifacts import artifact, checksums
from pipeline.data.encoding import Encoder
from pipeline.data.eos_tokens import MODEL_CONFIGS, same_endings, token_ids


@dataclass(frozen=True)
class TextConventions:
    """How texts are made of tokens, as the manifest of their artifact has it."""

    tokenizer_digest: str
    before: list[int]  # what every text begins with
    ends: list[int]  # the tokens that end a text; the first is the one that data are ended with


def tokenizer_digest(tokenizer: PreTrainedTokenizerBase) -> str:
    """Tells tokenizers apart by what they map to which id."""
    pairs = sorted(tokenizer.get_vocab().items())
    return hashlib.blake2b(repr(pairs).encode(), digest_size=8).hexdigest()


def conventions_of_model(folder: Path) -> TextConventions:
    """Those of a tokenizer in an artifact, and of the model beside it.

    Raises: ValueError for a tokenizer without EOS.
    """
    checksums.verify(folder, "model/*.json")
    tokenizer = AutoTokenizer.from_pretrained(folder / "model")
    if tokenizer.eos_token_id is None:
        raise ValueError(f"{folder}: its tokenizer has no EOS token, so that no text could end")
    configs = [path for name in MODEL_CONFIGS if (path := folder / "model" / name).exists()]
    said = [json.loads(path.read_text()).get("eos_token_id") for path in configs]
    ends = [tokenizer.eos_token_id, *(end for one in said for end in token_ids(one))]
    distinct = list(dict.fromkeys(ends))
    return TextConventions(tokenizer_digest(tokenizer), Encoder(tokenizer).before, distinct)


def facts(of: TextConventions) -> dict[str, object]:
    """What a manifest says of the texts beside it."""
    return asdict(of)


def conventions_of_texts(tokens: Path) -> TextConventions:
    """The conventions of the texts in a folder."""
    manifest = artifact.read_json(tokens / artifact.MANIFEST)
    return TextConventions(
        **{name: manifest[name] for name in TextConventions.__dataclass_fields__}
    )


def check(model: Path, tokens: Path) -> None:
    """Raises ValueError unless the texts in `tokens` are in the vocabulary of `model`."""
    _same_vocabulary(model, conventions_of_model(model), tokens)


def check_teacher(model: Path, tokens: Path) -> None:
    """Raises ValueError unless a teacher begins and ends texts as those in `tokens` do.

    One that was trained on such texts does, whatever its tokenizer did before.
    """
    own, texts = conventions_of_model(model), conventions_of_texts(tokens)
    _same_vocabulary(model, own, tokens)
    differing = [
        f"{what} {_named(mine, model)}, the texts in {tokens} {_named(theirs, model)}"
        for what, mine, theirs, agree in (
            ("begins texts with", own.before, texts.before, own.before == texts.before),
            ("ends texts with", own.ends, texts.ends, same_endings(own.ends, texts.ends)),
        )
        if not agree
    ]
    if differing and not _was_trained(model):
        raise ValueError(
            f"{model} {differing[0]}: give this teacher `training`, so that it learns it, put it "
            "first in `teachers`, or give it an experiment of its own"
        )


def _same_vocabulary(model: Path, own: TextConventions, tokens: Path) -> None:
    spoken, written = own.tokenizer_digest, conventions_of_texts(tokens).tokenizer_digest
    if spoken != written:
        raise ValueError(
            f"{model} has another vocabulary ({spoken}) than the texts in {tokens} ({written}): "
            "teacher and student must share one"
        )


def _was_trained(model: Path) -> bool:
    made = model / artifact.MANIFEST
    return made.exists() and "tokens" in artifact.read_json(made).get("inputs", {})


def _named(ids: list[int], folder: Path) -> str:
    words = AutoTokenizer.from_pretrained(folder / "model").convert_ids_to_tokens(ids)
    return " and ".join(map(repr, words)) or "nothing"


def adopt_end_tokens(model: PreTrainedModel, tokens: Path) -> PreTrainedModel:
    """The model, which from now on ends a text as those in `tokens` end, or as it did before."""
    settings, ends = model.generation_config, conventions_of_texts(tokens).ends
    own = [*token_ids(settings.eos_token_id), *token_ids(model.config.eos_token_id)]
    both = list(dict.fromkeys([*ends, *own]))
    model.config.eos_token_id = ends[0]
    settings.eos_token_id = both if len(both) > 1 else ends[0]
    return model
