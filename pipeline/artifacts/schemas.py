"""The Parquet files that the stages hand each other: their columns, on one screen."""

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.artifacts import checksums

Columns = Mapping[str, list] | pa.Table
Row = Mapping[str, Any]  # of a table, by column
SPLITS = ("train", "validation", "test")
ROW_GROUP_BYTES = 2**26  # in memory: what a large table is written and read by
BATCH_ROWS = 1024

# data/{id}/{split}.parquet: what was asked and what people (or packages) answered.
EXAMPLES = pa.schema(
    [
        ("example_id", pa.string()),
        ("instruction", pa.string()),
        ("input", pa.string()),
        ("prompt", pa.string()),  # instruction and input in the prompt template
        ("responses", pa.list_(pa.string())),  # the first is trained on, all are references
        ("source", pa.string()),  # package, topic or file: what subsets are counted by
    ]
)

# The same where rows are conversations.
CHAT_EXAMPLES = EXAMPLES.append(pa.field("chat", pa.string())).append(
    pa.field("location", pa.string())  # of the row, for error messages
)

# data/{id}/plain.parquet: prose for a language-modelling term, where the source has any.
PLAIN = pa.schema([("text", pa.string())])

# tokens/{id}/{split}.parquet and texts/{id}/train.parquet: what a model reads and writes.
TOKENS = pa.schema(
    [
        ("example_id", pa.string()),
        ("prompt_ids", pa.list_(pa.int32())),
        ("response_ids", pa.list_(pa.int32())),  # including EOS if the text ended with it
    ]
)

# The same where a template is a chat's: turns before the last one may be trained on, too.
CHAT_TOKENS = TOKENS.append(
    pa.field("earlier_spans", pa.list_(pa.int32()))  # first, end, first, end, .. in prompt_ids
)

# alignments/{id}/{split}.parquet: texts in tokens of a teacher's own, and the spans that these
# share with the students' tokens: how many tokens of each lie before the end of a span.
ALIGNMENTS = pa.schema(
    [
        ("example_id", pa.string()),
        ("prompt_ids", pa.list_(pa.int32())),  # these and the two below: of the teacher's
        ("response_ids", pa.list_(pa.int32())),
        ("earlier_spans", pa.list_(pa.int32())),
        ("teacher_ends", pa.list_(pa.int32())),
        ("student_ends", pa.list_(pa.int32())),
    ]
)

# alignments/{id}/teacher_vocabulary.parquet: a row for each token, in the order of the ids.
TEACHER_VOCABULARY = pa.schema(
    [
        ("bytes", pa.binary()),  # none: a special token
        ("student_id", pa.int32()),  # the students' token of the same bytes; -1: there is none
    ]
)

# alignments/{id}/student_vocabulary.parquet: the same of the students' tokens.
STUDENT_VOCABULARY = pa.schema([("bytes", pa.binary())])

# caches/{id}/{split}-{shard}.parquet: see `pipeline.teacher_cache.format`.

# students/{id}/steps.parquet: a row for each optimizer step.
STEPS = pa.schema(
    [
        ("step", pa.int32()),
        ("loss_nats", pa.float64()),
        ("gradient_norm", pa.float64()),
        ("learning_rate", pa.float64()),
        ("response_tokens", pa.int64()),  # trained on in this step
        ("generated_tokens", pa.int64()),  # of them, generated during training
        ("teacher_share", pa.float64()),  # share of generated tokens that the teacher chose
        ("eos_share", pa.float64()),  # share of generated texts that end with EOS
        ("validation_nll_nats", pa.float64()),  # null but where it was measured
        ("validation_rouge_l", pa.float64()),  # 0 to 100; null unless weights are chosen by it
        ("seconds", pa.float64()),  # since training began, pauses left out
        ("flops", pa.float64()),  # since training began, of student and teacher; see docs/costs.md
    ]
)

