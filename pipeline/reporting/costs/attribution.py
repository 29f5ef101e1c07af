"""How the costs of shared jobs are attributed to the trainings that they were run for.

The manifests say what a training was made from. In full, it pays for all of that, as if no other
training used it; amortised, a job is divided evenly among the trainings of the grid that use it, so
that over these trainings each job is paid once. The trials of a search are such jobs, for the
students that are trained at what was chosen. No training pays for evaluations.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
import pandas as pd

from pipeline.reporting.analysis import provenance
from pipeline.reporting.analysis.load import CELL, ReportInputs
from pipeline.reporting.analysis.provenance import Manifests, inputs_of
from pipeline.reporting.analysis.scores import Pair, Results, Row
from pipeline.reporting.analysis.searches import choice_path, trial_paths

STAGES = ("teachers/", "starts/", "texts/", "caches/", "students/")  # those that run models
PASSED_ON = ("choices/",)  # those that cost nothing but what they were made from
SUMS = (
    "seconds",
    "device_seconds",
    "flops",
    "energy_joules",
    "trained_tokens",
    "student_generated_tokens",
    "teacher_generated_tokens",
    "teacher_tokens",
)
MEMORY = "peak_memory_bytes"  # the highest peak: memory is neither added up nor divided
QUANTITIES = (*SUMS, MEMORY)
OWN, IN_FULL, AMORTISED = ACCOUNTS = ("own", "in full", "amortised")
TUNING = "tuning"  # the account of a training's trials, where its settings were tuned
VALIDATION = ("step", "seconds", "flops", "validation_nll_nats")


@dataclass(frozen=True)
class CostData:
    """The cost of every training under each accounting, and how good it was by then.

    In `costs`, by accounting and path, NaN is what was not measured, or what a training with a lost
    manifest behind it would pay for others.
    """

    inputs: ReportInputs
    results: Results
    trainings: pd.DataFrame  # teacher, student, method, seed and path, a row for each training
    paths: Mapping[tuple[str, ...], Mapping[int, str]]  # the same by cell, then by seed
    jobs: pd.DataFrame  # costs of each job by path, and how many trainings it was run for
    costs: pd.DataFrame  # QUANTITIES of each training by (account, path)
    validations: Mapping[str, Mapping[str, np.ndarray]]  # by path, where NLL was measured
    trials: frozenset[str] = frozenset()  # paths of what was trained only for a choice

    def title(self, teacher: str, student: str, scale: str) -> str:
        """The title of a comparison of the methods of a pair on one scale of cost."""
        return f"{self.results.title(Pair(teacher, student))}: {scale}"

    def trained(self, row: Row) -> Mapping[int, str]:
        """The trainings of a row of the main table, by seed."""
        return self.paths[row.cell]


def collect_costs(inputs: ReportInputs, results: Results) -> CostData:
    """Costs and validation curves of every training that the grid compares."""
    trainings = trainings_of(inputs.grid)
    paths = list(dict.fromkeys(trainings["path"]))
    used = _pairs(paths, _upstream(inputs.manifests))
    jobs = job_costs(inputs, sorted({*used["job"], *paths}))
    jobs["trainings"] = used["job"].value_counts().reindex(jobs.index, fill_value=0)
    paths_by_seed: dict[tuple[str, ...], dict[int, str]] = {}
    for *cell, seed, path in trainings.itertuples(index=False, name=None):
        paths_by_seed.setdefault(tuple(cell), {})[seed] = path
    costs = {
        OWN: jobs.loc[paths, list(QUANTITIES)],
        IN_FULL: _total(used, jobs).reindex(paths),
        AMORTISED: _total(used, _shares(jobs)).reindex(paths),
    }
    manifests = inputs.manifests
    trials = _pairs(paths, lambda path: trial_paths(manifests, choice_path(manifests, path)))
    if len(trials):
        costs[TUNING] = _total(trials, jobs).reindex(paths)
    return CostData(
        inputs,
        results,
        trainings,
        paths_by_seed,
        jobs,
        pd.concat(costs, names=["account", "path"]),
        {path: _validations(inputs, path) for path in paths},
        frozenset(trials["job"]),
    )


def trainings_of(grid: pd.DataFrame) -> pd.DataFrame:
    """The trainings of each teacher, student and method, ordered by seed.

    A training that is in the grid under several seeds is listed once, under the first of them.
    """
    methods = grid.query("kind == 'method'").sort_values("seed", kind="stable")
    trainings = methods.assign(path="students/" + methods["student_id"])
    return trainings.drop_duplicates([*CELL, "path"]).filter(items=[*CELL, "seed", "path"])


def job_costs(inputs: ReportInputs, paths: Iterable[str]) -> pd.DataFrame:
    """The costs of some jobs by their "stage/id"; NaN of one whose artifact was deleted."""
    paths = list(paths)
    jobs = [inputs.costs.get(path.partition("/")[2]) for path in paths]
    columns = {name: [job and getattr(job.cost, name) for job in jobs] for name in QUANTITIES}
    return pd.DataFrame(columns, index=pd.Index(paths, name="job"), dtype=float)


def total(jobs: pd.DataFrame) -> dict[str, float]:
    """The costs of all these jobs together; NaN where one of them was not measured."""
    sums = {name: float(jobs[name].to_numpy().sum()) for name in SUMS}
    return sums | {MEMORY: float(jobs[MEMORY].to_numpy().max())}


def _shares(jobs: pd.DataFrame) -> pd.DataFrame:
    shares = jobs[list(SUMS)].div(jobs["trainings"], axis=0)
    return shares.assign(**{MEMORY: jobs[MEMORY]})


def _total(used: pd.DataFrame, costs: pd.DataFrame) -> pd.DataFrame:
    """For each training the costs of all jobs that it uses, itself among them."""
    by_training = used.join(costs[list(QUANTITIES)], on="job").groupby("training")
    sums = pd.DataFrame(by_training[list(SUMS)].sum(skipna=False))
    return sums.assign(**{MEMORY: by_training[MEMORY].max()})


def _pairs(trainings: Iterable[str], jobs_of: Callable[[str], Iterable[str]]) -> pd.DataFrame:
    """A row for each training and each of its jobs."""
    pairs = [(training, job) for training in trainings for job in jobs_of(training)]
    return pd.DataFrame(pairs, columns=["training", "job"])


def _upstream(manifests: Manifests) -> Callable[[str], list[str]]:
    """The jobs that each training uses, itself among them; none where a manifest is lost."""

    @cache
    def used(job: str) -> frozenset[str] | None:
        """The jobs behind one, itself among them; None where a manifest is lost."""
        before: list[frozenset[str] | None] = [frozenset({job} if job.startswith(STAGES) else ())]
        for role, path in inputs_of(manifests, job).items():
            if path.startswith((*STAGES, *PASSED_ON)):
                before.append(used(path))
            elif provenance.is_lost(role, path, manifests):
                before.append(None)
        known = [jobs for jobs in before if jobs is not None]
        return frozenset().union(*known) if len(known) == len(before) else None

    return lambda training: sorted(used(training) or ())


def _validations(inputs: ReportInputs, path: str) -> dict[str, np.ndarray]:
    steps = inputs.training_steps[path.partition("/")[2]]
    measured = ~np.isnan(steps["validation_nll_nats"])
    return {name: steps[name][measured].astype(float) for name in VALIDATION}
