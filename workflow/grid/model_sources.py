"""Models before training: what the jobs that prepare them are told."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.settings.models import HubModel, LayersOf, Model, PathModel, Shape
from workflow.grid.digests import of_folder, of_tree


def settings_of(models: Mapping[str, Model], name: str, seed: int) -> dict[str, Any]:
    """The settings of the job of a model. Only fresh weights depend on a seed."""
    model = models[name]
    settings: dict[str, Any] = model.model_dump(mode="json")
    settings["seed"] = seed if isinstance(model, Shape) else 0
    if isinstance(model, LayersOf):
        settings["model"] = "base"  # the input's role: its name is of this configuration alone
        if isinstance(models[model.model], Shape):
            settings["seed"] = seed
    if isinstance(model, HubModel | PathModel) and model.tokenizer:
        folder = Path(model.tokenizer.name)
        if folder.is_dir():
            settings["tokenizer"]["digest"] = of_tree(folder)
    if isinstance(model, PathModel):
        settings["digest"] = of_folder(Path(model.path))
    if isinstance(model, Shape):
        del settings["tokenizer_of"]  # the input says it
    return settings
