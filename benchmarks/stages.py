"""Where the time of a finished experiment went: by stage, in work and beside it.

python -m benchmarks.stages [--configfile config.yaml] [--out stages.json]

Read from what the run itself has noted: the wall seconds of each job, from its start to its end
(Snakemake's benchmark files), and of these the seconds of its work (`cost.json`: training steps,
writing, reading, scoring). The rest is loading, starting and saving. Stages without a `cost.json`
work with files alone.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from benchmarks import results
from pipeline.runtime import costs
from workflow.grid.artifact import Artifact
from workflow.jobs.jobs import Jobs


@dataclass(frozen=True)
class Row:
    """The jobs of a stage."""

    stage: str
    jobs: int
    seconds: float
    work_seconds: float | None

    @property
    def other_share(self) -> float | None:
        """The share of the time in which the stage's own work did not go on."""
        return 1 - self.work_seconds / self.seconds if self.work_seconds is not None else None


def row(stage: str, artifacts: Sequence[Artifact]) -> Row:
    """What the jobs of a stage took together."""
    paths = [Path("results/benchmarks", stage, f"{artifact.id}.tsv") for artifact in artifacts]
    seconds = sum(float(pd.read_csv(path, sep="\t")["s"].sum()) for path in paths)
    files = [Path(artifact.path) / costs.FILE for artifact in artifacts]
    has_cost = all(path.exists() for path in files)
    work = sum(json.loads(path.read_text())["seconds"] for path in files) if has_cost else None
    return Row(stage, len(artifacts), seconds, work)


def measured(artifacts: Iterable[Artifact]) -> list[Row]:
    """A row for each stage, the longest first. Raises FileNotFoundError for what has not run."""
    stages: dict[str, list[Artifact]] = {}
    for artifact in artifacts:
        stages.setdefault(artifact.stage, []).append(artifact)
    rows = [row(stage, made) for stage, made in stages.items()]
    return sorted(rows, key=lambda row: -row.seconds)


def main() -> None:
    """Prints a table, and writes it as JSON."""
    parser = results.parser(__doc__, "stages.json")
    parser.add_argument("--configfile", type=Path, default=Path("config.yaml"))
    options = parser.parse_args()
    jobs = Jobs.of_file(options.configfile)
    rows = measured(jobs.grid.artifacts.values())
    print(f"{'stage':<12}{'jobs':>6}{'seconds':>10}{'in work':>10}{'beside':>8}")
    for row in rows:
        work = "" if row.work_seconds is None else f"{row.work_seconds:.1f}"
        beside = "" if row.other_share is None else f"{row.other_share:.0%}"
        print(f"{row.stage:<12}{row.jobs:>6}{row.seconds:>10.1f}{work:>10}{beside:>8}")
    counted = [row for row in rows if row.work_seconds is not None]
    seconds = sum(row.seconds for row in counted)
    share = 1 - sum(row.work_seconds or 0 for row in counted) / seconds
    print(f"beside the work of models: {share:.0%} of {seconds:.0f} s")
    results.write(options.out, rows)


if __name__ == "__main__":
    main()
