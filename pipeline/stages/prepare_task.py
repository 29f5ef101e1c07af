"""Gathers the items of an instruction task or the documents of a task of lm-eval."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import pyarrow as pa

from pipeline.artifacts import artifact, schemas
from pipeline.data.examples import Example
from pipeline.runtime.progress import log
from pipeline.settings.evaluation import InstructionJob, LmEvalJob, TaskJob
from pipeline.stages import command_line
from pipeline.stages.options import PrepareTaskOptions
from pipeline.tasks import instruction_items
from pipeline.tasks.hub import Origin


def write_instruction(job: InstructionJob, train: list[Example], folder: Path) -> dict:
    """Items in the folder; returns what its card says."""
    found = instruction_items.gather(job, train)
    schemas.write(folder / instruction_items.ITEMS, found.columns, schemas.EXAMPLES)
    table = pa.table(found.columns, schema=schemas.EXAMPLES)
    return _card(job.task, job.kind, found.count, {job.task: found.origin}) | {
        "digest": digest({job.task: table}),
        "warnings": [*found.origin.warnings, *found.shared.warnings(found.count)],
        "shared_with_train": asdict(found.shared),
    }


def write_documents(job: LmEvalJob, train: list[Example], folder: Path) -> dict:
    """Documents in the folder; returns what its card says."""
    from pipeline.tasks import documents, lm_eval_documents

    found = lm_eval_documents.gather(job, train)
    documents.write(folder, found.documents)
    tables = {
        f"{task} {split}": rows.with_format("arrow")[:]
        for task, splits in found.documents.items()
        for split, rows in splits.items()
    }
    of_origins = [said for one in found.origins.values() for said in one.warnings]
    return _card(job.task, job.kind, found.count, found.origins) | {
        "digest": digest(tables),
        "warnings": [*of_origins, *found.shared.warnings(found.count)],
        "shared_with_train": asdict(found.shared),
        "lm_eval_task": job.lm_eval_task,
        "shots": job.shots,
        "documents": found.counts,
    }


def _card(task: str, kind: str, count: int, origins: Mapping[str, Origin]) -> dict:
    made_from = {role: {"about": one.about, "commit": one.commit} for role, one in origins.items()}
    return {"task": task, "kind": kind, "items": count, "origins": made_from}


def digest(tables: Mapping[str, pa.Table]) -> str:
    """Sixteen hex digits over the items: equal for equal items, wherever they came from."""
    whole = hashlib.sha256()
    for name, table in sorted(tables.items()):
        whole.update(f"{name} {table.schema.names}\n{table.to_pylist()}\n".encode())
    return whole.hexdigest()[:16]


def run(options: PrepareTaskOptions) -> None:
    """Reads the job, gathers the task, and writes it whole or not at all."""
    job = TaskJob.model_validate(options.job.settings).task
    command_line.begin(options.out, options.job, {"data": options.data})

    train = instruction_items.read_train(options.data)
    with artifact.atomic_write(options.out) as folder:
        folder.mkdir()
        write = write_instruction if isinstance(job, InstructionJob) else write_documents
        card = write(job, train, folder)
        artifact.write_json(folder / instruction_items.CARD, card)
        artifact.write_manifest(folder, options.job, {"data": options.data})
    log(f"{job.task}: {card['items']} items, digest {card['digest']}")
    for warning in card["warnings"]:
        log(f"warning: {warning}")
