"""Model and tokenizer reconciled: the same tokens, and the same tokens that end a text."""

import json
import tempfile
from pathlib import Path
from typing import NamedTuple

from transformers import AutoTokenizer, GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from pipeline.models.language_model import end_ids

# entries of a generation_config that change no token, or that the experiment's own keys decide
HANDLED_SETTINGS = {
    "bos_token_id",
    "eos_token_id",
    "pad_token_id",
    "decoder_start_token_id",
    "max_length",
    "max_new_tokens",
    "use_cache",
    "cache_implementation",
    "transformers_version",
    "output_attentions",
    "output_hidden_states",
    "return_dict_in_generate",
}


class ModelAndTokenizer(NamedTuple):
    """A model and its tokenizer."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase


def reconcile_tokenizer(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> ModelAndTokenizer:
    """The two with one EOS, as many embeddings as there are tokens, and all ids that end a text.

    Training ends a response with the tokenizer's EOS. A generated text ends with that or with
    any other id at which the source's `generate` stops: `generation_config.eos_token_id`.

    Raises:
        ValueError: if they don't belong together, or no token ends a text.
    """
    if tokenizer.eos_token_id is None:
        raise ValueError("the tokenizer has no EOS token: a student could not learn to stop")
    if model.config.vocab_size < len(tokenizer):
        tokenizer = _without_tokens_beyond(tokenizer, model.config.vocab_size)
    if model.config.vocab_size > len(tokenizer):  # rows that only pad the matrix, as Qwen's
        model.resize_token_embeddings(len(tokenizer))
    ends = _ends(model, tokenizer)
    model.config.eos_token_id = tokenizer.eos_token_id
    model.config.pad_token_id = tokenizer.eos_token_id
    model.generation_config.eos_token_id = ends if len(ends) > 1 else ends[0]
    model.generation_config.pad_token_id = tokenizer.eos_token_id
    return ModelAndTokenizer(model, tokenizer)


def _ends(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The tokenizer's EOS, then the other ids at which the source's `generate` stops."""
    eos = tokenizer.eos_token_id
    assert isinstance(eos, int)
    ids = [id for id in end_ids(model) if 0 <= id < len(tokenizer)]
    return list(dict.fromkeys([eos, *ids]))


def ignored_generation_settings(settings: GenerationConfig) -> dict[str, object]:
    """The entries of a generation_config without effect here, such as a repetition penalty."""
    entries = settings.to_diff_dict().items()
    return {
        key: value
        for key, value in entries
        if key not in HANDLED_SETTINGS and not key.startswith("_")
    }


def _without_tokens_beyond(
    tokenizer: PreTrainedTokenizerBase, rows: int
) -> PreTrainedTokenizerBase:
    """A tokenizer without the special tokens that a model has no row for, as Gemma 3 1B's image.

    Raises:
        ValueError: if any of them is an ordinary token, or they can't be taken out.
    """
    beyond = {name: id for name, id in tokenizer.get_vocab().items() if id >= rows}
    added = tokenizer.added_tokens_decoder
    ordinary = [name for name, id in beyond.items() if id not in added or not added[id].special]
    shorter = None if ordinary else _without(tokenizer, set(beyond))
    if shorter is None or len(shorter) != rows:
        raise ValueError(
            f"the model has {rows} tokens, its tokenizer {len(tokenizer)}: they don't belong "
            f"together (too many: {', '.join(sorted(ordinary or beyond)[:4])})"
        )
    return shorter


def _without(tokenizer: PreTrainedTokenizerBase, names: set[str]) -> PreTrainedTokenizerBase | None:
    """The tokenizer without some added tokens; None if it isn't saved as tokenizer.json."""
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        words, settings = (
            Path(folder, name) for name in ("tokenizer.json", "tokenizer_config.json")
        )
        if not words.exists():
            return None
        saved = json.loads(words.read_text(encoding="utf-8"))
        saved["added_tokens"] = [
            token for token in saved["added_tokens"] if token["content"] not in names
        ]
        words.write_text(json.dumps(saved, ensure_ascii=False), encoding="utf-8")
        pruned = _pruned(json.loads(settings.read_text(encoding="utf-8")), names)
        settings.write_text(json.dumps(pruned, ensure_ascii=False), encoding="utf-8")
        return AutoTokenizer.from_pretrained(folder)


def _pruned(value: object, names: set[str]) -> object:
    """JSON without the entries that are, or describe, one of the tokens named."""
    if isinstance(value, dict):
        return {k: _pruned(v, names) for k, v in value.items() if not _names(v, names)}
    if isinstance(value, list):
        return [_pruned(entry, names) for entry in value if not _names(entry, names)]
    return value


def _names(value: object, names: set[str]) -> bool:
    content = value.get("content") if isinstance(value, dict) else value
    return isinstance(content, str) and content in names
