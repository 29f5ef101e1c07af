"""Layers and losses compiled for a GPU, which would otherwise spend its time on small kernels.

A matter of the machine: results differ in rounding, and nothing of it enters an artifact's id. All
layers of a model share a graph, valid for any batch and length; there is one of the student's with
gradient, one without, one of a live teacher's, and one or two of the loss. Before anything is
counted, a step is tried uncompiled to measure its time, then compiled. Where compiling wouldn't pay
off, or fails, the run stays eager, and `cost.json` says why.
"""

import time
from collections.abc import Callable
from dataclasses import fields, replace

import torch
from torch import Tensor
from transformers import PreTrainedModel

from pipeline.data.batch import Text
from pipeline.distributions.log_probs import Logits, PerToken, TeacherSignal, TokenContext
from pipeline.losses import Loss
from pipeline.losses import initial_state as initial_loss_state
from pipeline.models.attention import unmasked_context
from pipeline.models.gradient_checkpointing import checkpointable_layers
from pipeline.models.logits import logit_scaling
from pipeline.models.sharding import is_sharded
from pipeline.runtime.costs import Compilation
from pipeline.runtime.progress import log
from pipeline.runtime.ranks import ALONE
from pipeline.training.batches import StepBatch, learns_from_teacher, readable, with_teacher
from pipeline.training.loop import mixed_token_losses, train_step
from pipeline.training.state import TokenLosses, TrainingRun, TrainingState

VARIANTS = 64  # of a function: models, with gradient and without, batches of one, kinds of layers
# What others report of bodies of 28 layers on a B200 is one to 2.5 minutes: a layer takes less, a
# loss adds to it. The share is that of a body of 135M on an H100: 53 ms for 133.
SECONDS_TO_COMPILE = 40.0
SHARE_SAVED = 0.5  # of a step


def compile_for_gpu(run: TrainingRun) -> TrainingRun:
    """The run, compiled on a GPU where that pays off; unchanged on a CPU."""
    if run.student.device.type != "cuda":
        return replace(run, compilation=Compilation(False, "on a CPU"))
    if is_sharded(run.student):
        return replace(run, compilation=Compilation(False, "its layers are gathered in between"))
    try:
        seconds = eager_step_seconds(run)
    finally:
        clear_gradients(run)
    # of one mind: a rank that runs eagerly would hold up the others
    if not run.ranks.highest(is_worth_compiling(seconds, run.steps)):
        reason = f"{run.steps} steps of {seconds:.3f} s are too few for it"
        return replace(run, compilation=Compilation(False, reason))
    return try_compile(run, "inductor")


def is_worth_compiling(step_seconds: float, steps: int) -> bool:
    """Whether a run of such eager steps saves more time than compiling takes."""
    return steps * step_seconds * SHARE_SAVED > SECONDS_TO_COMPILE


def eager_step_seconds(run: TrainingRun) -> float:
    """The seconds of an uncompiled step, once libraries are warm."""
    trial_step(run, micro_batches=1)
    torch.cuda.synchronize()
    began = time.monotonic()
    trial_step(run)
    torch.cuda.synchronize()
    return time.monotonic() - began


def try_compile(run: TrainingRun, backend: str | Callable) -> TrainingRun:
    """The run compiled; where that fails, the eager run, with the reason in the log.

    Raises: torch.OutOfMemoryError, which is not the compiler's fault.
    """
    try:
        compiled = with_compiled_functions(run, backend)
        trial_step(compiled, micro_batches=1)
        return replace(compiled, compilation=Compilation(True, "layers and loss"))
    except Exception as error:
        if any(isinstance(cause, torch.OutOfMemoryError) for cause in _causes(error)):
            raise
        for model in run.models:
            remove_compiled_layers(model)
        first_part = " ".join(str(error).split("\n\n")[0].splitlines())  # torch's hints follow
        reason = f"{type(error).__name__}: {first_part}"
        log(f"torch.compile failed, running eagerly: {reason}")
        return replace(run, compilation=Compilation(False, reason))
    finally:
        clear_gradients(run)


def clear_gradients(run: TrainingRun) -> None:
    """Forgets the gradients that a trial left."""
    run.student.zero_grad(set_to_none=True)
    if run.features is not None:
        run.features.projectors.zero_grad(set_to_none=True)


def _causes(error: BaseException | None) -> list[BaseException]:
    """An error and those that it was raised from."""
    causes: list[BaseException] = []
    while error is not None and error not in causes:
        causes.append(error)
        error = error.__cause__ or error.__context__
    return causes


def with_compiled_functions(run: TrainingRun, backend: str | Callable) -> TrainingRun:
    """The run with functions that are compiled at their first call."""
    torch._dynamo.config.recompile_limit = max(VARIANTS, torch._dynamo.config.recompile_limit)
    for model in run.models:
        # by a forward pass each, which needs no graph
        unmasked_context(model)
        logit_scaling(model)
        for layer in checkpointable_layers(model):
            layer.compile(backend=backend, dynamic=True)
    compiled_loss = torch.compile(mixed_token_losses, backend=backend)
    return replace(run, compiled_loss=with_dynamic_token_count(compiled_loss))


def with_dynamic_token_count(token_losses: TokenLosses) -> TokenLosses:
    """The losses, compiled for any number of tokens from the first call on."""

    def marked(
        loss: Loss, gold_weight: float, teacher: TeacherSignal, logits: Logits, tokens: TokenContext
    ) -> PerToken:
        """The losses, with the number of tokens marked as dynamic."""
        context = (getattr(tokens, field.name) for field in fields(tokens))
        for value in (*context, teacher.log_probs, teacher.support.ids, logits):
            if isinstance(value, Tensor):
                torch._dynamo.maybe_mark_dynamic(value, 0)
        return token_losses(loss, gold_weight, teacher, logits, tokens)

    return marked


def remove_compiled_layers(model: PreTrainedModel) -> None:
    """Makes the layers of a model eager again."""
    for layer in checkpointable_layers(model):
        layer._compiled_call_impl = None


def trial_batch(run: TrainingRun) -> StepBatch:
    """A step on the first texts of the train set, as if they had been sampled."""
    first = readable(run, run.train_set[: run.settings.training.batch_size])
    texts = [_as_rollout(text) for text in first]
    return StepBatch(texts, with_teacher(run, texts, step=0, asked=learns_from_teacher(run)), [])


def _as_rollout(text: Text) -> Text:
    """The text with what only sampled ones have; the right response to its prompt is its own."""
    if text.log_probs:
        return text
    sampled = [0.0] * text.target_count
    return replace(text, log_probs=sampled, advantage=0.0, solution=text.response_ids)


def trial_step(run: TrainingRun, micro_batches: int | None = None) -> None:
    """A step on all or some of the first micro-batches, rank by rank.

    It leaves the weights as they are, and gradients on them.
    """
    batch = trial_batch(run)
    batch = replace(batch, micro_batches=batch.micro_batches[:micro_batches])
    no_weights = torch.optim.SGD([torch.zeros(())])
    state = TrainingState(no_weights, loss=initial_loss_state(run.loss))
    train_step(replace(run, teacher_update=None, ranks=ALONE), state, batch)
