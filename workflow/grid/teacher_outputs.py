"""What a teacher gives its students, as artifacts: texts, and caches of its distributions."""

from typing import Any

from pipeline.settings.experiment import Experiment
from pipeline.settings.training import Precision
from workflow.grid.artifact import Artifact


def cache_of(
    experiment: Experiment,
    name: str,
    teacher: Artifact,
    tokens: Artifact,
    *,
    own_text: bool,
    draws: int | None,
    precision: Precision,
) -> Artifact:
    """The cache of a teacher on the data, or on its own responses; `precision` is its reader's."""
    settings = experiment.teacher_cache.model_dump(mode="json")
    if precision != "auto":  # so that a cache of the default keeps its id
        settings["precision"] = precision
    if own_text or draws:
        settings["splits"] = ["train"]
    if draws:
        settings |= {"draws": draws, "seed": experiment.seed}
        settings.pop("tier", None)  # draws take its place
    return Artifact.of("caches", name, settings, ("teacher", teacher), ("tokens", tokens))


def served_text(experiment: Experiment, name: str) -> dict[str, Any]:
    """The settings of a job that asks a teacher behind an endpoint for text.

    Its address is none of them: the same model at another address writes the same.
    """
    teacher = experiment.teachers[name]
    assert teacher.endpoint is not None
    served = {"served_model": teacher.model, "api": teacher.endpoint.api}
    return experiment.teacher_text.model_dump(mode="json") | served
