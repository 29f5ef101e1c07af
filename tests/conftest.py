"""What several tests share: a copy of the project, a tiny experiment, and its finished chain."""

import compileall
import gc
import os
import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import costing
import pytest
import slurm_cluster
import torch
from annotations import unchecked
from filelock import FileLock
from pretend_ledger import Ledger
from pretend_runtime import pretended
from reports import ONE_SEED, SMALL, Made, make
from slurm_cluster import Cluster
from slurm_snakemake import PLUGIN
from snaking import ROOT, TINY, Copy, edited, fresh_copy, write_examples

from pipeline.reporting.analysis.load import ReportInputs
from pipeline.reporting.costs.attribution import CostData
from workflow.grid.artifact import canonical

# groups of tests, which one worker runs after each other
LONGEST = (
    *("slurm", "chain", "faults", "chain_again", "ranks", "report", "graph_counts"),
    *("damage", "tutorials", "gpu_check", "exact_scores"),
)

torch.set_num_threads(1)
# models of one layer: on a GPU, starting it would take longer than all that they do
os.environ["CUDA_VISIBLE_DEVICES"] = ""
# a copy's source that is edited twice in a second would have the bytecode of the first time
os.environ["PYTHONDONTWRITEBYTECODE"] = "1"


def pytest_configure() -> None:
    """Compiles the project once: each of some hundred processes would do it again."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        for package in ("pipeline", "workflow"):
            compileall.compile_dir(ROOT / package, quiet=1)


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all workers of this run of the tests see."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def examples(shared: Path) -> Path:
    """A file of examples."""
    with FileLock(shared / "examples.lock"):
        return write_examples(shared / "examples.jsonl")


@pytest.fixture(scope="session")
def tiny(examples: Path) -> dict[str, Any]:
    """The configuration of a tiny experiment."""
    return edited(TINY, {"data.examples.train": str(examples)})


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Copy:
    """A copy of the project's source, to run Snakemake in."""
    copy = fresh_copy(tmp_path_factory.mktemp("project"))
    # a user of another experiment has the default one lying beside it
    other = edited(TINY, {"models.unused": TINY["models"]})
    (copy.folder / "config.yaml").write_text(canonical(other))
    return copy


@pytest.fixture(scope="session")
def chain(project: Copy, tiny: dict[str, Any], shared: Path) -> Copy:
    """The copy after the tiny experiment's whole chain. Its users share an xdist group.

    It runs once, in the first worker that needs it.
    """
    finished = shared / "chain"
    with FileLock(shared / "chain.lock"):
        if finished.exists():
            shutil.copytree(finished, project.folder, symlinks=True, dirs_exist_ok=True)
        else:
            done = project.snakemake(tiny, "--cores", "2", "--quiet", preloaded=True)
            assert done.returncode == 0, done.stdout + done.stderr + project.logs()
            shutil.copytree(project.folder, finished, symlinks=True)
    return project


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A SLURM for all tests of a file. Its users share an xdist group."""
    if (reason := slurm_cluster.missing()) is not None:
        pytest.skip(reason)
    if not PLUGIN.is_dir() and find_spec("snakemake_executor_plugin_slurm") is None:
        pytest.skip(f"the executor plugin is neither installed nor in {PLUGIN}: run `make test`")
    with slurm_cluster.running(tmp_path_factory.mktemp("cluster")) as started:
        yield started


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A report on made-up results. Its users share an xdist group."""
    return make(tmp_path_factory.mktemp("report"), SMALL)


@pytest.fixture(scope="session")
def one_seed(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A report on one seed, whose models wrote what should do nothing. Its users share a group."""
    return make(tmp_path_factory.mktemp("one_seed"), ONE_SEED)


@pytest.fixture(scope="session")
def cost_inputs(tmp_path_factory: pytest.TempPathFactory) -> ReportInputs:
    """What a report of a small experiment reads, whose costs are known."""
    return costing.written(tmp_path_factory.mktemp("costs"))


@pytest.fixture(scope="session")
def cost_data(cost_inputs: ReportInputs) -> CostData:
    """The costs of that experiment's trainings."""
    return costing.collect(cost_inputs)


@pytest.fixture
def traceable() -> Iterator[None]:
    """Annotations are not checked: torch's tracer would take the checks for a part of the code."""
    with unchecked():
        yield


@pytest.fixture
def gpu() -> Iterator[Ledger]:
    """A GPU is pretended; gives what it notes."""
    with pretended() as ledger:
        yield ledger


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Keeps what is loaded and collected, which is there to stay, out of garbage collections."""
    gc.disable()
    collected = yield
    gc.freeze()
    gc.set_threshold(10_000)  # objects: of what tests make, little is garbage before they end
    gc.enable()
    return collected


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What the fault-injection tests have done, and how often it was survived: a line for each."""
    totals: dict[str, list[int]] = {}
    for ended in ("passed", "failed"):
        for report in terminalreporter.stats.get(ended, []):
            for name, value in report.user_properties if report.when == "call" else []:
                if name == "summary":
                    terminalreporter.write_line(value)
                if name == "injected":
                    kind, count = value
                    counts = totals.setdefault(kind, [0, 0])
                    counts[0] += count if ended == "passed" else 0
                    counts[1] += count
    for kind, (survived, injected) in totals.items():
        terminalreporter.write_line(f"faults: {survived} of {injected} {kind} survived")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks what runs Snakemake in a copy of the project as slow; the longest groups come first."""
    for item in items:
        if isinstance(item, pytest.Function) and "project" in item.fixturenames:
            item.add_marker(pytest.mark.slow)
    items.sort(key=_start)


def _start(item: pytest.Item) -> int:
    mark = item.get_closest_marker("xdist_group")
    return LONGEST.index(mark.args[0]) if mark and mark.args[0] in LONGEST else len(LONGEST)
