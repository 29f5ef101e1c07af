"""Time and memory of the commands on a large grid, before any of its jobs and after all.

python -m benchmarks.scale [--cells 10000] [--items 20] [--out scale.json]

Seconds of the clock and of the processor, and the peak of memory, of each command on a copy of the
project, whose artifacts are made up: manifests for the workflow, for the report score files and the
manifests that list them, so that reading them is checking them. A loaded machine shows in the first
column alone. Memory is that of all processes of a command together, looked at once a second.

What bounds them: Snakemake takes about 2 ms and 20 kB for each job that is to run, so a fresh grid
of 10,000 cells needs a minute and 0.8 GB; a finished one is a file to read for each artifact. The
report is bounded by reading three small tables a cell, at some 40 µs a column, and by its plots,
which hardly grow with the grid. Beyond some 50,000 cells split the grid into experiments: what they
share is made once.
"""

import contextlib
import importlib
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks import results
from benchmarks.copies import ROOT, copy_project
from pipeline.artifacts.artifact import Job, provenance
from pipeline.artifacts.checksums import MANIFEST, with_checksum
from workflow.grid.artifact import canonical
from workflow.jobs import grid_csv
from workflow.jobs.jobs import Jobs

METHODS, MODELS = 25, 4  # methods, and teachers and students each; the rest of the cells are seeds
ROWS = 20  # of the data, which no job reads
CONFIG = "grid.json"
POLL_SECONDS = 1.0  # between two looks at the memory, which take some milliseconds each
BYTES = 12_345
FILES = {f"file{number}": {"bytes": BYTES, "sha256": "0" * 64} for number in range(4)}


@dataclass(frozen=True)
class Row:
    """What one command took."""

    what: str
    seconds: float
    processor_seconds: float
    peak_mb: float


def experiment(cells: int, examples: str) -> dict[str, Any]:
    """The configuration of a grid with about this number of trained students."""
    shape = {"source": "shape", "layers": 1, "heads": 2}
    sizes = {f"m{number}": shape | {"width": 16 * number} for number in range(1, 2 * MODELS + 1)}
    seeds = max(1, round(cells / METHODS / MODELS**2))
    methods = {
        f"jsd{number}": {"method": "jsd", "teacher_weight": number / 100}
        for number in range(1, METHODS + 1)
    }
    return {
        "experiment": "large_grid",
        "data": {
            "examples": {"source": "files", "train": examples, "validation": 1, "test": 1},
            "template": {"with_input": "{input}", "without_input": "{instruction}"},
        },
        "tokenizer": {"vocabulary_size": 320},
        "models": sizes,
        "teachers": {
            f"t{number}": {"model": f"m{number + MODELS}"} for number in range(1, MODELS + 1)
        },
        "students": {f"s{number}": {"model": f"m{number}"} for number in range(1, MODELS + 1)},
        "training": {"steps": 100},
        "initial_sft": {"steps": 10},
        "methods": methods,
        "grid": [{"seeds": list(range(1, seeds + 1))}],
    }


