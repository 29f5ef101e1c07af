"""The artifacts that the experiments of a results folder need, whether or not they are finished.

Each run leaves the list of its cells (`grid.csv`), and each artifact names its inputs in its
manifest, or its job file where it isn't made yet. So no configuration file has to be at hand.
"""

import csv
import json
from collections import defaultdict
from collections.abc import Iterable
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
        cells: dict[str, set[str]] = defaultdict(set)
        for folder in (self.results, self.results / job_files.FOLDER):
            for grid in sorted(folder.glob("*/grid.csv")):
                cells[grid.parent.name] |= _cell_ids(grid)
        return {experiment: self._with_inputs(ids) for experiment, ids in cells.items()}

    def _with_inputs(self, ids: Iterable[str]) -> set[str]:
        needed: set[str] = set()
        waiting = list(ids)
        while waiting:
            if (id := waiting.pop()) not in needed:
                needed.add(id)
                waiting += self._inputs(id)
        return needed

    def _inputs(self, id: str) -> set[str]:
        """The ids of the inputs of an artifact, as it was made and as it would be made."""
        inputs: set[str] = set()
        for artifact in (self.results / stage / id for stage in STAGES):
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
