"""Evaluates one checkpoint on all its tasks: held-out measures, and tasks of lm-eval.

The model is loaded once. The work is in pieces, each finished on disk before the next begins: some
held-out texts, some questions with one decoding seed, one teacher's exposure bias, or one task of
lm-eval. A killed job repeats only the piece that it was at.
"""

from dataclasses import asdict
from functools import partial
from pathlib import Path

import torch
from transformers import PreTrainedModel

from pipeline.artifacts import artifact
from pipeline.evaluation import records
from pipeline.models import vocabulary
from pipeline.models.flops import count
from pipeline.models.sharding import in_company, load_to_read
from pipeline.runtime import costs
from pipeline.runtime.costs import GRAPH_CAPTURES
from pipeline.runtime.meter import Stopwatch
from pipeline.runtime.progress import log
from pipeline.runtime.ranks import Ranks
from pipeline.settings.evaluation import EvaluationJob
from pipeline.stages import divided
from pipeline.stages.cached_teachers import precision_of
from pipeline.stages.divided import DividedWork, cost_of_pieces
from pipeline.stages.evaluator import CUT, LEFT_OUT, Evaluator, Piece
from pipeline.stages.options import EvaluateOptions
from pipeline.tasks.instruction_items import CARD


def make(folder: Path, evaluator: Evaluator, piece: Piece) -> dict[str, object]:
    """Does a piece of the work and writes what comes of it to `folder`; returns its cost."""
    log(f"{piece.label}: started")
    watch, student = Stopwatch(evaluator.model.device), count(evaluator.model)
    teachers_cost = piece.work(folder)
    cost = watch.cost() + student.as_student() + teachers_cost
    log(f"{piece.label}: {cost.seconds:.1f} s")
    return {"cost": asdict(cost), "captures": asdict(GRAPH_CAPTURES)}


def run(options: EvaluateOptions) -> None:
    """Writes items, outputs, calibration and lm-eval's results of one checkpoint."""
    torch.set_num_threads(options.threads)
    settings = EvaluationJob.model_validate(options.job.settings)
    work = divided.begin(options)

    vocabulary.check(options.model, options.tokens)
    model = checkpoint(options, work.ranks)
    read = {path: artifact.read_json(path / CARD) for path in options.task}
    cards = {card["task"]: (path, card) for path, card in read.items()}
    evaluator = Evaluator(options, settings, model, cards)
    for task in settings.tasks:
        evaluator.check_examples_fit(task)
    pieces = {piece.name: piece for task in settings.tasks for piece in evaluator.pieces(task)}
    left = work.left(list(pieces))
    with in_company(model, work.ranks):
        for name in left:
            work.pieces.get_or_make(name, partial(make, evaluator=evaluator, piece=pieces[name]))
    if work.puts_together(list(pieces)):
        put_together(evaluator, work)


def checkpoint(options: EvaluateOptions, ranks: Ranks) -> PreTrainedModel:
    """The model that is evaluated, with matrices in bfloat16 where all tasks multiply in that."""
    # it writes in the device's own precision, whatever its teachers have read in
    precision = "float32" if precision_of(options.cache) == "float32" else "auto"
    load_on = partial(vocabulary.load_writer, options.model, options.tokens)
    return load_to_read(load_on, precision, ranks, sharded=options.sharded)


def put_together(evaluator: Evaluator, work: DividedWork) -> None:
    """Writes the records of all tasks from their finished pieces, and the cost of these."""
    watch = Stopwatch(evaluator.model.device)
    by_task, made = [], []
    for task in evaluator.settings.tasks:
        names = [piece.name for piece in evaluator.pieces(task)]
        by_task.append(evaluator.records(task, [work.pieces.folder / name for name in names]))
        made += [work.pieces.facts(name) for name in names]
    whole = records.concatenate(by_task)
    cost = cost_of_pieces(made, evaluator.model, rest=watch.cost())
    with work.create_whole() as (folder, facts):
        whole.write(folder)
        costs.write(folder, cost)
        facts |= {key: whole.results.get(key, {}) for key in (LEFT_OUT, CUT)}
