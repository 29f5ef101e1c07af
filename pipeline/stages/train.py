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
from pipeline.data.batch import read_all_texts, read_texts
from pipeline.data.encoding import Encoder
from pipeline.data_policies import build_policy
from pipeline.losses import ReferenceLoss, build_loss
from pipeline.models import vocabulary
from pipeline.models.adapter_base import base_of, is_adapter, lora_of, write_base
from pipeline.models.language_model import (
    Precision,
    default_device,
    fixed_precision,
    load,
    load_frozen,
    load_tokenizer,
    parameter_count,
)
from pipeline.models.sharding import is_sharded, mesh_of, to_first_rank
from pipeline.models.teacher import LiveTeacher, Teacher
from pipeline.models.trainable import load_learned_state
from pipeline.runtime import costs
from pipeline.runtime.costs import GRAPH_CAPTURES, Cost, JobCost
from pipeline.runtime.meter import device_name
from pipeline.runtime.progress import STOPPED, log
from pipeline.runtime.ranks import ALONE, Ranks, join, leave, one_at_a_time
from pipeline.settings.distill import DistillSettings
from pipeline.settings.tuning import Value, read_choice, with_values
from pipeline.stages import command_line
from pipeline.stages.options import TrainOptions
from pipeline.teacher_cache.combined import open_combined
from pipeline.teacher_cache.reader import check_cache, open_cache
from pipeline.teacher_updates import attach_update
from pipeline.tokenizer_alignment.alignment import Alignment
from pipeline.tokenizer_alignment.teacher import AlignedTeacher, live_teacher
from pipeline.training import checkpoint, run_checks, step_log, trackers
from pipeline.training.agenda import Agenda
from pipeline.training.compile import compile_for_gpu
from pipeline.training.features import feature_term, with_layers
from pipeline.training.loop import train
from pipeline.training.metrics import flush_metrics
from pipeline.training.selection import selection_card
from pipeline.training.state import Diverged, TrainingRun, TrainingState, initial_state
from pipeline.training.step_log import Row, StepLog
from pipeline.training.trackers import TrackedRun

Record = Callable[[Sequence[Row]], None]  # logs those of all rows that are new


def assemble(options: TrainOptions, settings: DistillSettings, ranks: Ranks = ALONE) -> TrainingRun:
    """A run with models, texts and teacher in memory. Raises ValueError on what does not fit."""
    method = settings.method
    vocabulary.check(options.start, options.tokens)
    student = vocabulary.adopt_end_tokens(_student(options, settings), options.tokens)
    teacher = _teacher(options, settings, student.config.vocab_size)
    author = "teacher" if options.texts else "gold"
    sources = options.texts or [options.tokens]
    train_set = read_all_texts([source / "train.parquet" for source in sources], author)
    if isinstance(teacher, AlignedTeacher):
        train_set = teacher.alignment.of(train_set)
    plain = read_texts(options.tokens / "plain.parquet") if method.plain_text_weight else []
    tokenizer = load_tokenizer(options.tokens)
    teacher, update = attach_update(
        settings, student, teacher, train_set, Encoder(tokenizer), options.micro_batch_tokens
    )
    loss = build_loss(method.loss, method.loss_settings)
    features = feature_term(settings, student, teacher)
    return TrainingRun(
        settings=settings,
        student=student,
        teacher=with_layers(teacher, features),
        loss=loss,
        policy=build_policy(method.policy, method.policy_settings),
        teacher_update=update,
        reference=_reference(options, settings) if isinstance(loss, ReferenceLoss) else None,
        train_set=train_set,
        validation_set=read_texts(options.tokens / "validation.parquet"),
        plain_text=plain,
        max_tokens=options.micro_batch_tokens,
        gradient_checkpointing=options.gradient_checkpointing,
        tokenizer=tokenizer,
        features=features,
        ranks=ranks,
    )


def _in_memory(options: TrainOptions, settings: DistillSettings, ranks: Ranks) -> TrainingRun:
    """The run; where its weights are sharded, each rank of a node loads them after the other."""
    if not options.sharded:
        return assemble(options, settings, ranks)
    run_checks.check_sharding(settings)
    mesh = mesh_of(ranks, default_device())
    with one_at_a_time(ranks):
        run = assemble(options, settings, ranks)
        run.shard(mesh)
    return run


def _home(options: TrainOptions) -> torch.device:
    """Where models are loaded: on the host if no device has room for them whole."""
    return torch.device("cpu") if options.sharded else default_device()


