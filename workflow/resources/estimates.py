"""How much time, memory and disk a job will take, before it has ever run.

With N the parameters of the model, T those of a live teacher, L and W layers and width, V the
vocabulary, and texts half as long as `tokens` allows:

    seconds   start + operations / speed + kernels, where an optimizer step of B tokens costs
              6 N B operations, 2 T B for a live teacher, 2 N B for a reference, 2 N for each
              token that the student generates; a cache costs 2 T, an evaluation 2 N for each token
              read or generated
    memory    of training: 16 N bytes (weights, gradients, two moments in float32, or 10 N with
              moments in 8 bits; under LoRA of adapters alone, beside 2 N + 4 V W of frozen
              weights), 2 N for their bfloat16 copies on a GPU, 2 N for the copies that a
              student generates with, and 2 T + 4 V W for a live teacher (6 T where it learns),
              2 N + 4 V W for a reference; of any other use 6 N.
              For each position of a micro-batch: L W times the bytes of its family
              (`workflow.resources.model_sizes`) with gradients; 8 L W without, and 12 V for its
              logits (28 beside a whole teacher's). Training holds a chunk of its logits: 16 bytes
              for each, 40 beside those of a live teacher.
              For each position of a KV cache 8 L W, or a tenth of a GPU
    disk      4 N of a checkpoint; of a cache for each token 3 K + 16, with K most likely or drawn
              tokens in its support, or 2 W of a hidden state and 4 V W for the lm_head

A CPU's speed was measured on two cores; a GPU's memory is counted on tensors without storage, and
its speed is an expectation. Nothing of the machine enters an id.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pipeline.methods.components import generates_text, needs_reference, selects_texts
from pipeline.settings.memory import BATCH_TOKENS, CACHE_READER_BYTES
from workflow.grid.artifact import Artifact
from workflow.grid.grid import Grid
from workflow.grid.tuning import largest_settings
from workflow.jobs.stage_modules import stage_of
from workflow.resources.data_sizes import ASSUMED_EXAMPLES, EXAMPLE_BYTES, examples_of
from workflow.resources.fit import CONTEXT_MB, MB, Workload, fit_job, is_small, seconds, share_of
from workflow.resources.machine import CPU, GPU, Machine
from workflow.resources.model_sizes import Size, size

READ_BYTES_PER_SECOND = 200 * MB  # weights from a shared disk
HELD_OUT = "heldout"  # the one task that generates nothing
LOGIT_BYTES = 12  # of a logit that is read: itself, its log-probability, what is computed from it
DENSE_LOGIT_BYTES = 28  # the same beside a teacher's on the whole vocabulary
ASKED_AT_A_TIME = 8  # requests to an endpoint


@dataclass(frozen=True)
class Estimate:
    """Time, memory and disk of a job. The memory of a GPU is 0 where none is used."""

    seconds: float
    memory_mb: int
    gpu_memory_mb: int
    disk_mb: int


def estimate(
    grid: Grid, artifact: Artifact, machine: Machine | None = None, share: float = 1
) -> Estimate:
    """Time, memory and disk of the job of an artifact; by default where its models would run.

    Of a job that does a share of the work. Its memory and its micro-batches are those of the whole.
    """
    workload = workload_of(grid, artifact)
    if machine is None:
        machine = CPU if is_small(workload) else GPU
    fit = fit_job(workload, machine)
    duration = seconds(share_of(workload, share), fit) + workload.loaded / READ_BYTES_PER_SECOND
    if fit.machine.device_memory_mb:
        host, on_gpu = workload.loaded + workload.host, CONTEXT_MB + _mb(fit.computing)
    else:  # in float32 what a position leaves is twice as large
        activations = fit.micro_batch * workload.per_position
        host, on_gpu = fit.computing + activations + workload.host, 0
    memory_mb = fit.machine.speed.base_mb + _mb(host)
    return Estimate(duration, memory_mb, on_gpu, _mb(share * workload.disk))


def workload_of(grid: Grid, artifact: Artifact) -> Workload:
    """The workload of the job that makes an artifact."""
    return _WORK.get(stage_of(artifact), _preparation)(grid, artifact)


def _training(grid: Grid, artifact: Artifact) -> Workload:
    settings, inputs = largest_settings(artifact), dict(artifact.inputs)
    training, method = settings["training"], settings["method"]
    model = _size(grid, artifact)
    live = _size(grid, inputs["teacher"]) if "teacher" in inputs else None
    if method["teacher"] == "self":
        live = model
    teacher = live.parameters if live else 0
    reference = model.parameters * needs_reference(method["loss"])

    texts, length = examples_of(grid)["train"], _positions(grid)
    steps = training["steps"] or math.ceil(training["epochs"] * texts / training["batch_size"])
    read = training["batch_size"] * length * (2 if method["plain_text_weight"] else 1)
    written = (
        training["batch_size"] * settings["max_new_tokens"]
        if generates_text(method["policy"])
        else 0
    )
    measured = training["validations"] * training["validation_texts"] * length
    selected = texts * length * selects_texts(method["policy"])  # positions that both models read
    positions = 2 * training["batch_size"] * length
    caches = sum(
        _cached(grid, each) for role, each in artifact.inputs if role in ("cache", "member")
    )
    learning = model.learning(training)
    return replace(
        held_in_training(model, live, settings),
        operations=steps
        * read
        * (4 * model.parameters + 2 * learning + 2 * teacher + 2 * reference)
        + steps * written * 2 * (model.parameters + teacher)
        + measured * 2 * model.parameters
        + selected * 2 * (model.parameters + teacher),
        steps=steps,
        step_positions=positions,
        written_positions=steps * settings["max_new_tokens"] if written else 0,
        logits=positions * max(model.vocabulary, live.vocabulary if live else 0),
        logit_bytes=40 if live else 16,
        trained=learning,
        host=texts * EXAMPLE_BYTES * 10 + caches,
    )


def held_in_training(model: Size, live: Size | None, settings: Mapping[str, Any]) -> Workload:
    """Memory and disk that a student takes, with a live teacher where there is one."""
    method, writes = settings["method"], generates_text(settings["method"]["policy"])
    half = settings["training"]["precision"] != "float32"  # on a GPU matrices are in bfloat16
    left = (1 if half else 2) * model.left_bytes
    learning = model.learning(settings["training"])
    copied = 2 * half + 2 * writes  # bytes of copies in bfloat16
    small = settings["training"].get("optimizer_states") == "8bit"
    updated = copied + (10 if small else 16)
    if learning == model.parameters:
        resident = updated * model.parameters
    else:
        is_half = half and not _learns_live(method)  # as the job loads it
        resident = _frozen_bytes(model, is_half) + updated * learning
        resident += 0 if is_half else copied * model.parameters
    beside = [live] if live else []
    if needs_reference(method["loss"]):
        beside.append(model)
        resident += _frozen_bytes(model, half)
    return Workload(
        loaded=4 * (model.parameters + sum(read.parameters for read in beside)),
        resident=resident + _teacher_bytes(live, method, half),
        per_position=left * model.depth,
        checkpointed=4 * model.depth + left * model.width,  # layers' inputs, and one layer
        writer=_key_values(model) if writes else 0,
        disk=4 * learning,
        state=12 * learning,
    )


def _teacher_bytes(live: Size | None, method: Mapping[str, Any], half: bool) -> int:
    """Bytes of a live teacher; one that never learns is in bfloat16, but for its embeddings."""
    if live is None:
        return 0
    if _learns_live(method) or method["teacher"] == "self":  # whose copy is one of float32
        return (4 + 2 * half) * live.parameters
    return _frozen_bytes(live, half)


def _learns_live(method: Mapping[str, Any]) -> bool:
    """Whether a teacher beside the student is trained along."""
    return bool(method["update"]) and method["teacher"] == "live"


def _frozen_bytes(model: Size, half: bool) -> int:
    """Bytes of weights that never learn: of matrices in bfloat16, embeddings stay as they are."""
    return 2 * model.parameters + 4 * model.embedding if half else 4 * model.parameters


def _cached(grid: Grid, cache: Artifact) -> int:
    """Bytes of a cache that is read: a bounded part of it, and its teacher's lm_head."""
    teacher = _size(grid, dict(cache.inputs)["teacher"])
    hidden = cache.settings.get("tier") == "hidden"
    return CACHE_READER_BYTES + 4 * teacher.vocabulary * teacher.width * hidden


