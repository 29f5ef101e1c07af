"""A small made-up experiment whose costs are known, for tests of what is shown of them."""

from dataclasses import replace
from pathlib import Path

import synthetic

from pipeline.reporting.analysis.comparisons import compare
from pipeline.reporting.analysis.findings import Comparisons
from pipeline.reporting.analysis.load import ReportInputs, read_grid, read_inputs
from pipeline.reporting.analysis.scores import assemble
from pipeline.reporting.costs.attribution import CostData, collect_costs
from pipeline.runtime.costs import JobCost
from pipeline.settings.report import ReportSettings

SMALL = synthetic.Experiment(
    students=("small",),
    methods=("sft", "forward_kl", "gkd", "seqkd"),
    cached=("forward_kl",),
    items=6,
    steps=40,
)
TRAINED = "students/large.forward_kl.small.s1-0a1b2c3d"


def written(folder: Path) -> ReportInputs:
    """What a report of it reads, made under `folder`."""
    return read_inputs(folder, read_grid(synthetic.write(folder, SMALL)), "docs-00000001")


def collect(inputs: ReportInputs) -> CostData:
    return collect_costs(inputs, assemble(inputs))


def with_costs(inputs: ReportInputs, **values: float | None) -> dict[str, JobCost]:
    return {id: replace(job, cost=replace(job.cost, **values)) for id, job in inputs.costs.items()}


def comparisons_of(data: CostData) -> Comparisons:
    settings = ReportSettings.model_validate(synthetic.settings(SMALL))
    return compare(data.results, settings)
