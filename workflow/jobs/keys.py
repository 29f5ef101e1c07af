"""The keys of endpoints, looked for before any job."""

import sys
from collections.abc import Iterable

from workflow.grid.artifact import Artifact
from workflow.grid.grid import Grid
from workflow.jobs.stage_modules import SERVED


def refuse_missing(grid: Grid, artifacts: Iterable[Artifact]) -> None:
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
