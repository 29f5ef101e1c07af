"""Copies what an experiment found to results/published/, where git keeps it."""

import argparse
import shutil
from pathlib import Path

RESULTS = Path("results")


def publish(experiment: str, results: Path) -> Path:
    """The folder with the report and the cells behind it. Raises ValueError if there is none."""
    report, grid = results / experiment / "report", results / experiment / "grid.csv"
    if not (report / "index.html").exists():
        raise ValueError(f"{report} is not there yet: run the experiment {experiment} first")
    target = results / "published" / experiment.replace("_", "-")
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(report, target, ignore=shutil.ignore_patterns(".snakemake*"))
    shutil.copy(grid, target)
    return target


def main() -> None:
    """Publishes one experiment."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("experiment")
    print(publish(parser.parse_args().experiment, RESULTS))


if __name__ == "__main__":
    main()
