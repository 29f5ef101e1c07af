"""Artifacts on disk as the stages write them, of the tiny models and texts of `players`."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from players import llama, schooled, texts, words
from transformers import PreTrainedModel

from pipeline.artifacts import artifact, schemas
from pipeline.artifacts.artifact import Job
from pipeline.data.batch import Text
from pipeline.models import vocabulary
from pipeline.stages.options import TrainOptions


def put_model(folder: Path, model: PreTrainedModel) -> Path:
    """A model and its tokenizer."""
    model.save_pretrained(folder / "model")
    words().save_pretrained(folder / "model")
    return folder


def put_texts(folder: Path, rows: Sequence[Text], splits: Sequence[str] = ("train",)) -> Path:
    """The same texts in each split."""
    folder.mkdir()
    columns = {name: [getattr(row, name) for row in rows] for name in schemas.TOKENS.names}
    for split in splits:
        schemas.write(folder / f"{split}.parquet", columns, schemas.TOKENS)
    words().save_pretrained(folder / "model")
    facts = asdict(vocabulary.conventions_of_model(folder))
    artifact.write_json(folder / artifact.MANIFEST, {"id": folder.name, **facts})
    return folder


def put_all(folder: Path, written: Sequence[Sequence[Text]] = ()) -> TrainOptions:
    """All that a run with a live teacher may read; `written` are further texts to train on."""
    return TrainOptions(
        job=Job("student", "x", {}),
        out=folder / "student",
        micro_batch_tokens=400,
        start=put_model(folder / "start", llama(1)),
        tokens=put_texts(folder / "tokens", texts(20), ("train", "validation")),
        texts=tuple(
            put_texts(folder / f"texts{index}", rows) for index, rows in enumerate(written)
        ),
        teacher=put_model(folder / "teacher", schooled()),
        state=folder / "state",
    )
