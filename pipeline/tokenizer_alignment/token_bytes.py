"""The bytes that each token of a vocabulary stands for, and what two have in common by them.

They are read off the vocabulary's own strings. Decoding one token at a time would give U+FFFD for
every part of a character that is spread over several tokens.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache

from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

MARKER = b""  # of a special token, which stands for no text
WHITE_SPACE = (b" ", b"\n", b"\t", b"\r")
SPACE = "▁"  # a space in the vocabularies of sentencepiece
BYTE_TOKENS = {f"<0x{byte:02X}>": bytes([byte]) for byte in range(256)}


def token_bytes(tokenizer: PreTrainedTokenizerBase) -> list[bytes]:
    """The bytes of every token, in the order of the ids.

    Raises: ValueError for a tokenizer that loses bytes, such as WordPiece.
    """
    added = tokenizer.added_tokens_decoder
    to_bytes = _from_byte_level if _is_byte_level(tokenizer) else _from_sentencepiece
    tokens = {token_id: to_bytes(token) for token, token_id in tokenizer.get_vocab().items()}
    tokens |= {
        token_id: MARKER if token.special else token.content.encode()
        for token_id, token in added.items()
    }
    return [tokens.get(token_id, MARKER) for token_id in range(max(tokens) + 1)]


def text_of(tokens: Iterable[bytes]) -> str | None:
    """The text of some tokens; None if they are not UTF-8, such as those of half a character."""
    try:
        return b"".join(tokens).decode()
    except UnicodeDecodeError:
        return None


def _is_byte_level(tokenizer: PreTrainedTokenizerBase) -> bool:
    decoders = []
    if isinstance(tokenizer, PreTrainedTokenizerFast):
        decoders = list(_steps(json.loads(tokenizer.backend_tokenizer.to_str())["decoder"]))
    if "ByteLevel" in decoders:
        return True
    if "ByteFallback" in decoders:
        return False
    raise ValueError(
        f"{tokenizer.name_or_path}: the bytes of its tokens can't be told, so that its texts can't "
        "be aligned with those of another vocabulary; allowed: byte-level BPE, or the vocabulary "
        "of a sentencepiece model with byte fallback"
    )


def _steps(decoder: Mapping | None) -> Iterator[str]:
    """The kinds of steps of a decoder, in its own JSON."""
    if decoder is not None:
        yield decoder["type"]
        for step in decoder.get("decoders", ()):
            yield from _steps(step)


def _from_byte_level(token: str) -> bytes:
    byte_of = _byte_of_character()
    if not all(character in byte_of for character in token):
        return token.encode()
    return bytes(byte_of[character] for character in token)


def _from_sentencepiece(token: str) -> bytes:
    return BYTE_TOKENS.get(token) or token.replace(SPACE, " ").encode()


@cache
def _byte_of_character() -> dict[str, int]:
    """GPT-2's alphabet: printable bytes of Latin-1 as they are, others from U+0100 on."""
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = (byte for byte in range(256) if byte not in printable)
    return {chr(byte): byte for byte in printable} | {
        chr(256 + place): byte for place, byte in enumerate(others)
    }


def shared_ids(
    teacher: Sequence[bytes], student: Sequence[bytes], teacher_end: int, student_end: int
) -> list[int]:
    """For each token of the teacher the student's of the same bytes, or -1; EOS is that of both.

    Other special tokens have no counterpart; of several tokens with the same bytes the first has.
    """
    by_bytes = {token: token_id for token_id, token in reversed([*enumerate(student)])}
    del by_bytes[MARKER]
    ids = [by_bytes.get(token, -1) for token in teacher]
    ids[teacher_end] = student_end
    taken: set[int] = set()
    for token_id, student_id in enumerate(ids):
        if student_id in taken:
            ids[token_id] = -1
        taken |= {student_id} - {-1}
    return ids


def begins_word(tokens: Sequence[bytes]) -> list[bool]:
    """Whether each token begins with white space, or is a special one, before which a word ends."""
    return [token == MARKER or token.startswith(WHITE_SPACE) for token in tokens]
