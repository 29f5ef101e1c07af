"""Flags of jobs that their results do not depend on, and the keys that endpoints need."""

import sys
from collections.abc import Iterable

from pipeline.artifacts.stages import SERVED
from workflow.grid.artifact import Artifact
from workflow.grid.grid import Grid


def flags_of(grid: Grid, artifact: Artifact) -> list[str]:
    """The flags of an artifact's job."""
    if artifact in grid.trials:
        return ["--may-diverge"]
    served = artifact.settings.get(SERVED)
    endpoints = dict(grid.experiment.endpoints.values())
    return ["--endpoint", endpoints[served].model_dump_json()] if served else []


def refuse_missing_keys(grid: Grid, artifacts: Iterable[Artifact]) -> None:
    """Ends the process, with a line for each fault, where a job would lack its key."""
    served = {artifact.settings.get(SERVED) for artifact in artifacts}
    faults = []
    for name, (model, endpoint) in grid.experiment.endpoints.items():
        if model in served and endpoint.api_key is not None:
            try:
                _ = endpoint.key
            except ValueError as error:
                faults.append(f"{name}.endpoint.api_key: {error}")
    if faults:
        sys.exit("\n".join(faults))
