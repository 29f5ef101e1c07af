"""Aligns the texts of a data set in two vocabularies, for students of a teacher with its own."""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain, pairwise

from pipeline.artifacts import artifact, schemas
from pipeline.data.batch import Text, read_texts
from pipeline.models import vocabulary
from pipeline.models.language_model import load_tokenizer
from pipeline.runtime.progress import log
from pipeline.stages import command_line
from pipeline.stages.options import AlignOptions
from pipeline.tokenizer_alignment.spans import SpanEnds, align
from pipeline.tokenizer_alignment.token_bytes import shared_ids, token_bytes

Bytes = list[bytes]  # of each token of a vocabulary


def run(options: AlignOptions) -> None:
    """Writes the spans of all texts, and what the vocabularies share."""
    inputs = command_line.begin(options)
    folders = (options.teacher_tokens, options.tokens)
    teacher, student = (token_bytes(load_tokenizer(folder)) for folder in folders)
    ends = [vocabulary.conventions_of_texts(folder).ends[0] for folder in folders]
    with artifact.create(options.out, options.job, inputs) as (folder, _):
        card = {}
        for split in schemas.SPLITS:
            own, texts = (read_texts(tokens / f"{split}.parquet") for tokens in folders)
            rows, card[split] = aligned(own, texts, teacher, student)
            columns = {name: [row[name] for row in rows] for name in schemas.ALIGNMENTS.names}
            schemas.write(folder / f"{split}.parquet", columns, schemas.ALIGNMENTS)
            if split == "train":
                card |= {
                    f"{side}_span_lengths": lengths(columns[f"{side}_ends"])
                    for side in ("teacher", "student")
                }
        shared = shared_ids(teacher, student, *ends)
        columns = {"bytes": teacher, "student_id": shared}
        schemas.write(folder / "teacher_vocabulary.parquet", columns, schemas.TEACHER_VOCABULARY)
        path = folder / "student_vocabulary.parquet"
        schemas.write(path, {"bytes": student}, schemas.STUDENT_VOCABULARY)
        card["vocabulary"] = {
            "teacher": len(teacher),
            "student": len(student),
            "shared": sum(student_id >= 0 for student_id in shared),
        }
        artifact.write_json(folder / "card.json", card)
    for what, counts in card.items():
        log(f"{what}: {counts}")


def aligned(
    teacher_texts: Sequence[Text], texts: Sequence[Text], teacher: Bytes, student: Bytes
) -> tuple[list[Mapping], dict[str, int]]:
    """A row for each text that has the same bytes on both sides, and the counts of a split."""
    of_teacher = {text.example_id: text for text in teacher_texts}
    rows, counts = [], Counter[str](examples=len(texts))
    for text in texts:
        own = of_teacher.get(text.example_id)
        if own is None:
            counts["too_long_for_teacher"] += 1
            continue
        own_cut = [teacher[token] for token in own.target_ids]
        cut = [student[token] for token in text.target_ids]
        ends = align(own_cut, cut)
        if ends is None:
            counts["other_bytes"] += 1
            continue
        rows.append(_row(own, ends))
        counts.update(_counted(ends), bytes=len(b"".join(cut)))
    return rows, dict(counts) | {"aligned": len(rows)}


def _row(teacher: Text, ends: SpanEnds) -> Mapping[str, object]:
    return {
        "example_id": teacher.example_id,
        "prompt_ids": teacher.prompt_ids,
        "response_ids": teacher.response_ids,
        "earlier_spans": [*chain(*teacher.earlier)],
        "teacher_ends": ends.teacher,
        "student_ends": ends.student,
    }


def lengths(ends: Sequence[Sequence[int]]) -> dict[str, int]:
    """How many spans there are of each count of tokens."""
    counts = Counter(length for of_text in ends for length in _lengths(of_text))
    return {str(length): counts[length] for length in sorted(counts)}


def _lengths(ends: Sequence[int]) -> list[int]:
    return [end - first for first, end in pairwise([0, *ends])]


def _counted(ends: SpanEnds) -> dict[str, int]:
    teacher, student = _lengths(ends.teacher), _lengths(ends.student)
    return {
        "spans": len(teacher),
        "one_to_one_spans": sum(pair == (1, 1) for pair in zip(teacher, student, strict=True)),
        "teacher_tokens": sum(teacher),
        "student_tokens": sum(student),
    }
