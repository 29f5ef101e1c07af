"""Memory that a training job holds beside its activations, on one GPU or as a share of it.

Where weights are sharded over R ranks, each rank holds, with N the weights that are trained:

    a share     16 N / R bytes of weights, gradients and two moments in float32; of frozen models
                (a live teacher, a reference, weights under adapters) what they take, over R
    the whole   2 N + 4 V W of the copy that writes text; in families of other layers than linear
                ones 2 N of copies in bfloat16, which the backward pass reads
    a unit      of what is gathered: embeddings and head together, from the forward pass to the end
                of the backward pass, with the gradients of weights that are trained and what is
                sent of these; of layers the one that is read and the next

Tensors of small runs on a CPU hold 0.58 to 0.99 of it (`benchmarks.rank_memory`).
"""

from collections.abc import Mapping
from typing import Any

from pipeline.methods.components import generates_text, needs_reference
from pipeline.settings.memory import BATCH_TOKENS
from workflow.resources.fit import Workload
from workflow.resources.model_sizes import Size

WHOLE_UNIT = 4 + 4 + 4  # bytes of a gathered weight: itself, its gradient, what is sent of it
NEXT_UNIT = 4  # a weight that is gathered ahead


def held_in_training(model: Size, live: Size | None, settings: Mapping[str, Any]) -> Workload:
    """Memory and disk that a student takes, with a live teacher where there is one."""
    method, writes = settings["method"], generates_text(settings["method"]["policy"])
    half = settings["training"]["precision"] != "float32"  # on a GPU matrices are in bfloat16
    left = (1 if half else 2) * model.left_bytes
    learning = model.learning(settings["training"])
    copied = 2 * half + 2 * writes  # bytes of copies in bfloat16
    in_shares = 2 * (half and not model.recasts) + 2 * writes
    small = settings["training"].get("optimizer_states") == "8bit"
    updated = 10 if small else 16
    if learning == model.parameters:
        shared, multiplied = updated * learning, learning
        gathered = _trained_unit(model)
    else:
        is_half = half and not _learns_live(method)  # as the job loads it
        shared = frozen_bytes(model, is_half) + updated * learning
        multiplied = learning if is_half else learning + model.parameters
        gathered = frozen_unit(model, is_half) + WHOLE_UNIT * learning // model.layers
    beside = [live] if live else []
    shared += _teacher_bytes(live, method, half)
    if needs_reference(method["loss"]):
        beside.append(model)
        shared += frozen_bytes(model, half)
    gathered += sum(frozen_unit(each, half) for each in beside)
    return Workload(
        loaded=4 * (model.parameters + sum(read.parameters for read in beside)),
        resident=shared + copied * multiplied,
        shared=shared,
        # that which writes is a copy with float32 embeddings
        unshared=in_shares * multiplied + gathered + 4 * model.embedding * writes,
        kept_whole=_kept_whole(settings),
        per_position=left * model.depth,
        checkpointed=4 * model.depth + left * model.width,  # layers' inputs, and one layer
        writer=key_values(model) if writes else 0,
        disk=4 * learning,
        state=12 * learning,
    )


def _kept_whole(settings: Mapping[str, Any]) -> str:
    """What keeps a training from being sharded, as its stage refuses it."""
    if settings["training"].get("optimizer_states") == "8bit":
        return "moments in 8 bits (`optimizer_states: 8bit`)"
    if _learns_live(settings["method"]):
        return f"a teacher that learns along (`update: {settings['method']['update']}`)"
    return ""


def _trained_unit(model: Size) -> int:
    """Bytes of the units of a sharded student that a rank has gathered at a time."""
    return WHOLE_UNIT * (model.around + model.layer) + NEXT_UNIT * model.layer


def frozen_unit(model: Size, half: bool) -> int:
    """Bytes of the units of a sharded model that never learns: embeddings stay as they are."""
    return 4 * model.around + 2 * (2 if half else 4) * model.layer


def _teacher_bytes(live: Size | None, method: Mapping[str, Any], half: bool) -> int:
    """Bytes of a live teacher; one that never learns is in bfloat16, but for its embeddings."""
    if live is None:
        return 0
    if _learns_live(method) or method["teacher"] == "self":  # whose copy is one of float32
        return (4 + 2 * half) * live.parameters
    return frozen_bytes(live, half)


def _learns_live(method: Mapping[str, Any]) -> bool:
    """Whether a teacher beside the student is trained along."""
    return bool(method["update"]) and method["teacher"] == "live"


def frozen_bytes(model: Size, half: bool) -> int:
    """Bytes of weights that never learn: of matrices in bfloat16, embeddings stay as they are."""
    return 2 * model.parameters + 4 * model.embedding if half else 4 * model.parameters


def key_values(model: Size) -> int:
    """Bytes of the keys and values of the texts that are written together, in float32."""
    return BATCH_TOKENS * 8 * model.depth
