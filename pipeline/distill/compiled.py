"""Runs whose bodies and loss are compiled for a GPU, which else spends its time on small kernels.

A matter of the machine: results differ in rounding, and nothing of it enters an artifact's id. No
GPU has run this yet. The first micro-batch is tried before anything is counted; where that fails,
the log says why, and the run goes on as it was written.
"""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from pipeline.cli import progress
from pipeline.distill.run import Run, State
from pipeline.distill.supply import MicroBatch
from pipeline.distill.training import descent, weighed_losses
from pipeline.teachers import LiveTeacher
from pipeline.texts import Text, micro_batches

ATTENTION = "sdpa_without_mask"
VARIANTS = 32  # of a function: student and teacher, with gradient and without, of several shapes


def compiled(run: Run) -> Run:
    """The run as its machine wants it: compiled on a GPU, as it is on a CPU."""
    return attempt(run, "inductor") if run.student.device.type == "cuda" else run


def attempt(run: Run, backend: str | Callable) -> Run:
    """The run compiled; where that fails, as it is, with the reason in the log."""
    try:
        found = prepared(run, backend)
        trial(found)
        return found
    except Exception as error:
        torch.compiler.set_stance("force_eager")  # for the whole process: its compiler has failed
        reason = " ".join(str(error).split("\n\n")[0].splitlines())  # then come torch's hints
        progress(f"goes on uncompiled: {type(error).__name__}: {reason}")
        return run
    finally:
        run.student.zero_grad(set_to_none=True)


def prepared(run: Run, backend: str | Callable) -> Run:
    """The run to be compiled when it is first used."""
    models = [run.student]
    if isinstance(run.teacher, LiveTeacher):
        models.append(run.teacher.model)
    for model in models:
        without_mask(model)
        model.base_model.compile(backend=backend)
    torch._dynamo.config.recompile_limit = VARIANTS
    return replace(run, fused=torch.compile(weighed_losses, backend=backend))


def trial(run: Run) -> None:
    """Forward and backward over one micro-batch, which leaves gradients and nothing else."""
    texts = [_as_written(text) for text in run.pool[: run.settings.training.batch_size]]
    batch = next(micro_batches(texts, run.budget, run.student.device))
    one = MicroBatch(batch, run.teacher.forecast(batch) if run.teacher else None)
    loss_state = run.loss.initial_state() if hasattr(run.loss, "advance") else {}
    nothing = torch.optim.SGD(run.student.parameters())
    descent(run, State(nothing, loss=loss_state), one, None, batch.token_count)


def _as_written(text: Text) -> Text:
    return text if text.log_probs else replace(text, log_probs=[0.0] * len(text.response_ids))


def without_mask(model: PreTrainedModel) -> None:
    """Makes a model that is given no mask do without one when it is compiled, too.

    transformers makes a causal mask whenever it is traced, and attention with a mask is not the
    fastest there is. Batches are padded at the right and need none.
    """
    if model.config._attn_implementation == "sdpa":
        AttentionInterface.register(ATTENTION, sdpa_attention_forward)
        AttentionMaskInterface.register(ATTENTION, mask_if_needed)
        model.set_attn_implementation(ATTENTION)


def mask_if_needed(*shape: int, attention_mask: Tensor | None, **rest: object) -> Tensor | None:
    """No mask where none was given and a text is read from its start; else that of `sdpa`."""
    whole = rest.get("q_length") == rest.get("kv_length") and rest.get("local_size") is None
    if attention_mask is None and whole:
        return None
    return sdpa_mask(*shape, attention_mask=attention_mask, **rest)