def _student(options: TrainOptions, settings: DistillSettings) -> PreTrainedModel:
    """The start, all of it to be trained, or frozen with adapters: new ones, or the start's own."""
    home, lora = _home(options), settings.training.lora
    if lora is None:
        return load(options.start, home, dropout=settings.training.dropout)
    from pipeline.models import lora as adapters  # peft takes seconds to import

    base = frozen_base(options, settings)
    # a teacher that learns from its student compares small differences of float32
    learns = settings.method.update and settings.method.teacher == "live"
    precision = "float32" if learns else _frozen_precision(settings)
    student = load_frozen(base, home, precision, settings.training.dropout)
    weights = adapters.attach(student, lora, settings.seed)
    if base != options.start:
        adapters.load_weights(student, options.start / "model")
    log(f"LoRA: {sum(weight.numel() for weight in weights):,} weights beside those of {base}")
    return student


def _frozen_precision(settings: DistillSettings) -> Precision:
    """The precision in which frozen weights are multiplied, wherever they are loaded."""
    return fixed_precision(default_device(), settings.training.precision)


def frozen_base(options: TrainOptions, settings: DistillSettings) -> Path:
    """The artifact whose weights are frozen under LoRA: the start, or what that is adapters of.

    Adapters of the same shape are trained on; others are merged, and new ones begin beside them.
    """
    lora = settings.training.lora
    if lora is None or not is_adapter(options.start):
        return options.start
    before = lora_of(options.start).model_copy(update={"dropout": lora.dropout})
    return base_of(options.start) if before == lora else options.start


def _teacher(options: TrainOptions, settings: DistillSettings, size: int) -> Teacher | None:
    if several := settings.method.teachers:
        tokens = artifact.read_id(options.tokens)
        return open_combined(options.member, several, options.data, tokens, size)
    if options.alignment is not None:
        alignment = Alignment(options.alignment, ["train"])
        alignment.check(options.tokens)
        if options.teacher is not None:
            precision, home = _frozen_precision(settings), _home(options)
            return live_teacher(alignment, options.teacher, options.tokens, precision, home)
        assert options.cache is not None
        check_cache(options.cache, alignment.teacher_tokens)
        return AlignedTeacher(open_cache(options.cache, ["train"]), alignment)
    if options.cache is not None:
        for source in options.texts or [options.tokens]:
            check_cache(options.cache, artifact.read_id(source), size)
        return open_cache(options.cache, ["train"])
    if options.teacher is None:
        return None

    vocabulary.check_teacher(options.teacher, options.tokens)
    home, precision = _home(options), _frozen_precision(settings)
    # one that learns, too, keeps its matrices: its adapters are made like them
    learns = settings.method.update is not None
    model = load(options.teacher, home) if learns else load_frozen(options.teacher, home, precision)
    model = vocabulary.adopt_end_tokens(model.requires_grad_(False), options.tokens)
    return LiveTeacher(model, precision)


def _reference(options: TrainOptions, settings: DistillSettings) -> LiveTeacher:
    """The student before its training, frozen."""
    precision = _frozen_precision(settings)
    return LiveTeacher(load_frozen(options.start, _home(options), precision), precision)


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


def _save_student(
    student: PreTrainedModel, run: TrainingRun, options: TrainOptions, folder: Path
) -> None:
    """All weights, or adapters with a reference to the weights that were frozen."""
    if run.settings.training.lora is None:
        student.save_pretrained(folder)
        return
    from pipeline.models import lora

    base = frozen_base(options, run.settings)
    lora.save(student, folder, str(base / "model"))
    write_base(folder, options.out, base, run.settings.training.lora)


def run(options: TrainOptions) -> None:
    """Trains, then writes model, steps and cost."""
    torch.set_num_threads(options.threads)
    settings = DistillSettings.model_validate(_settings(options))
    torch.manual_seed(settings.seed)
    ranks = join()
    inputs = ranks.of_first(lambda: command_line.begin(options))
    run = compile_for_gpu(_in_memory(options, settings, ranks))
    run_checks.check_positions(run, options.start, options.teacher)
    run_checks.check_answers(run)
    state, job_key = initial_state(run), artifact.resume_key(options.job, inputs)
    if checkpoint.resume(options.state, run, state, job_key):
        ranks.log(f"resuming after step {state.step} of {run.steps}")
    facts: dict[str, object] = {"ranks": ranks.size} if ranks.size > 1 else {}
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
    **facts: object,
) -> None:
    """Writes the artifact; without weights where they are no numbers any more."""
    with artifact.atomic_write(options.out) as folder:
        folder.mkdir()
        if "diverged" not in facts:
            _save_student(student, run, options, folder / "model")
            # which it has learnt
            load_tokenizer(options.tokens).save_pretrained(folder / "model")
        names = state.rows[0] if state.rows else schemas.MEASURED_STEPS.names
        columns = {name: [row[name] for row in state.rows] for name in names}
        schemas.write(folder / "steps.parquet", columns, schemas.STEPS)
        costs.write(folder, cost(run, state))
        facts |= selection_card(run, state)
        if chosen := _chosen(options):
            facts["chosen"] = chosen
        artifact.write_manifest(folder, options.job, command_line.inputs_of(options), **facts)
    checkpoint.forget(options.state)
