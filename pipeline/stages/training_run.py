"""The parts of a training run in memory: models, texts, teacher, loss and policy."""

from pathlib import Path

import torch
from transformers import PreTrainedModel

from pipeline.artifacts import artifact
from pipeline.data.batch import read_all_texts, read_texts
from pipeline.data.encoding import Encoder
from pipeline.data_policies import build_policy
from pipeline.losses import ReferenceLoss, build_loss
from pipeline.models import vocabulary
from pipeline.models.adapter_base import base_of, is_adapter, lora_of
from pipeline.models.language_model import (
    Precision,
    default_device,
    fixed_precision,
    load,
    load_frozen,
    load_tokenizer,
)
from pipeline.models.sharding import mesh_of
from pipeline.models.teacher import LiveTeacher, Teacher
from pipeline.runtime.progress import log
from pipeline.runtime.ranks import ALONE, Ranks, one_at_a_time
from pipeline.settings.distill import DistillSettings
from pipeline.stages.options import TrainOptions
from pipeline.teacher_cache.combined import open_combined
from pipeline.teacher_cache.reader import check_cache, open_cache
from pipeline.teacher_updates import attach_update
from pipeline.tokenizer_alignment.alignment import Alignment
from pipeline.tokenizer_alignment.teacher import AlignedTeacher, live_teacher
from pipeline.training import run_checks
from pipeline.training.features import feature_term, with_layers
from pipeline.training.state import TrainingRun


def assemble_on_devices(
    options: TrainOptions, settings: DistillSettings, ranks: Ranks
) -> TrainingRun:
    """The run; where weights are sharded, the ranks of a node load them one after the other."""
    if not options.sharded:
        return assemble(options, settings, ranks)
    run_checks.check_sharding(settings)
    mesh = mesh_of(ranks, default_device())
    with one_at_a_time(ranks):
        run = assemble(options, settings, ranks)
        run.shard(mesh)
    return run


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