def _writing(grid: Grid, artifact: Artifact) -> Workload:
    settings, model = artifact.settings, _size(grid, dict(artifact.inputs)["teacher"])
    prompts = min(settings["prompts"] or ASSUMED_EXAMPLES, examples_of(grid)["train"])
    texts = prompts * settings["samples"] // (2 if settings.get("half") else 1)
    return _read_and_write(grid, model, 0, texts, settings["max_new_tokens"], disk_per_token=6)


def _asking(grid: Grid, artifact: Artifact) -> Workload:
    """Requests to a server, of which nothing is known: a second each, a few at a time."""
    settings = artifact.settings
    prompts = min(settings["prompts"] or ASSUMED_EXAMPLES, examples_of(grid)["train"])
    texts = prompts * settings["samples"]
    return Workload(seconds=texts / ASKED_AT_A_TIME, host=texts * EXAMPLE_BYTES * 10)


def _caching(grid: Grid, artifact: Artifact) -> Workload:
    settings, model = artifact.settings, _size(grid, dict(artifact.inputs)["teacher"])
    texts = sum(examples_of(grid)[split] for split in settings["splits"])
    hidden = settings.get("tier") == "hidden"
    support = 0 if hidden else settings.get("draws") or settings["k"]
    per_token = 2 * model.width if hidden else 3 * support + 16
    done = _read_and_write(grid, model, texts, 0, 0, disk_per_token=per_token)
    shard = min(texts, settings["shard_texts"]) * grid.experiment.tokens.response_tokens
    # two shards as they were captured, and one as it is put into its columns
    host = shard * (8 * model.width if hidden else 60 * support)
    return replace(done, host=host, disk=done.disk + 4 * model.vocabulary * model.width * hidden)


