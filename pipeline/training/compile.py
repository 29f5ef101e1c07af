"""Runs whose layers and loss are compiled for a GPU, which else spends its time on small kernels.

A matter of the machine: results differ in rounding, and nothing of it enters an artifact's id. All
layers of a model share a graph, made for any batch and length; there is one of the student's with
gradient, one without, one of a live teacher's, and one or two of the loss. Before anything is
counted, micro-batches are tried uncompiled for the time that a step takes, then compiled. Where it
wouldn't pay, or fails, the run goes on as it was written, and `cost.json` says why. No GPU has run
this yet.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import fields, replace

import torch
from torch import Tensor
from transformers import PreTrainedModel

from pipeline.data.batch import Text, micro_batches
from pipeline.distributions.log_probs import PerToken
from pipeline.models.attention import unmasked_context
from pipeline.models.gradient_checkpointing import checkpointable_layers
from pipeline.models.logits import logit_scaling
from pipeline.models.teacher import LiveTeacher
from pipeline.runtime.costs import Compilation
from pipeline.runtime.progress import log
from pipeline.training.batches import MicroBatch
from pipeline.training.loop import Reading, descent, mix_gold_loss
from pipeline.training.state import TrainingRun, TrainingState

VARIANTS = 64  # of a function: models, with gradient and without, batches of one, kinds of layers
# What others report of bodies of 28 layers on a B200 is one to 2.5 minutes: a layer takes less, a
# loss adds to it. The share is that of a body of 135M on an H100: 53 ms for 133.
SECONDS_TO_COMPILE = 40.0
SHARE_SAVED = 0.5  # of a step


def compiled(run: TrainingRun) -> TrainingRun:
    """The run as its machine wants it: compiled on a GPU where that pays, as it is on a CPU."""
    if run.student.device.type != "cuda":
        return replace(run, compilation=Compilation(False, "on a CPU"))
    try:
        seconds = seconds_of_a_step(run)
    finally:
        run.student.zero_grad(set_to_none=True)
    if not pays(seconds, run.steps):
        reason = f"{run.steps} steps of {seconds:.3f} s are too few for it"
        return replace(run, compilation=Compilation(False, reason))
    return attempt(run, "inductor")


def pays(seconds: float, steps: int) -> bool:
    """Whether so many steps, which take so long uncompiled, save more than compiling takes."""
    return steps * seconds * SHARE_SAVED > SECONDS_TO_COMPILE


def seconds_of_a_step(run: TrainingRun) -> float:
    """Of forward and backward over the first texts, uncompiled; libraries are warm by then."""
    trial(run, _tried(run)[0])
    torch.cuda.synchronize()
    began = time.monotonic()
    for one in _tried(run):
        trial(run, one)
    torch.cuda.synchronize()
    return time.monotonic() - began


def attempt(run: TrainingRun, backend: str | Callable) -> TrainingRun:
    """The run compiled; where that fails, as it is, with the reason in the log.

    Raises: torch.OutOfMemoryError, which says nothing of the compiler.
    """
    try:
        found = prepared(run, backend)
        trial(found, _tried(found)[0])
        return replace(found, compilation=Compilation(True, "layers and loss"))
    except Exception as error:
        if any(isinstance(one, torch.OutOfMemoryError) for one in _causes(error)):
            raise
        for model in _models(run):
            undone(model)
        shown = " ".join(str(error).split("\n\n")[0].splitlines())  # then come torch's hints
        reason = f"{type(error).__name__}: {shown}"
        log(f"goes on uncompiled: {reason}")
        return replace(run, compilation=Compilation(False, reason))
    finally:
        run.student.zero_grad(set_to_none=True)


def _causes(error: BaseException | None) -> list[BaseException]:
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found


def prepared(run: TrainingRun, backend: str | Callable) -> TrainingRun:
    """The run to be compiled when it is first used."""
    torch._dynamo.config.recompile_limit = max(VARIANTS, torch._dynamo.config.recompile_limit)
    for model in _models(run):
        for measured in (
            unmasked_context,
            logit_scaling,
        ):  # by a pass each, which no graph is wanted of
            measured(model)
        for layer in checkpointable_layers(model):
            layer.compile(backend=backend, dynamic=True)
    return replace(run, fused=_of_any_length(torch.compile(mix_gold_loss, backend=backend)))


def _of_any_length(losses_of: Callable[..., PerToken]) -> Callable[..., PerToken]:
    """The losses, compiled for any number of tokens from the first on, but for one vocabulary."""

    def marked(loss: object, gold: float, reading: Reading, scores: Tensor | None) -> PerToken:
        tokens = (getattr(reading.tokens, one.name) for one in fields(reading.tokens))
        others = (reading.teacher, reading.logits, reading.support.ids, scores)
        for one in (*tokens, *others):
            if isinstance(one, Tensor):
                torch._dynamo.maybe_mark_dynamic(one, 0)
        return losses_of(loss, gold, reading, scores)

    return marked


def undone(model: PreTrainedModel) -> None:
    """Takes back what `prepared` did to a model."""
    for layer in checkpointable_layers(model):
        layer._compiled_call_impl = None


def _models(run: TrainingRun) -> Sequence[PreTrainedModel]:
    return [run.student, *([run.teacher.model] if isinstance(run.teacher, LiveTeacher) else [])]


def _tried(run: TrainingRun) -> list[MicroBatch]:
    """The micro-batches of a step on the first texts of the pool."""
    texts = [_as_written(text) for text in run.pool[: run.settings.training.batch_size]]
    batches = micro_batches(texts, run.budget, run.student.device)
    return [MicroBatch(one, run.teacher.forecast(one) if run.teacher else None) for one in batches]


def _as_written(text: Text) -> Text:
    return text if text.log_probs else replace(text, log_probs=[0.0] * len(text.response_ids))


def trial(run: TrainingRun, one: MicroBatch) -> None:
    """Forward and backward over one micro-batch, which leaves gradients and nothing else."""
    loss_state = run.loss.initial_state() if hasattr(run.loss, "advance") else {}
    nothing = torch.optim.SGD(run.student.parameters())
    descent(run, TrainingState(nothing, loss=loss_state), one, None, one.batch.token_count)
