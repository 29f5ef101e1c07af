"""Small tokenizers of the kinds that models come with, trained on a few sentences."""

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

BEGIN, END, TURN = "<s>", "<|end|>", "<|turn|>"
TEXTS = [
    "Repeat cat dog sun sea hat map cup key",
    "Why is the sea so blue today? one two three",
] * 5


def byte_level(
    *, begins: bool = False, ends: bool = False, eos: str = END
) -> PreTrainedTokenizerFast:
    """GPT-2's kind; it may put BOS before any text, as Llama 3's, or EOS behind it."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=[END, TURN, BEGIN],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(TEXTS, trainer)
    around = [*[BEGIN] * begins, "$A", *[END] * ends]
    made.post_processor = processors.TemplateProcessing(
        single=" ".join(around),
        special_tokens=[(token, made.token_to_id(token)) for token in (BEGIN, END)],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=made, eos_token=eos, pad_token=eos, bos_token=BEGIN
    )


def metaspace(scheme: str) -> PreTrainedTokenizerFast:
    """SentencePiece's kind: a space before the first word ("first"), as Llama 2's and Mistral's."""
    made = Tokenizer(models.BPE(unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=False)
    made.decoder = decoders.Metaspace(prepend_scheme=scheme)
    letters = sorted(set("".join(TEXTS) + "<|end>/0.\n[]"))
    trainer = trainers.BpeTrainer(
        vocab_size=160,
        special_tokens=["<unk>", END, TURN, BEGIN],
        initial_alphabet=letters,
        show_progress=False,
    )
    made.train_from_iterator(TEXTS, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=made, eos_token=END, pad_token=END, bos_token=BEGIN, unk_token="<unk>"
    )