# The same with what generated texts are like, and with how far student and teacher agree: means
# over a step's tokens at the steps of validations, else null. Older students lack these columns.
MEASURED_STEPS = pa.schema(
    [
        *STEPS,
        ("rollout_length", pa.float64()),  # tokens of a text that was generated during training
        ("reward", pa.float64()),  # mean of the texts whose answers were checked
        ("top_overlap", pa.float64()),  # share of both models' top 16 tokens that is common
        ("student_mass", pa.float64()),  # that the student gives the teacher's top 16 tokens
        ("teacher_mass", pa.float64()),  # that the teacher gives the student's
        ("student_entropy_nats", pa.float64()),
        ("teacher_entropy_nats", pa.float64()),
    ]
)

# The same under a teacher of another vocabulary, which can't read every text.
ALIGNED_STEPS = MEASURED_STEPS.append(
    pa.field("unaligned_texts", pa.int64())
)  # left out of this step

# evals/{id}/items.parquet: a row for each item and metric; every aggregate is a weighted mean.
ITEMS = pa.schema(
    [
        ("task", pa.string()),
        ("slice", pa.string()),  # which part of the task or of its tokens; empty: all
        ("decoding_seed", pa.int32()),  # of what was drawn to write the response; else 0
        ("example_id", pa.string()),
        ("metric", pa.string()),
        ("teacher", pa.string()),  # artifact id; empty where the metric needs no teacher
        ("value", pa.float64()),  # NaN where the metric is not defined on the item
        ("weight", pa.float64()),  # response tokens for per-token measures, 0 beside NaN, else 1
    ]
)

# evals/{id}/outputs.parquet: what was written, beside what was expected.
OUTPUTS = pa.schema(
    [
        ("task", pa.string()),
        ("decoding_seed", pa.int32()),
        ("example_id", pa.string()),
        ("prompt", pa.string()),
        ("output", pa.string()),
        ("references", pa.list_(pa.string())),
    ]
)

# The same where answers were checked: what was taken for the answer, and the verdict.
CHECKED_OUTPUTS = OUTPUTS.append(pa.field("answer", pa.string())).append(  # null: none was found
    pa.field("is_correct", pa.bool_())
)

# evals/{id}/verdicts-{judge}.parquet: a row for each answer of a judge.
VERDICTS = pa.schema(
    [
        ("task", pa.string()),
        ("decoding_seed", pa.int32()),
        ("example_id", pa.string()),
        ("opponent", pa.string()),  # id of its evaluation; empty: the reference response
        ("place", pa.int32()),  # of the judged response, counted from 1; 0 where it is alone
        ("choice", pa.string()),  # of the allowed answers; null where the text is none of them
        ("text", pa.string()),  # as the judge wrote it
        ("log_prob", pa.float64()),  # of the choice; NaN where a judge gives text alone
    ]
)

# evals/{id}/calibration.parquet: the expected calibration error isn't a mean over items; it is
# computed from these: the held-out tokens of each item by the confidence of their prediction.
CALIBRATION = pa.schema(
    [
        ("example_id", pa.string()),
        ("bin", pa.int32()),  # by probability of the most likely token, from 0, equally wide
        ("tokens", pa.int64()),
        ("confidence", pa.float64()),  # the sum over these tokens
        ("correct", pa.int64()),  # how many equal the ground-truth next token
    ]
)

# {experiment}/report/scores.parquet: a row for each evaluated score. A student that needs no
# teacher is trained once and stands under every teacher that it is compared under: leave out the
# rows that are repeats before counting or averaging over teachers.
SCORES = pa.schema(
    [
        ("teacher", pa.string()),
        ("student", pa.string()),
        ("method", pa.string()),
        ("seed", pa.int64()),
        ("task", pa.string()),
        ("slice", pa.string()),
        ("metric", pa.string()),
        ("value", pa.float64()),  # over items, and their decoding seeds where there are any
        ("stderr", pa.float64()),  # over items
        ("n", pa.int64()),  # items
        ("id", pa.string()),  # of the evaluation that this score comes from
        ("repeats", pa.bool_()),  # whether an earlier row has this very number of this evaluation
    ]
)


