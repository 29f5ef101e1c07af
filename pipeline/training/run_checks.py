"""What is checked of a training run before its first step."""

from pathlib import Path

from pipeline.models import positions
from pipeline.models.teacher import LiveTeacher
from pipeline.runtime.progress import log
from pipeline.training.state import TrainingRun

POSITION_KEYS = "tokens.response_tokens, teacher_text.max_new_tokens or rollout_tokens"
BEST_ROUGE = ("best", "rouge_l")


def check_positions(run: TrainingRun, start: Path, teacher: Path | None) -> None:
    """Raises ValueError where student or live teacher is too short for what it is to read."""
    models = {start: run.student}
    if isinstance(run.teacher, LiveTeacher) and teacher:
        models[teacher] = run.teacher.model
    training = run.settings.training
    generates = not run.policy.is_off_policy or (training.keep, training.keep_by) == BEST_ROUGE
    new_tokens = run.settings.max_new_tokens if generates else 0
    for path, model in models.items():
        for texts in (run.train_set, run.validation_set, run.plain_text):
            positions.check(path, model.config, texts, new_tokens, POSITION_KEYS)
    if isinstance(run.teacher, LiveTeacher) and (prompts := run.teacher.prompts):
        shown, keys = [prompts.longest(new_tokens)], f"{POSITION_KEYS}, or shorten `template`"
        positions.check(start, run.student.config, shown, new_tokens, keys)


def warn_of_repeated_prompts(run: TrainingRun) -> None:
    """Says where a step asks a prompt twice: its samples are drawn alike, and are equal."""
    batch, texts = run.settings.training.batch_size, len(run.train_set)
    if batch > texts and not run.policy.is_off_policy:
        log(
            f"warning: a step of {batch} texts has each of the {texts} prompts more than once, and "
            "the samples of a prompt within a step are equal"
        )
