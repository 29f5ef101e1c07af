"""The spans that two tokenizations of a text share."""

from functools import cache

import pytest
from tokenizer_pairs import byte_level_bpe, hard_texts, unigram
from transformers import PreTrainedTokenizerFast
from word_pieces import metaspace

from pipeline.tokenizer_alignment.spans import SpanEnds, align
from pipeline.tokenizer_alignment.token_bytes import MARKER, token_bytes

KINDS = (byte_level_bpe, unigram)
bytes_of = cache(token_bytes)


def cut(tokenizer: PreTrainedTokenizerFast, text: str) -> list[bytes]:
    """The bytes of each token of a text, and of EOS behind it."""
    of_id = bytes_of(tokenizer)
    ids = tokenizer.encode(text, add_special_tokens=False)
    return [of_id[token_id] for token_id in [*ids, tokenizer.eos_token_id]]


def pieces(tokens: list[bytes], ends: list[int]) -> list[bytes]:
    """The bytes of each span."""
    return [b"".join(tokens[first:end]) for first, end in zip([0, *ends[:-1]], ends, strict=True)]


@pytest.mark.parametrize("kind", KINDS)
def test_the_bytes_of_the_tokens_are_those_of_the_text(kind) -> None:
    for text in hard_texts():
        assert b"".join(cut(kind(), text)) == text.encode()


def test_spans_tile_both_sequences_and_hold_the_same_bytes() -> None:
    lengths = set()
    for text in hard_texts():
        teacher, student = cut(byte_level_bpe(), text), cut(unigram(), text)
        ends = align(teacher, student)
        assert ends is not None
        for tokens, of_side in ((teacher, ends.teacher), (student, ends.student)):
            assert of_side == sorted(set(of_side))
            assert of_side[-1] == len(tokens)
        spans = pieces(teacher, ends.teacher)
        assert spans == pieces(student, ends.student)
        lengths |= {(len(teacher), len(student), len(spans))}
    assert len({*map(str, lengths)}) > 20  # they are not cut alike


def test_spans_are_the_finest_that_there_are() -> None:
    for text in hard_texts():
        teacher, student = cut(byte_level_bpe(), text), cut(unigram(), text)
        ends = align(teacher, student)
        assert ends is not None
        boundaries = [
            {len(b"".join(tokens[:count])) for count in range(1, len(tokens))}
            for tokens in (teacher, student)
        ]
        shared = {len(b"".join(teacher[:end])) for end in ends.teacher}
        assert shared == boundaries[0] & boundaries[1]


def test_equal_tokenizers_share_every_token() -> None:
    for text in hard_texts(50):
        tokens = cut(unigram(), text)
        every = list(range(1, len(tokens) + 1))
        assert align(tokens, tokens) == SpanEnds(every, every)


def test_a_marker_is_a_span_of_its_own_and_meets_the_other_one() -> None:
    teacher = [b"ab", MARKER, b"c", MARKER]
    student = [b"a", b"b", MARKER, b"c", MARKER]
    assert align(teacher, student) == SpanEnds([1, 2, 3, 4], [2, 3, 4, 5])


@pytest.mark.parametrize(
    "student",
    [
        [b"ab", b"d", MARKER],  # other bytes
        [b"ab", b"c"],  # cut before its end
        [b"ab", MARKER, b"c"],  # the marker elsewhere
        [b"ab", b"c", MARKER, MARKER],
    ],
)
def test_texts_that_differ_are_not_aligned(student: list[bytes]) -> None:
    assert align([b"ab", b"c", MARKER], student) is None


def test_part_of_a_character_is_its_bytes_and_never_a_replacement_sign() -> None:
    tokens = cut(unigram(), "🙂")
    assert tokens == [bytes([byte]) for byte in "🙂".encode()] + [MARKER]


def test_a_sign_that_sentencepiece_takes_for_a_space_makes_another_text() -> None:
    teacher, student = (cut(kind(), "a▁b") for kind in KINDS)
    assert align(teacher, student) is None


def test_a_tokenizer_that_loses_bytes_is_refused() -> None:
    with pytest.raises(ValueError, match="byte-level BPE, or the vocabulary of a sentencepiece"):
        token_bytes(metaspace("first"))
