"""Gathers the items of an instruction task or the documents of a task of lm-eval."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.artifacts import artifact, schemas
from pipeline.artifacts.own_measures import MEASURES
from pipeline.data.examples import Example
from pipeline.runtime.progress import log
from pipeline.settings.data import ChatTemplate
from pipeline.settings.evaluation import InstructionJob, LmEvalJob, TaskJob
from pipeline.stages import command_line
from pipeline.stages.options import PrepareTaskOptions
from pipeline.tasks import few_shot, instruction_items
from pipeline.tasks.hub import Origin


def write_instruction(job: InstructionJob, data: Path, folder: Path) -> dict[str, Any]:
    """Writes the items of an instruction task to the folder; returns its card."""
    train = instruction_items.read_split(data, "train")
    if job.source is None:
        items = instruction_items.of_test_split(job, data, train)
    else:
        items = instruction_items.gather(job, train)
    path = folder / instruction_items.ITEMS
    tables = {job.task: schemas.table(items.columns, schemas.EXAMPLES, path)}
    schemas.write(path, tables[job.task], schemas.EXAMPLES)
    examples = {}
    if job.few_shot:
        are_chats = isinstance(job.template, ChatTemplate)
        rows = few_shot.draw(data, items.examples, job.few_shot, are_chats=are_chats)
        few_shot.write(folder, rows)
        tables["few_shot"] = schemas.read(folder / few_shot.FILE, schemas.EXAMPLES)
        examples = {"few_shot": [row["example_id"] for row in rows]}
    return _card(job.task, job.kind, items.count, {job.task: items.origin}) | {
        "digest": digest(tables),
        **examples,
        "warnings": [*items.origin.warnings, *items.contamination.warnings(items.count)],
        "shared_with_train": asdict(items.contamination),
        "scored_by": job.scored_by,
    }


def write_documents(job: LmEvalJob, train: Sequence[Example], folder: Path) -> dict[str, Any]:
    """Writes the documents of a task of lm-eval to the folder; returns its card."""
    from pipeline.tasks import lm_eval_documents

    gathered = lm_eval_documents.gather(job, train, folder)
    origin_warnings = [line for origin in gathered.origins.values() for line in origin.warnings]
    overlaps = gathered.contamination.warnings(gathered.count)
    return _card(job.task, job.kind, gathered.count, gathered.origins) | {
        "digest": digest(gathered.tables()),
        "warnings": [*origin_warnings, *gathered.warnings, *overlaps],
        "shared_with_train": asdict(gathered.contamination),
        "lm_eval_task": job.lm_eval_task,
        "shots": job.shots,
        "documents": gathered.counts,
        **({MEASURES: gathered.measures} if gathered.measures else {}),
    }


def _card(task: str, kind: str, count: int, origins: Mapping[str, Origin]) -> dict[str, Any]:
    sources = {
        role: {"about": origin.about, "commit": origin.commit} for role, origin in origins.items()
    }
    return {"task": task, "kind": kind, "items": count, "origins": sources}


def digest(tables: Mapping[str, pa.Table]) -> str:
    """Sixteen hex digits over the items, whatever source they came from."""
    whole = hashlib.sha256()
    for name, table in sorted(tables.items()):
        whole.update(f"{name} {table.schema.names}\n{table.to_pylist()}\n".encode())
    return whole.hexdigest()[:16]


def run(options: PrepareTaskOptions) -> None:
    """Reads the job, gathers the task, and writes it whole or not at all."""
    job = TaskJob.model_validate(options.job.settings).task
    inputs = command_line.begin(options)
    with artifact.create(options.out, options.job, inputs) as (folder, facts):
        if isinstance(job, InstructionJob):
            card = write_instruction(job, options.data, folder)
        else:
            train = instruction_items.read_split(options.data, "train")
            card = write_documents(job, train, folder)
        artifact.write_json(folder / instruction_items.CARD, card)
        facts |= {key: card[key] for key in ("origins", MEASURES) if key in card}
    log(f"{job.task}: {card['items']} items, digest {card['digest']}")
    for warning in card["warnings"]:
        log(f"warning: {warning}")
