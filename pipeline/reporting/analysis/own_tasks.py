"""A user's own tasks behind a report: what they measure, and the files that they are made of."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace

from pipeline.artifacts.own_measures import MEASURES, OwnMeasure
from pipeline.reporting.analysis.metrics import KNOWN, Metric, unlisted
from pipeline.reporting.analysis.provenance import Manifests
from pipeline.settings.evaluation import TaskFolder

OwnMetrics = Mapping[str, Mapping[str, Metric]]  # by task and name
NO_OWN: OwnMetrics = {}


@dataclass(frozen=True)
class OwnTask:
    """A task of a folder of the user's, as its manifest has it."""

    name: str
    path: str  # "stage/id"
    folder: TaskFolder

    @property
    def digest(self) -> str:
        """Eight hex digits over all files that the task may read."""
        lines = sorted(f"{name} {digest}" for name, digest in self.files.items())
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:8]

    @property
    def files(self) -> dict[str, str]:
        """The digests of these files, those of the folder by their paths in there."""
        return {**self.folder.files, **self.folder.data}


def own_tasks(manifests: Manifests) -> list[OwnTask]:
    """The tasks that lm-eval doesn't define itself, in the order of their names."""
    jobs = {
        path: manifest["settings"]["task"]
        for path, manifest in manifests.items()
        if path.startswith("tasks/")
    }
    own = [
        OwnTask(job["task"], path, TaskFolder.model_validate(job["folder"]))
        for path, job in jobs.items()
        if job.get("folder")
    ]
    return sorted(own, key=lambda task: (task.name, task.path))


def metrics_of(*reports: Manifests) -> OwnMetrics:
    """How to show what such tasks measure, from the manifests of one or several reports."""
    return {
        task: {name: _metric(name, measure) for name, measure in metrics.items()}
        for manifests in reports
        for manifest in manifests.values()
        for task, metrics in manifest.get(MEASURES, {}).items()
    }


def _metric(name: str, measure: OwnMeasure) -> Metric:
    higher_is_better = measure["higher_is_better"]
    if measure["is_of_lm_eval"] and name in KNOWN:
        return replace(KNOWN[name], higher_is_better=higher_is_better)
    return unlisted(name, higher_is_better)
