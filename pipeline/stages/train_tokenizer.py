"""Trains a tokenizer that takes any text: byte-level BPE, or unigram with byte fallback."""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from pipeline.artifacts import artifact, schemas
from pipeline.settings.models import Tokenizer as TokenizerSettings
from pipeline.stages import command_line
from pipeline.stages.options import TrainTokenizerOptions
from pipeline.tokenizer_alignment.token_bytes import BYTE_TOKENS, SPACE

END = "<|end|>"
UNKNOWN = "<unk>"  # which no text has: a unigram model insists on one
SCORE_DIGITS = 3  # of a log-probability in nats
Piece = tuple[str, float]  # and its log-probability


def train(texts: Iterable[str], settings: TokenizerSettings) -> PreTrainedTokenizerFast:
    """A tokenizer of exactly the wished size. Raises ValueError if the texts don't yield one."""
    make = {"bpe": byte_level_bpe, "unigram": unigram_with_bytes}[settings.kind]
    tokenizer = make(texts, settings.vocabulary_size)
    if tokenizer.get_vocab_size() != settings.vocabulary_size:
        raise ValueError(
            f"tokenizer.vocabulary_size = {settings.vocabulary_size}: the training text yields "
            f"only {tokenizer.get_vocab_size()} tokens"
        )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END, pad_token=END)


def byte_level_bpe(texts: Iterable[str], size: int) -> Tokenizer:
    """A BPE over bytes, as GPT-2's."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def unigram_with_bytes(texts: Iterable[str], size: int) -> Tokenizer:
    """A unigram model as sentencepiece has it, with a token for each byte, and no normalisation."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
    trainer = trainers.UnigramTrainer(
        vocab_size=size - len(BYTE_TOKENS),
        special_tokens=[END, UNKNOWN],
        unk_token=UNKNOWN,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)

    special, pieces = _reproducible(json.loads(tokenizer.to_str())["model"]["vocab"])
    least = pieces[-1][1]  # a byte is read only where no piece fits
    vocabulary = [*special, *pieces, *((byte, least) for byte in BYTE_TOKENS)]
    tokenizer.model = models.Unigram(vocabulary, unk_id=1, byte_fallback=True)
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    return tokenizer


def _reproducible(scored: Sequence[Sequence]) -> tuple[list[Piece], list[Piece]]:
    """Special tokens and pieces by score: the trainer adds up scores in an order that varies."""
    rounded = [(str(piece), round(score, SCORE_DIGITS)) for piece, score in scored]
    special, pieces = rounded[:2], rounded[2:]
    return special, sorted(pieces, key=lambda scored: (-scored[1], scored[0]))


def texts_of(data: Path) -> Iterator[str]:
    """The prompts of the training split, then its responses."""
    for column in ("prompt", "responses"):
        for batch in schemas.read_batches(data / "train.parquet", schemas.EXAMPLES):
            for value in batch.column(column).to_pylist():
                yield value if column == "prompt" else value[0]


def run(options: TrainTokenizerOptions) -> None:
    """Trains on prompts and responses of the training split."""
    settings = TokenizerSettings.model_validate(options.job.settings)
    inputs = command_line.begin(options)
    with artifact.create(options.out, options.job, inputs) as (folder, _):
        train(texts_of(options.data), settings).save_pretrained(folder / "model")