EXTENDED = (CHAT_EXAMPLES, CHAT_TOKENS, MEASURED_STEPS, ALIGNED_STEPS, CHECKED_OUTPUTS)


def _kinds(schema: pa.Schema) -> list[pa.Schema]:
    """The schema, and those that begin with its columns and have more."""
    longer = [kind for kind in EXTENDED if len(kind) > len(schema)]
    return [schema, *(kind for kind in longer if kind.names[: len(schema)] == schema.names)]


def table(columns: Columns, schema: pa.Schema, path: Path) -> pa.Table:
    """A table for a file, with exactly the columns of `schema`, or of one that extends it."""
    names = list(columns) if isinstance(columns, Mapping) else columns.column_names
    kinds = [kind for kind in _kinds(schema) if set(kind.names) == set(names)]
    if not kinds:
        raise ValueError(f"{path}: columns {sorted(names)}, expected {sorted(schema.names)}")
    return pa.table({name: columns[name] for name in names}, schema=kinds[0])


def write(path: Path, columns: Columns, schema: pa.Schema) -> None:
    """One Parquet file with the columns of `schema`. Raises ValueError on any other set."""
    write_batches(path, [columns], schema)


def write_batches(path: Path, batches: Iterable[Columns], schema: pa.Schema) -> None:
    """One Parquet file of at least one batch of columns; a large one has several row groups.

    Raises: ValueError on other columns than those of `schema`.
    """
    writer, waiting = None, []
    try:
        for columns in batches:
            waiting.append(table(columns, schema, path))
            writer = writer or pq.ParquetWriter(path, waiting[0].schema, compression="zstd")
            if sum(rows.nbytes for rows in waiting) >= ROW_GROUP_BYTES:
                _write_group(writer, waiting)
                waiting = []
        if writer and waiting:
            _write_group(writer, waiting)
    finally:
        if writer:
            writer.close()


def _write_group(writer: pq.ParquetWriter, tables: Sequence[pa.Table]) -> None:
    """Writes tables as one row group, whose bytes don't tell how many tables there were."""
    writer.write_table(pa.concat_tables(tables).combine_chunks())


def read(path: Path, schema: pa.Schema) -> pa.Table:
    """The table in `path`, with more columns where its schema is an extended one.

    Raises:
        ValueError: if it is damaged or not of `schema`, naming it.
    """
    with _opened(path, pa.BufferReader(checksums.read_verified(path)), schema) as file:
        return file.read(use_threads=False)


def read_batches(path: Path, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """The same table by and by, so that no more of it is in memory than a row group."""
    checksums.verify(path.parent, path.name)
    with _opened(path, path, schema) as file:
        yield from file.iter_batches(BATCH_ROWS, use_threads=False)


def read_mapped(path: Path, schema: pa.Schema) -> pa.Table:
    """The same table on disk, mapped into memory: what is not in use takes none.

    The file that holds it is nameless, and goes with the last reference to the table.
    """
    with tempfile.NamedTemporaryFile() as file:
        writer = None
        for batch in read_batches(path, schema):
            writer = writer or pa.ipc.new_file(file, batch.schema)
            writer.write_batch(batch)
        if writer is None:
            return schema.empty_table()
        writer.close()
        file.flush()
        return pa.ipc.open_file(pa.memory_map(file.name)).read_all()


def _opened(path: Path, source: object, schema: pa.Schema) -> pq.ParquetFile:
    try:
        # a buffered file would be held as a whole, group by group, until its end
        file = pq.ParquetFile(source, pre_buffer=False)
    except pa.ArrowInvalid as error:
        raise ValueError(
            f"{path} is not whole Parquet ({error}); delete it and run again"
        ) from None
    if not any(map(file.schema_arrow.equals, _kinds(schema))):
        file.close()
        raise ValueError(f"{path} has columns {file.schema_arrow.names}, expected {schema.names}")
    return file