@contextlib.contextmanager
def project(cells: int) -> Iterator[Path]:
    """A copy of the project with such a configuration, and another that differs in one method."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copy_project(folder)
        rows = (
            f'{{"instruction": "{number}", "input": "", "output": "b"}}\n' for number in range(ROWS)
        )
        (folder / "examples.jsonl").write_text("".join(rows))
        config = experiment(cells, "examples.jsonl")
        (folder / CONFIG).write_text(json.dumps(config))
        config["methods"]["jsd1"]["teacher_weight"] = 0.99
        (folder / f"changed.{CONFIG}").write_text(json.dumps(config))
        yield folder


def finish(folder: Path) -> None:
    """Manifests as if every job had run, and files of the sizes that they tell."""
    with contextlib.chdir(folder):
        jobs = Jobs.of_file(Path(CONFIG))
        like_any = provenance(Job("", "", {}), {}) | {"files": FILES}
        for artifact in jobs.grid.artifacts.values():
            inputs = {
                f"{role}-{number}": other.id for number, (role, other) in enumerate(artifact.inputs)
            }
            job = {"id": artifact.id, "code": jobs.code(artifact), "settings": artifact.settings}
            _manifest(Path(artifact.path), like_any | job | {"inputs": inputs})
        results = Path("results", jobs.experiment)
        _manifest(results / "report", like_any | jobs.report_job)
        (results / "grid.csv").write_bytes(grid_csv.text(grid_csv.rows(jobs.grid)).encode())


def _manifest(folder: Path, made: dict[str, Any]) -> None:
    folder.mkdir(parents=True)
    for name in FILES:
        (folder / name).touch()
        os.truncate(folder / name, BYTES)  # without a block on the disk
    (folder / MANIFEST).write_text(json.dumps(with_checksum(made), indent=1))


def _apart(work: Callable[[Path], None], folder: Path) -> None:
    """In a process of its own: the peak of a child counts what its parent held when it began."""
    process = multiprocessing.get_context("spawn").Process(target=work, args=(folder,))
    process.start()
    process.join()
    if process.exitcode != 0:
        raise ValueError(f"{work.__name__} ended with {process.exitcode}")


def measured(what: str, folder: Path, *command: str, ends: Sequence[int] = (0,)) -> Row:
    """What a Python module takes. Raises ValueError if it ends with another status."""
    began, ended = time.monotonic(), threading.Event()
    with ThreadPoolExecutor(1) as watcher, tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *command], cwd=folder, stdout=output, stderr=subprocess.STDOUT
        )
        peak = watcher.submit(_peak, process.pid, ended)
        _, status, usage = os.wait4(process.pid, 0)
        ended.set()
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        tail = output.read().decode()[-2000:]
    if process.returncode not in ends:
        raise ValueError(f"{' '.join(command[:3])} ended with {process.returncode}: {tail}")
    seconds, used = time.monotonic() - began, usage.ru_utime + usage.ru_stime
    row = Row(what, seconds, used, max(peak.result() / 1e6, usage.ru_maxrss / 1000))
    print(_line(row), flush=True)
    return row


def _peak(command: int, ended: threading.Event) -> int:
    peak = 0
    while not ended.wait(POLL_SECONDS):
        peak = max(peak, _memory(command))
    return peak


def _memory(command: int) -> int:
    """Bytes of a process and of all that it has begun, what they share counted once."""
    total = 0
    with contextlib.suppress(psutil.NoSuchProcess):  # it may end at any moment
        first = psutil.Process(command)
        for process in (first, *first.children(recursive=True)):
            total += process.memory_full_info().pss
    return total


def of_workflow(cells: int) -> Iterator[Row]:
    """What the workflow takes before and after such a grid has run."""
    dry_run = ("snakemake", "--dry-run", "--quiet", "all", "--configfile")
    plan = ("workflow.commands.main", "plan")
    with project(cells) as folder:
        yield measured("dry run, nothing done", folder, *dry_run, CONFIG)
        yield measured("plan, nothing done", folder, *plan, CONFIG, ends=(3,))
        _apart(finish, folder)
        yield measured("dry run, all done", folder, *dry_run, CONFIG)
        yield measured("plan, all done", folder, *plan, CONFIG)
        yield measured("status, all done", folder, "workflow.commands.main", "status", CONFIG)
        changed = f"changed.{CONFIG}"
        yield measured("dry run, one method changed", folder, *dry_run, changed)
        yield measured("plan, one method changed", folder, *plan, changed, ends=(3,))
        student = next((folder / "results/students").iterdir())
        shutil.rmtree(student)
        path = str(student.relative_to(folder))
        single = measured("dry run of one student", folder, *dry_run, CONFIG, "--", path)
        yield single


def of_report(cells: int, items: int) -> Iterator[Row]:
    """Time and memory of the report on synthetic evaluations."""
    sys.path.append(str(ROOT / "tests"))
    synthetic = importlib.import_module("synthetic")
    seeds = max(1, round(cells / METHODS / 4))
    methods = tuple(f"method{number}" for number in range(METHODS))
    made = synthetic.Experiment(
        name="large_grid",
        methods=methods,
        seeds=tuple(range(1, seeds + 1)),
        items=items,
        steps=20,
        teacherless=methods[:1],
        cached=methods[1:],
        text_based=(),
    )
    with tempfile.TemporaryDirectory() as name:
        results = Path(name)
        grid = synthetic.write(results, made)
        job = results / "job.json"
        settings = synthetic.settings(made)
        job.write_text(canonical({"id": made.name, "code": "none", "settings": settings}))
        flags = (
            "report",
            "--job",
            str(job),
            "--grid",
            str(grid),
            "--results",
            str(results),
            "--out",
            str(results / "report"),
        )
        yield measured(f"report, {items} items each", ROOT, "pipeline", *flags)


def _line(row: Row) -> str:
    return (
        f"{row.what:<32}{row.seconds:>9.1f} s{row.processor_seconds:>9.1f} s{row.peak_mb:>8.0f} MB"
    )


def main() -> None:
    """Prints a table, and writes it as JSON."""
    parser = results.parser(__doc__, "scale.json")
    parser.add_argument("--cells", type=int, default=10_000)
    parser.add_argument("--items", type=int, default=20, help="of each evaluation, for the report")
    options = parser.parse_args()
    print(f"{options.cells} cells{'':<21}{'clock':>11}{'processor':>11}{'peak':>11}")
    rows = [*of_workflow(options.cells), *of_report(options.cells, options.items)]
    record = {"cells": options.cells, "items": options.items, "rows": rows}
    results.write(options.out, record)


if __name__ == "__main__":
    main()
