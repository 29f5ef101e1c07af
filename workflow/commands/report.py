"""The report of an experiment, or of those of its cells that are finished."""

import sys
from pathlib import Path

from workflow.commands import outcome, partial_report, run
from workflow.commands.partial_report import is_finished
from workflow.jobs.jobs import Jobs

EXAMPLES = 5  # of artifacts that a report reads, and that are gone
LOCAL = Path("workflow/profiles/local")


def main(*, config: Path, partial: bool) -> int:
    """Makes the report, and prints what it says, or the cells that a partial one lacks."""
    jobs = Jobs.of_file(config)
    return partial_report.make(jobs) if partial else _whole(jobs, config)


def _whole(jobs: Jobs, config: Path) -> int:
    cells = jobs.grid.cells
    missing = sum(not is_finished(jobs, cell) for cell in cells) if jobs.unfinished else 0
    if jobs.unfinished and not missing:
        lost = ", ".join(artifact.path for artifact in jobs.unfinished[:EXAMPLES])
        sys.exit(f"{jobs.experiment}: the report reads {lost}, to be made by `distilbench run`")
    if missing:
        sys.exit(
            f"{jobs.experiment}: {missing} of {len(cells)} cells are not finished: `distilbench "
            "run` runs what is left, and `distilbench report --partial` reports on the others"
        )
    if not jobs.is_reported:
        return run.main(config=config, cores="all", profile=LOCAL, tracker=None, snakemake=[])
    outcome.show(Path(jobs.report), f"{jobs.experiment}: {len(cells)} cells")
    return 0
