"""Trains one model to its end, or to a stop signal, and writes it with its metrics and cost."""

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from pipeline.artifacts import artifact, schemas
from pipeline.models.adapter_base import write_base
from pipeline.models.language_model import load_tokenizer, parameter_count
from pipeline.models.sharding import is_sharded, to_first_rank
from pipeline.models.trainable import load_learned_state
from pipeline.runtime import costs
from pipeline.runtime.costs import GRAPH_CAPTURES, Cost, JobCost
from pipeline.runtime.diverged import Diverged
from pipeline.runtime.meter import device_name
from pipeline.runtime.progress import STOPPED
from pipeline.runtime.ranks import join, leave
from pipeline.settings.distill import DistillSettings
from pipeline.settings.tuning import Value, read_choice, with_values
from pipeline.stages import command_line
from pipeline.stages.options import TrainOptions
from pipeline.stages.training_run import assemble_on_devices, frozen_base
from pipeline.training import checkpoint, run_checks, step_log, trackers
from pipeline.training.agenda import Agenda
from pipeline.training.compile import compile_for_gpu
from pipeline.training.loop import train
from pipeline.training.metrics import flush_metrics
from pipeline.training.selection import selection_card
from pipeline.training.state import TrainingRun, TrainingState, initial_state
from pipeline.training.step_log import Row, StepLog
from pipeline.training.trackers import TrackedRun

Record = Callable[[Sequence[Row]], None]  # logs those of all rows that are new


def train_to_end(
    run: TrainingRun, state: TrainingState, options: TrainOptions, job_key: str, record: Record
) -> None:
    """Trains to the end, with progress and checkpoints; exits with REQUEUE if stopped."""
    agenda = Agenda(run.ranks, options.save_seconds)
    command_line.on_stop(lambda number, _frame: agenda.signals.append(number))
    for step in train(run, state):
        record(state.rows)
        due = agenda.after_step(is_noted=step in (1, run.steps))
        if due.log:
            flush_metrics(state)
            run.ranks.log(_describe(state, run))
        if due.save:
            began = time.monotonic()
            checkpoint.save(options.state, run, state, job_key)
            agenda.saved_in(time.monotonic() - began)
        if due.signal:
            how = f"{STOPPED} by signal {due.signal} after step {step}"
            run.ranks.log(f"{how}: saved, rerun to resume")
            leave()
            raise SystemExit(command_line.REQUEUE)
    record(state.rows)


def _describe(state: TrainingState, run: TrainingRun) -> str:
    row = state.rows[-1]
    rate = sum(row["response_tokens"] or 0 for row in state.rows) / state.usage.seconds
    left = state.usage.seconds / state.step * (run.steps - state.step)
    nll = row["validation_nll_nats"]
    return (
        f"step {state.step}/{run.steps}  loss {row['loss_nats']:.4f} nats  "
        + (f"validation {nll:.4f} nats  " if nll is not None else "")
        + f"{rate:.0f} response tok/s  {left:.0f} s left"
    )


def cost(run: TrainingRun, state: TrainingState) -> JobCost:
    """The cost of the run so far."""
    trained_tokens = sum(int(row["response_tokens"] or 0) for row in state.rows)
    return JobCost(
        state.usage + state.model_cost + Cost(trained_tokens=trained_tokens),
        device=device_name(run.student.device),
        parameters=parameter_count(run.student),
        compilation=run.compilation,
        captures=replace(GRAPH_CAPTURES),
    )


@contextlib.contextmanager
def _step_log(
    options: TrainOptions, run: TrainingRun, rows: list[Row], job_key: str
) -> Iterator[Record]:
    """What logs and tracks the steps of a run that resumes with some rows: on the first rank."""
    if not run.ranks.is_first:
        yield lambda _rows: None
        return
    tracked = step_log.steps_before(options.state, job_key)
    tracker = trackers.begin(
        options.tracker,
        TrackedRun(options.job.id, _settings(options), options.tracker_folder, tracked),
    )
    steps = StepLog(options.state, job_key, run.steps, rows, tracker, tracked)
    with contextlib.closing(steps):
        yield steps.append


def _load_best(run: TrainingRun, state: TrainingState) -> None:
    """Puts the best weights into the student, where the last ones are not kept."""
    if state.best is not None:
        by = run.settings.training.keep_by
        run.ranks.log(f"keeping the weights of step {state.best.step}: {by}")
        load_learned_state(run.student, state.best.weights)


def _save_student(run: TrainingRun, options: TrainOptions, folder: Path) -> None:
    """All weights, or adapters with a reference to the weights that were frozen."""
    if run.settings.training.lora is None:
        run.student.save_pretrained(folder)
        return
    from pipeline.models import lora

    base = frozen_base(options, run.settings)
    lora.save(run.student, folder, str(base / "model"))
    write_base(folder, options.out, base, run.settings.training.lora)


def run(options: TrainOptions) -> None:
    """Trains, then writes model, steps and cost."""
    torch.set_num_threads(options.threads)
    settings = DistillSettings.model_validate(_settings(options))
    torch.manual_seed(settings.seed)
    ranks = join()
    inputs = ranks.of_first(lambda: command_line.begin(options))
    run = compile_for_gpu(assemble_on_devices(options, settings, ranks))
    run_checks.check_positions(run, options.start, options.teacher)
    run_checks.check_answers(run)
    state, job_key = initial_state(run), artifact.resume_key(options.job, inputs)
    if checkpoint.resume(options.state, run, state, job_key):
        ranks.log(f"resuming after step {state.step} of {run.steps}")
    facts = ranks.facts
    try:
        with _step_log(options, run, state.rows, job_key) as record:
            train_to_end(run, state, options, job_key, record)
    except Diverged as error:
        if not options.may_diverge:
            raise
        ranks.log(f"a trial without a score: {error}")
        facts["diverged"] = str(error)
    student = run.student if "diverged" in facts else _final_student(run, state)
    if ranks.is_first:
        _write(options, run, state, student, **facts)
    leave()


def _final_student(run: TrainingRun, state: TrainingState) -> PreTrainedModel:
    """The student that is saved, with the weights that are kept; whole on the first rank alone."""
    if run.ranks.is_first or is_sharded(run.student):
        _load_best(run, state)
    return to_first_rank(run.student)


def _settings(options: TrainOptions) -> dict[str, Any]:
    """The settings of the job, with those that were chosen by a search."""
    return with_values(options.job.settings, _chosen(options))


def _chosen(options: TrainOptions) -> dict[str, Value]:
    return read_choice(options.choice).settings if options.choice else {}


def _write(
    options: TrainOptions,
    run: TrainingRun,
    state: TrainingState,
    student: PreTrainedModel,
    **known: object,
) -> None:
    """Writes the artifact; without weights where they are no numbers any more."""
    inputs = command_line.inputs_of(options)
    with artifact.create(options.out, options.job, inputs) as (folder, facts):
        if "diverged" not in known:
            _save_student(replace(run, student=student), options, folder / "model")
            # which it has learnt
            load_tokenizer(options.tokens).save_pretrained(folder / "model")
        names = state.rows[0] if state.rows else schemas.MEASURED_STEPS.names
        columns = {name: [row[name] for row in state.rows] for name in names}
        schemas.write(folder / "steps.parquet", columns, schemas.STEPS)
        costs.write(folder, cost(run, state))
        facts |= known | selection_card(run, state)
        if chosen := _chosen(options):
            facts["chosen"] = chosen
    checkpoint.forget(options.state)
