"""The artifacts that the experiments of a results folder need, whether or not they are finished.

Each run leaves the list of its cells (`grid.csv`), and each artifact names its inputs in its
manifest, or its job file where it isn't made yet. So no configuration file has to be at hand.
"""

import csv
import json
from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pipeline.artifacts.stages import STAGES
from workflow.jobs import job_files
from workflow.jobs.condition import read_manifest


@dataclass(frozen=True)
class Recorded:
    """What a results folder itself says of its experiments."""

    results: Path

    @cached_property
    def experiments(self) -> dict[str, set[str]]:
        """The ids of all artifacts that each experiment needs, by the experiment's name.

        Empty where its `grid.csv` can't be read.
        """
        grids: dict[str, list[Path]] = defaultdict(list)
        for folder in (self.results, self.results / job_files.FOLDER):
            for grid in sorted(folder.glob("*/grid.csv")):
                grids[grid.parent.name].append(grid)
        return {experiment: self.behind(*of) for experiment, of in grids.items()}

    def behind(self, *grids: Path) -> set[str]:
        """The ids of all artifacts that the cells of some lists need; none of a damaged one."""
        needed: set[str] = set()
        waiting = [id for grid in grids for id in _cell_ids(grid)]
        while waiting:
            if (id := waiting.pop()) not in needed:
                needed.add(id)
                waiting += self._inputs(id)
        return needed

    @cached_property
    def _folders(self) -> dict[str, list[Path]]:
        """The folders of artifacts by their ids: of what was made, and of what jobs would make."""
        folders: dict[str, list[Path]] = defaultdict(list)
        for stage in STAGES:
            made = {path.name for path in (self.results / stage).glob("*")}
            jobs = (self.results / job_files.FOLDER / stage).glob("*.json")
            for id in made.union(path.stem for path in jobs):
                folders[id].append(self.results / stage / id)
        return folders

    def _inputs(self, id: str) -> set[str]:
        """The ids of the inputs of an artifact, as it was made and as it would be made."""
        inputs: set[str] = set()
        for artifact in self._folders.get(id, ()):
            manifest = read_manifest(artifact) or {}
            inputs |= {str(input) for input in (manifest.get("inputs") or {}).values()}
            inputs |= _job_inputs(artifact)
        return inputs


def _job_inputs(artifact: Path) -> set[str]:
    try:
        job = json.loads(job_files.path_of(artifact).read_bytes())
        return {Path(path).name for _, path in job["inputs"]}
    except (OSError, ValueError, KeyError, TypeError):  # there is none, or it is damaged
        return set()


def _cell_ids(grid: Path) -> set[str]:
    """The ids in the columns of a `grid.csv`; empty where it is not as it was written."""
    try:
        rows = list(csv.DictReader(grid.read_text(encoding="utf-8").splitlines()))
    except (OSError, ValueError, csv.Error):
        return set()
    columns = [column for column in (rows[0] if rows else ()) if str(column).endswith("_id")]
    return {row[column] for row in rows for column in columns if row[column]}
