"""Whether each model has the positions for what it is to read and write, as far as can be told.

Of a folder the configuration is at hand, and a shape has as many as transformers gives a Llama. A
model of the hub or of a wheel is checked by the first job that has it, before it does any work.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.methods.method import Method
from pipeline.models.position_limits import SHAPE_POSITIONS, max_positions
from pipeline.settings.experiment import Experiment
from pipeline.settings.models import LayersOf, PathModel, Shape
from pipeline.tasks.definitions import TEST_SPLIT_TASKS

PROMPT = "tokens.prompt_tokens"


@dataclass(frozen=True)
class Need:
    """Positions that some texts take up, and the keys that say so."""

    keys: tuple[str, ...]
    values: tuple[int, ...]

    @property
    def positions(self) -> int:
        """Of the longest text."""
        return sum(self.values)

    def __str__(self) -> str:
        """The keys with their values."""
        pairs = zip(self.keys, self.values, strict=True)
        return f"{' + '.join(f'{key} ({value})' for key, value in pairs)} ask for {self.positions}"


def faults(experiment: Experiment, methods: list[Method]) -> list[str]:
    """A line for each model that is too short, naming the largest need."""
    found = []
    needs = list(_needs(experiment, methods))
    for name in dict.fromkeys(_used(experiment)):
        most = _limit(experiment, name)
        if most is None:
            continue
        if too_long := [need for need in needs if need.positions > most]:
            largest = max(too_long, key=lambda need: need.positions)
            found.append(f"models.{name}: it has {most} positions, and {largest}; lower them")
    return found


def _used(experiment: Experiment) -> Iterator[str]:
    for group in (experiment.teachers, experiment.students):
        yield from (one.model for one in group.values())


def _needs(experiment: Experiment, methods: list[Method]) -> Iterator[Need]:
    tokens, evaluation = experiment.tokens, experiment.evaluation
    prompt = tokens.prompt_tokens
    yield Need((PROMPT, "tokens.response_tokens"), (prompt, tokens.response_tokens))
    if any(one.text == "teacher" or one.relabelling_stages for one in methods):
        new = experiment.teacher_text.max_new_tokens
        yield Need((PROMPT, "teacher_text.max_new_tokens"), (prompt, new))
    if any(one.generates_text for one in methods):
        new = experiment.rollout_tokens
        yield Need((PROMPT, "rollout_tokens"), (prompt, new))
    if {"responses", "exposure"} & set(evaluation.tasks):
        key = "evaluation.max_new_tokens"
        yield Need((PROMPT, key), (prompt, evaluation.max_new_tokens))
    if evaluation.prompt_tokens and set(evaluation.tasks) - set(TEST_SPLIT_TASKS):
        keys = ("evaluation.prompt_tokens", "evaluation.max_new_tokens")
        yield Need(keys, (evaluation.prompt_tokens, evaluation.max_new_tokens))


def _limit(experiment: Experiment, name: str) -> int | None:
    model = experiment.models[name]
    if isinstance(model, LayersOf):
        return _limit(experiment, model.model)
    if isinstance(model, Shape):
        return SHAPE_POSITIONS
    if isinstance(model, PathModel) and (path := Path(model.path) / "config.json").is_file():
        return max_positions(json.loads(path.read_text(encoding="utf-8")))
    return None
