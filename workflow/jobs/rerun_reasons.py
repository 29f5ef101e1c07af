"""Why a job would run, in words, from the artifacts on disk and those of earlier runs."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from workflow.grid.artifact import Artifact
from workflow.jobs.condition import State, read_manifest
from workflow.jobs.jobs import Jobs
from workflow.jobs.needed import Recorded
from workflow.jobs.previous_runs import ArtifactStore, Manifest, input_changes, setting_changes
from workflow.jobs.source_hash import changed_files, recorded, sources
from workflow.jobs.stage_modules import REPORT, modules_of

RESULTS = Path("results")
# of a report's settings: the configuration as it is written, and as it is read
CONFIGURATION = ("given", "config", "methods", "contrasts")


@dataclass(frozen=True)
class Reason:
    """Why one job would run."""

    kind: str  # new, renamed, settings, inputs, code, lost, unfinished or damaged
    text: str  # equal for jobs that one change makes run
    was: str = ""  # the artifact whose place this one takes
    inputs: tuple[str, ...] = ()  # those that it doesn't share with that one


@dataclass(frozen=True, eq=False)
class Reasons:
    """The reasons of an experiment's jobs."""

    jobs: Jobs
    store: ArtifactStore

    @cached_property
    def _used(self) -> set[str]:
        return {artifact.id for artifact in self.jobs.artifacts}

    @cached_property
    def _last(self) -> set[str]:
        """The ids of all artifacts behind the last report of this experiment."""
        return Recorded(self.store.results).behind(Path(self.jobs.grid_csv))

    def previous(self, artifact: Artifact) -> str:
        """The id of the artifact whose place this one takes, or nothing."""
        return self.store.previous(artifact, self._used, self._last)

    def of(self, artifact: Artifact) -> Reason:
        """Why the job of an unfinished artifact would run."""
        condition = self.jobs.condition(artifact)
        if condition.state is State.DAMAGED:
            return Reason("damaged", condition.damage)
        if condition.state is State.OUTDATED:
            return self._of_outdated(artifact)
        if reason := _of_lost(artifact):
            return reason
        former = self.store.renamed(artifact)
        if former and former not in self._used:
            return Reason("renamed", "renamed: a name is a part of an id, so it is new", former)
        before = self.previous(artifact)
        manifest = self.store.manifest(artifact.stage, before) if before else None
        if manifest is None:
            return Reason("new", "new")
        settings = "; ".join(map(str, setting_changes(manifest, artifact.settings)))
        inputs = input_changes(manifest, artifact)
        kind, text = "inputs", f"made from other inputs: {', '.join(each.path for each in inputs)}"
        if before not in self._last:  # another experiment's, or of a run without a report
            kind = text = "new"
        elif settings:
            kind, text = "settings", f"settings changed: {settings}"
        return Reason(kind, text, before, tuple(map(str, inputs)))

    def _of_outdated(self, artifact: Artifact) -> Reason:
        manifest = read_manifest(Path(artifact.path)) or {}
        old = recorded(str(manifest.get("code")))
        if old is None:
            return Reason("code", "code changed: no record of which files")
        if files := changed_files(old, sources(*modules_of(artifact))):
            return Reason("code", f"code changed: {', '.join(files)}")
        inputs = [
            role for role, input in artifact.inputs if self.jobs.state(input) is not State.FINISHED
        ]
        roles = ", ".join(dict.fromkeys(inputs))
        return Reason("code", f"code of its inputs changed: {roles or 'remade since'}")

    def of_grid(self) -> Reason:
        """Why `grid.csv` would be written."""
        condition = self.jobs.grid_condition
        if condition.state is State.ABSENT:
            return Reason("new", "new")
        if condition.state is State.DAMAGED:
            return Reason("damaged", condition.damage)
        if condition.state is State.OUTDATED:
            return Reason("inputs", "its cells changed")
        return Reason("inputs", "its evaluations are remade")

    def of_report(self) -> Reason:
        """Why the report would be made."""
        condition = self.jobs.report_condition
        if condition.state is State.DAMAGED:
            return Reason("damaged", condition.damage)
        manifest = read_manifest(Path(self.jobs.report))
        if manifest is None:
            return Reason("new", "new")
        job = self.jobs.report_job
        if settings := setting_changes(manifest, job["settings"]):
            own = [change for change in settings if change.path.split(".")[0] not in CONFIGURATION]
            changed = "; ".join(map(str, own)) or "the configuration"
            return Reason("settings", f"settings changed: {changed}")
        old = recorded(str(manifest.get("code")))
        files = changed_files(old, sources(REPORT)) if old else ()
        if files:
            return Reason("code", f"code changed: {', '.join(files)}")
        return Reason("inputs", "its evaluations were changed or remade")


def _of_lost(artifact: Artifact) -> Reason | None:
    """The reason to remake an artifact that was begun or finished before; None if it wasn't."""
    state = RESULTS / "state" / artifact.id
    if state.exists():
        return Reason("unfinished", "cut off: resumes from its saved state")
    if (RESULTS / "benchmarks" / artifact.stage / f"{artifact.id}.tsv").exists():
        return Reason("lost", "lost: it was made before, and is no longer there")
    log = RESULTS / "logs" / artifact.stage / f"{artifact.id}.log"
    if log.exists():
        return Reason("unfinished", f"failed or cut off before: results/logs/{artifact.stage}/")
    return None


def configuration_changes(manifest: Manifest, jobs: Jobs) -> list[str]:
    """The changes of the configuration, as it is written, since the report of the manifest."""
    old, new = _written(manifest.get("settings", {})), _written(jobs.report_job["settings"])
    old_methods, new_methods = old.pop("methods", {}), new.pop("methods", {})
    added = [name for name in new_methods if name not in old_methods]
    removed = [name for name in old_methods if name not in new_methods]
    signed = (("+", added), ("-", removed))
    signs = "; ".join(f"{sign} {', '.join(names)}" for sign, names in signed if names)

    old["methods"] = {name: old_methods[name] for name in new_methods if name in old_methods}
    new["methods"] = {name: new_methods[name] for name in old["methods"]}
    changes = setting_changes({"settings": old}, new)
    return [*([f"methods: {signs}"] if signs else []), *map(str, changes)]


def _written(settings: Mapping[str, Any]) -> dict[str, Any]:
    return json.loads(settings.get("given") or "{}")
