"""A tiny grid whose models are trained by two tasks on two nodes, beside that of one process.

    python tests/slurm_two_tasks.py FOLDER [METHOD ...]  # by default every method of the catalogue

runs it outside of the suite, on a SLURM of its own, and prints where the scores differ most.
"""

import json
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import slurm_cluster
from slurm_cluster import Cluster
from slurm_snakemake import TASKS, started, two_task_profile
from snaking import TINY, Copy, edited, fresh_copy, write_examples

from pipeline.artifacts import schemas
from pipeline.methods.catalogue import METHODS
from workflow.config.validate import validate
from workflow.grid.grid import Grid

LOOK_SECONDS = 0.3
REMADE = ("teachers", "starts", "students", "texts", "caches", "evals")  # by jobs of several ranks
JOBS = 6  # at once: most of their time they wait

Scores = dict[tuple[str, ...], float]


@dataclass(frozen=True)
class Experiment:
    """A tiny grid in a copy of the project."""

    project: Copy
    config: Mapping[str, Any]

    @property
    def grid(self) -> Grid:
        return Grid(validate(dict(self.config)))

    def students(self) -> dict[str, str]:
        """The folder of each method's student."""
        grid = self.grid
        return {
            method: grid.student(method, "small", "large", 1).path
            for method in self.config["methods"]
        }

    def path(self, path: str) -> Path:
        return self.project.folder / path

    def make(self, *options: str) -> None:
        """Makes what is missing on this machine, by default as one process for each job."""
        done = self.project.snakemake(self.config, "--cores=2", *options, preloaded=True)
        assert done.returncode == 0, done.stdout + done.stderr + self.project.logs()

    def scores(self) -> Scores:
        """All scores of the report, by evaluation, task, slice and metric."""
        file = self.path(f"results/{self.config['experiment']}/report/scores.parquet")
        table = schemas.read(file, schemas.SCORES).to_pandas()
        names = table[["id", "task", "slice", "metric"]].itertuples(index=False, name=None)
        return dict(zip(names, table["value"], strict=True))

    def set_aside(self, folder: Path, stages: Sequence[str]) -> None:
        """Moves what a run has made out of the way, with the report on it."""
        folder.mkdir()
        for made in (self.path("results") / name for name in (*stages, self.config["experiment"])):
            if made.is_dir():
                shutil.move(made, folder)


def experiment(folder: Path, examples: Path, methods: Mapping[str, Any]) -> Experiment:
    """A tiny experiment in a fresh copy of the project."""
    plain = folder / "plain.txt"
    plain.write_text("\n\n".join(examples.read_text().splitlines()))
    changes = {
        "experiment": "two_tasks",
        "data.examples.train": str(examples),
        "data.examples.plain_text": str(plain),
        "methods": dict(methods),
        "teachers.large.training.steps": 40,
    }
    (folder / "project").mkdir()
    return Experiment(fresh_copy(folder / "project"), edited(TINY, changes))


def on_two_nodes(
    made: Experiment,
    cluster: Cluster,
    folder: Path,
    targets: Sequence[str],
    faults: Sequence[Iterator[None]] = (),
) -> None:
    """Has jobs of two tasks make the targets, from preloaded libraries."""
    name, output = f"{made.config['experiment']}.json", folder / "snakemake.out"
    made.path(name).write_text(json.dumps(made.config))
    machine = two_task_profile(folder / "two_tasks", JOBS)
    with started(made.project, name, machine, output, *targets, preloaded=True) as run:
        while run.poll() is None:
            for fault in faults:
                next(fault, None)
            time.sleep(LOOK_SECONDS)
    assert run.returncode == 0, output.read_text() + made.project.logs() + cluster.logs()


def differences(scores: Scores, other: Scores) -> Scores:
    """How far each score of a run is from that of another, which has the same ones."""
    assert scores.keys() == other.keys()
    return {name: abs(value - other[name]) for name, value in scores.items()}


def main() -> None:
    """Makes the grid twice, and prints how far its scores are apart."""
    folder = Path(sys.argv[1])
    methods = dict.fromkeys(sys.argv[2:] or METHODS)
    folder.mkdir(parents=True)
    made = experiment(folder, write_examples(folder / "examples.jsonl"), methods)
    began = time.monotonic()
    made.make("--quiet")
    of_one = made.scores()
    print(f"one process: {time.monotonic() - began:.0f} s", flush=True)
    made.set_aside(folder / "aside", REMADE)
    began = time.monotonic()
    (folder / "cluster").mkdir()
    with slurm_cluster.running(folder / "cluster") as cluster:
        on_two_nodes(made, cluster, folder, [])
        seconds, jobs = time.monotonic() - began, cluster.jobs()
    shared = [job for job in jobs if job["NumTasks"] == str(TASKS)]
    print(f"SLURM: {seconds:.0f} s, {len(jobs)} jobs, {len(shared)} of two tasks")
    apart = differences(made.scores(), of_one)
    print(f"{len(apart)} scores, {sum(value == 0 for value in apart.values())} the same")
    for name in sorted(apart, key=lambda name: -apart[name])[:10]:
        print(f"{apart[name]:.2g} of {of_one[name]:.4g}: {', '.join(name)}")


if __name__ == "__main__":
    main()
