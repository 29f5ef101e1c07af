"""What two vocabularies have in common, told by the bytes of their tokens."""

from collections.abc import Sequence

from pipeline.tokenizer_alignment.token_bytes import MARKER

WHITE_SPACE = (b" ", b"\n", b"\t", b"\r")


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
