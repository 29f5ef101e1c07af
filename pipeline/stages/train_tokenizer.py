"""Trains a byte-level BPE tokenizer."""

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from pipeline.artifacts import artifact, schemas
from pipeline.settings.models import Tokenizer as TokenizerSettings
from pipeline.stages import command_line
from pipeline.stages.options import TrainTokenizerOptions

END = "<|end|>"


def train(texts: list[str], settings: TokenizerSettings) -> PreTrainedTokenizerFast:
    """A tokenizer of exactly the wished size. Raises ValueError if the texts don't yield one."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=settings.vocabulary_size,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    if tokenizer.get_vocab_size() != settings.vocabulary_size:
        raise ValueError(
            f"tokenizer.vocabulary_size = {settings.vocabulary_size}: the training text yields "
            f"only {tokenizer.get_vocab_size()} tokens"
        )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END, pad_token=END)


def run(options: TrainTokenizerOptions) -> None:
    """Trains on prompts and responses of the training split."""
    settings = TokenizerSettings.model_validate(options.job.settings)
    inputs = {"data": options.data}
    command_line.begin(options.out, options.job, inputs)

    examples = schemas.read(options.data / "train.parquet", schemas.EXAMPLES)
    texts = [
        *examples.column("prompt").to_pylist(),
        *(responses[0] for responses in examples.column("responses").to_pylist()),
    ]
    with artifact.atomic_write(options.out) as folder:
        train(texts, settings).save_pretrained(folder / "model")
        artifact.write_manifest(folder, options.job, inputs)
