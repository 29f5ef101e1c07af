"""The costs of a finished chain, counted anew from its files."""

from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from snaking import Copy

from pipeline.artifacts.artifact import read_json
from pipeline.data.batch import read_texts
from pipeline.runtime import costs
from pipeline.runtime.costs import JobCost
from workflow.config.validate import validate
from workflow.grid.artifact import Artifact
from workflow.grid.grid import Grid

pytestmark = [pytest.mark.xdist_group("chain_again"), pytest.mark.slow]
NOTHING_PAID = ("data", "tokens", "tokenizers", "models")
SUMS = {  # quantities of the report's tables, and the fields of which they are sums
    "cost.csv": {"flops": "flops", "time": "seconds"},
    "cost_tokens.csv": {
        "trained_on": "trained_tokens",
        "generated_by_student": "student_generated_tokens",
        "generated_by_teacher": "teacher_generated_tokens",
        "scored_by_teacher": "teacher_tokens",
    },
}


@pytest.fixture(scope="module")
def grid(tiny: dict[str, Any]) -> Grid:
    return Grid(validate(tiny))


def trained(grid: Grid) -> dict[str, Artifact]:
    return {cell.method: cell.model for cell in grid.cells if cell.kind == "method"}


def cost(chain: Copy, artifact: Artifact) -> JobCost:
    return costs.read(chain.folder / artifact.path / "cost.json")


def behind(artifact: Artifact) -> set[Artifact]:
    """Every job that an artifact was made by, as the grid says, not the manifests."""
    artifacts = set().union(*(behind(source) for _, source in artifact.inputs))
    return artifacts | ({artifact} if artifact.stage not in NOTHING_PAID else set())


def test_every_job_that_reads_a_model_says_what_it_took(chain: Copy, grid: Grid) -> None:
    for artifact in grid.artifacts.values():
        if artifact.stage in NOTHING_PAID:
            assert not (chain.folder / artifact.path / "cost.json").exists()
        elif artifact.stage != "tasks":
            took = cost(chain, artifact)
            assert took.cost.seconds > 0
            assert took.cost.flops
            assert took.parameters > 0


def test_what_a_training_took_is_in_its_steps(chain: Copy, grid: Grid) -> None:
    for student in trained(grid).values():
        steps = pd.read_parquet(chain.folder / student.path / "steps.parquet")
        took = cost(chain, student)
        assert took.cost.trained_tokens == steps["response_tokens"].sum()
        assert took.cost.flops == steps["flops"].iloc[-1]
        assert took.cost.seconds == pytest.approx(steps["seconds"].iloc[-1])
        assert steps["flops"].is_monotonic_increasing


def test_a_cached_teacher_is_read_once_for_all_and_never_by_the_student(
    chain: Copy, grid: Grid
) -> None:
    student = trained(grid)["jsd"]
    assert cost(chain, student).cost.teacher_tokens == 0
    cache = dict(student.inputs)["cache"]
    manifest = read_json(chain.folder / cache.path / "manifest.json")
    folder = chain.folder / grid.tokens().path
    texts = [
        text
        for split in manifest["settings"]["splits"]
        for text in read_texts(folder / f"{split}.parquet")
    ]
    took = cost(chain, cache)
    assert took.cost.teacher_tokens == sum(len(text.response_ids) for text in texts)
    assert took.cost.teacher_positions == sum(text.length for text in texts)


def test_the_report_charges_what_the_files_say(chain: Copy, grid: Grid) -> None:
    students = trained(grid)
    needs = {name: behind(student) for name, student in students.items()}
    users = Counter(job for jobs in needs.values() for job in jobs)
    paid = {job: cost(chain, job) for job in users}
    folder: Path = chain.folder / "results/tiny/report/tables"
    for file, columns in SUMS.items():
        table = pd.read_csv(folder / file)
        for quantity, field in columns.items():
            values = table[table["quantity"] == quantity].pivot_table(
                index="method", columns="account", values="value"
            )
            charged = {job: getattr(took.cost, field) for job, took in paid.items()}
            for name, student in students.items():
                row, jobs = values.loc[name], needs[name]
                shares = sum(charged[job] / users[job] for job in jobs)
                assert row["own"] == pytest.approx(charged[student])
                assert row["in full"] == pytest.approx(sum(map(charged.get, jobs)))
                assert row["amortised"] == pytest.approx(shares)
            amortised = values["amortised"].sum()  # one seed, one pair: no twins
            assert amortised == pytest.approx(sum(charged.values()))
