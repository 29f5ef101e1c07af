"""What a teacher gives its students, as artifacts: texts, and caches of its distributions."""

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


def served_text(
    experiment: Experiment,
    teacher: str,
    name: str,
    data_and_tokens: tuple[Artifact, Artifact],
    **part: str,
) -> Artifact:
    """The text of a teacher behind an endpoint.

    Its address is no part of the settings: the same model at another address writes the same.
    """
    data, tokens = data_and_tokens
    served, endpoint = experiment.endpoints[f"teachers.{teacher}"]
    settings = experiment.teacher_text.model_dump(mode="json") | part
    settings |= {"served_model": served, "api": endpoint.api}
    return Artifact.of("texts", name, settings, ("data", data), ("tokens", tokens))
