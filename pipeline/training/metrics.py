"""The metrics of each training step: those of its texts, and those that arrive later."""

import math
from collections.abc import Sequence

from pipeline.data.batch import Text
from pipeline.models.teacher import LiveTeacher
from pipeline.runtime.diverged import Diverged
from pipeline.runtime.transfer import AsyncScalars
from pipeline.tokenizer_alignment.teacher import AlignedTeacher
from pipeline.training import agreement
from pipeline.training.batches import StepBatch
from pipeline.training.checkpoint_selection import Validation
from pipeline.training.rewards import mean_reward
from pipeline.training.state import TrainingRun, TrainingState
from pipeline.training.step_log import Row


def flush_metrics(state: TrainingState) -> None:
    """Completes the row of the last step with its loss and gradient norm, unless that is done.

    Raises: ValueError when they are not finite, with the step and its examples.
    """
    if state.pending is None:
        return
    pending, step = state.pending, len(state.rows)
    loss_nats, norm, *means = read_finite(pending.run, step, pending.texts, pending.scalars)
    measured = {"loss_nats": loss_nats, "gradient_norm": norm, **agreement.row_of(means)}
    state.rows.append(pending.row | measured)
    state.pending = None


def read_finite(
    run: TrainingRun, step: int, texts: Sequence[Text], scalars: AsyncScalars
) -> list[float]:
    """Loss, gradient norm and what else was measured; Diverged unless the first two are finite.

    Raises ValueError where the fault is the teacher's.
    """
    numbers = scalars.read()
    loss_nats, norm, *_ = numbers
    if math.isfinite(loss_nats) and math.isfinite(norm):
        return numbers
    teacher = run.teacher_as_it_came(step)
    if isinstance(teacher, LiveTeacher | AlignedTeacher):
        teacher.check_finite(texts, step)
    examples = ", ".join(text.example_id for text in texts[:4])
    more = f" and {len(texts) - 4} more" if len(texts) > 4 else ""
    fault = f"gradient norm is {norm}" if math.isfinite(loss_nats) else f"loss is {loss_nats}"
    raise Diverged(
        f"the {fault} at step {step + 1}, on the batch of {examples}{more}; "
        f"a lower {run.rate_keys} may help"
    )


def metrics_row(
    state: TrainingState, rate: float, batch: StepBatch, validation: Validation | None
) -> Row:
    """The metrics of a step but for those that a GPU may still have to compute."""
    texts = batch.texts
    unaligned: Row = {} if batch.unaligned is None else {"unaligned_texts": batch.unaligned}
    rollouts = [text for text in texts if text.log_probs]
    rollout_tokens = sum(len(text.response_ids) for text in rollouts)
    by_teacher = sum(text.teacher_tokens for text in rollouts)
    return unaligned | {
        "step": state.step,
        "learning_rate": rate,
        "response_tokens": sum(text.target_count for text in texts),
        "generated_tokens": rollout_tokens,
        "teacher_share": by_teacher / rollout_tokens if rollouts else None,
        "eos_share": sum(text.ended for text in rollouts) / len(rollouts) if rollouts else None,
        "rollout_length": rollout_tokens / len(rollouts) if rollouts else None,
        "reward": mean_reward(rollouts),
        "validation_nll_nats": validation.nll_nats if validation else None,
        "validation_rouge_l": validation.rouge_l if validation else None,
        "seconds": state.usage.seconds,
        "flops": state.model_cost.flops,
    }
