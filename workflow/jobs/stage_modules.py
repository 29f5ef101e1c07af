"""The modules behind an artifact: that of its stage, and those that the stage loads by name."""

from collections.abc import Mapping
from typing import Any

from pipeline.artifacts import stages
from pipeline.methods import components
from pipeline.methods.method import FIELDS
from workflow.grid.artifact import Artifact

REPORT = "pipeline.stages.report"


def modules_of(artifact: Artifact) -> tuple[str, tuple[str, ...]]:
    """The module of an artifact's stage, and those that the stage loads by name."""
    return f"pipeline.stages.{stage_of(artifact)}", _plugins(artifact.settings)


def stage_of(artifact: Artifact) -> str:
    """The stage that makes an artifact."""
    return stages.stage_of(artifact.stage, artifact.settings)


def _plugins(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """The modules that a training job loads by name: those of its own method."""
    method = settings.get("method")
    if method is None:
        return ()
    loaded = [
        f"pipeline.{folder}.{method[key]}" for folder, key in FIELDS.items() if method.get(key)
    ]
    inner = components.inner_losses(method["loss"], method["loss_settings"])
    return (*loaded, *(f"pipeline.losses.{name}" for name in inner))
