"""What is checked of a training run before its first step."""

from pathlib import Path

from pipeline.losses import RewardedLoss
from pipeline.models import positions
from pipeline.models.teacher import LiveTeacher
from pipeline.settings.distill import DistillSettings
from pipeline.tasks.answers import reference_answer
from pipeline.training.rewards import decoded
from pipeline.training.state import TrainingRun

POSITION_KEYS = "tokens.response_tokens, teacher_text.max_new_tokens or rollout_tokens"
LOOKED_AT = 100  # texts of the train set, for an answer


def check_positions(run: TrainingRun, start: Path, teacher: Path | None) -> None:
    """Raises ValueError where student or live teacher is too short for what it is to read."""
    models = {start: run.student}
    if isinstance(run.teacher, LiveTeacher) and teacher:
        models[teacher] = run.teacher.model
    generates = not run.policy.is_off_policy or run.settings.training.validates_text
    new_tokens = run.settings.max_new_tokens if generates else 0
    for path, model in models.items():
        for texts in (run.train_set, run.validation_set, run.plain_text):
            positions.check(path, model.config, texts, new_tokens, POSITION_KEYS)
    if isinstance(run.teacher, LiveTeacher) and (prompts := run.teacher.prompts):
        shown, keys = [prompts.longest(new_tokens)], f"{POSITION_KEYS}, or shorten `template`"
        positions.check(start, run.student.config, shown, new_tokens, keys)


def check_sharding(settings: DistillSettings) -> None:
    """Raises ValueError for what weights in shares can't do, before any are loaded."""
    training, method = settings.training, settings.method
    way_out = "give each rank a GPU that the models fit on whole, and leave the flag out"
    if training.optimizer_states == "8bit":
        raise ValueError(
            "--sharded: training.optimizer_states = '8bit' scales blocks of whole weights, and a "
            f"rank has a share of each; take 'float32', or {way_out}"
        )
    if method.teacher == "live" and method.update is not None:
        raise ValueError(
            f"--sharded: with update = {method.update!r} the teacher is trained in passes of its "
            f"own, and ranks don't make equally many; {way_out}"
        )


def check_answers(run: TrainingRun) -> None:
    """Raises ValueError where a loss needs rewards and no response gives an answer to check."""
    looked_at = run.train_set[:LOOKED_AT]
    if not isinstance(run.loss, RewardedLoss):
        return
    assert run.tokenizer is not None
    if not any(reference_answer(decoded(run.tokenizer, text)) for text in looked_at):
        raise ValueError(
            f"none of the first {len(looked_at)} responses of the train set gives an answer that "
            "others could be compared with (pipeline/tasks/answers.py): a reward needs data with "
            "answers, such as gsm8k"
        )