def _evaluating(grid: Grid, artifact: Artifact) -> Workload:
    model, settings = _size(grid, dict(artifact.inputs)["model"]), grid.experiment.evaluation
    texts = examples_of(grid)["test"]
    tasks = sum(1 for task in settings.tasks if task != HELD_OUT)
    answers = tasks * (settings.items or texts) * len(settings.decoding_seeds)
    new_tokens = settings.max_new_tokens
    workload = _read_and_write(grid, model, texts, answers, new_tokens, disk_per_token=100)
    # exposure reads one teacher after another
    teachers = [input for role, input in artifact.inputs if role == "teacher"]
    caches = [input for role, input in artifact.inputs if role == "cache"]
    if teachers or any(cache.settings.get("tier") == "hidden" for cache in caches):
        more = (DENSE_LOGIT_BYTES - LOGIT_BYTES) * model.vocabulary
        workload = replace(workload, per_position=workload.per_position + more)
    largest = max((_size(grid, teacher).parameters for teacher in teachers), default=0)
    return replace(
        workload,
        loaded=workload.loaded + 4 * largest,
        resident=workload.resident + 6 * largest,
    )


def _judging(grid: Grid, artifact: Artifact) -> Workload:
    """Questions of a judge: each has one or two responses with the prompt and some words around."""
    settings, evaluation = artifact.settings, grid.experiment.evaluation
    answers = len(settings["tasks"]) * (evaluation.items or examples_of(grid)["test"])
    answers *= len(evaluation.decoding_seeds)
    questions = 2 * answers * max(1, len(settings["opponents"] or ()))
    if settings.get("served_model"):
        return Workload(seconds=questions / ASKED_AT_A_TIME)
    model = _size(grid, dict(artifact.inputs)["judge"])
    read = questions * (1 + 2 * evaluation.max_new_tokens // _positions(grid))
    return _read_and_write(grid, model, read, 0, 0, disk_per_token=10)


def _read_and_write(
    grid: Grid, model: Size, read: int, written: int, new: int, disk_per_token: int
) -> Workload:
    """Workload of a model that reads some texts and answers others, with `new` tokens at most."""
    length, prompt = _positions(grid), grid.experiment.tokens.prompt_tokens
    positions = read * length + written * (prompt // 2 + new)
    groups = math.ceil(written * (prompt + new) / BATCH_TOKENS)
    response = grid.experiment.tokens.response_tokens // 2
    return Workload(
        operations=2 * model.parameters * positions,
        step_positions=max(1, read * length),
        written_positions=groups * new,
        loaded=4 * model.parameters,
        resident=6 * model.parameters,
        per_position=8 * model.depth + LOGIT_BYTES * model.vocabulary,
        writer=_key_values(model) if written else 0,
        host=(read + written) * EXAMPLE_BYTES * 10,
        disk=disk_per_token * (read * response + written * new),
    )


def _preparing_model(grid: Grid, artifact: Artifact) -> Workload:
    model = _size(grid, artifact)
    return Workload(
        seconds=model.parameters / MB, host=12 * model.parameters, disk=4 * model.parameters
    )


def _preparation(grid: Grid, _: Artifact) -> Workload:
    """Reading and splitting data, training a tokenizer, tokenizing: a few milliseconds a text."""
    texts = sum(examples_of(grid).values())
    return Workload(
        seconds=texts / 200, host=texts * EXAMPLE_BYTES * 20, disk=texts * EXAMPLE_BYTES
    )


_WORK: dict[str, Callable[[Grid, Artifact], Workload]] = {  # by stage
    "prepare_model": _preparing_model,
    "train": _training,
    "generate": _writing,
    "ask": _asking,
    "cache_teacher": _caching,
    "evaluate": _evaluating,
    "judge": _judging,
}


def _size(grid: Grid, artifact: Artifact) -> Size:
    trained = grid.experiment.tokenizer
    return size(artifact, trained.vocabulary_size if trained else None)


def _key_values(model: Size) -> int:
    return BATCH_TOKENS * 8 * model.depth  # keys and values in float32


def _positions(grid: Grid) -> int:
    """Positions of a text: half of what is allowed."""
    return grid.experiment.tokens.longest // 2


def _mb(size: float) -> int:
    return math.ceil(size / MB)
