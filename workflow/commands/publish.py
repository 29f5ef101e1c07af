"""Copies a report to results/published/, where git keeps it, after recomputing its numbers."""

import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.artifacts import artifact, checksums
from pipeline.publishing.comparison import compare_reports
from pipeline.publishing.finished import SOURCES, FinishedReport
from pipeline.reporting.analysis.provenance import CONFIG
from workflow.commands import compare, self_check
from workflow.commands.console import file_size, progress
from workflow.jobs.rerun_reasons import RESULTS

SMALL = 5 * 2**20  # bytes of all items up to which they are published too
README = "README.md"  # of a published report, written by hand


def publish(experiment: str, results: Path) -> int:
    """How many numbers of the experiment's report were checked; then it is published.

    Raises ValueError where there is no report, or where a number is not what its items give.
    """
    report, grid = results / experiment / "report", results / experiment / "grid.csv"
    if not (report / "index.html").exists():
        raise ValueError(f"{report} is not there yet: run the experiment {experiment} first")
    with progress("recomputing the numbers of each evaluation") as advance:
        checked = self_check.check(report, grid, self_check.in_results(results), advance)
    target, sources = target_of(experiment, results), FinishedReport.read(report).sources
    with artifact.atomic_write(target) as folder:
        _copy_report(report, folder)
        shutil.copy(grid, folder)
        if (target / README).exists():
            shutil.copy(target / README, folder)
        if sources:
            artifact.write_json(folder / SOURCES, sources)
        _copy_items(report, results, folder)
        _point_to(folder, RESULTS / experiment / "report", RESULTS / target.relative_to(results))
        _seal(folder)
    return checked


def _copy_report(report: Path, folder: Path) -> None:
    """The files that the report was made with: not what was compiled or noted beside them since."""
    for name in [artifact.MANIFEST, *artifact.read_json(report / artifact.MANIFEST)["files"]]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(report / name, folder / name)


def show_changes(experiment: str, results: Path) -> None:
    """Prints how the report differs from the published one that it is to replace, if any."""
    target, report = target_of(experiment, results), results / experiment / "report"
    if not (target.is_dir() and report.is_dir()):
        return
    try:
        published = FinishedReport.read(target)
    except ValueError as error:
        print(f"the report that is replaced can't be compared: {error}\n")
        return
    compare.show(compare_reports(published, FinishedReport.read(report)))
    print()


def target_of(experiment: str, results: Path) -> Path:
    """Where an experiment is published."""
    return results / "published" / experiment.replace("_", "-")


def _copy_items(report: Path, results: Path, folder: Path) -> None:
    """The items behind the report in one file of each kind, unless they are large."""
    ids = pq.read_table(report / "scores.parquet", columns=["id"])["id"].unique().to_pylist()
    for name in (self_check.ITEMS, self_check.CALIBRATION):
        tables = [_with_id(results / "evals" / id / name, id) for id in ids]
        pq.write_table(
            pa.concat_tables(tables).unify_dictionaries(),
            folder / name,
            compression="zstd",
            compression_level=19,
        )
    if (folder / self_check.ITEMS).stat().st_size > SMALL:
        (folder / self_check.ITEMS).unlink()
        (folder / self_check.CALIBRATION).unlink()


def _with_id(path: Path, id: str) -> pa.Table:
    table = pq.read_table(path)
    names = pa.DictionaryArray.from_arrays(pa.array([0] * len(table), pa.int32()), [id])
    return table.append_column("id", names)


def _point_to(folder: Path, report: Path, published: Path) -> None:
    """Lets the commands of the page name the configuration where it is published."""
    page = folder / "index.html"
    text = page.read_text(encoding="utf-8")
    text = text.replace(f"{report}/{CONFIG}", f"{published}/{CONFIG}")
    page.write_text(text, encoding="utf-8")


def _seal(folder: Path) -> None:
    """Lets the manifest list the files as they are published."""
    path = folder / artifact.MANIFEST
    provenance = {
        key: value
        for key, value in artifact.read_json(path).items()
        if key not in ("files", "content", "checksum")
    }
    path.unlink()
    files = checksums.digests(folder)
    artifact.write_json(path, checksums.with_checksum({**provenance, "files": files}))


def main(
    *,
    experiment: str,
    to_hub: str | None = None,
    folder: Path | None = None,
    students: Sequence[str] = (),
    license: str = "unknown",
    public: bool = False,
) -> int:
    """Publishes one experiment, in results/published/ and, if asked for, on the hub."""
    if to_hub is None and (folder or students):
        sys.exit("error: --folder and --students need --to-hub OWNER/NAME")
    try:
        show_changes(experiment, RESULTS)
        checked = publish(experiment, RESULTS)
        target = target_of(experiment, RESULTS)
        size = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
        print(f"{checked} numbers were recomputed from the items behind them, and agree")
        print(f"{target} ({file_size(size)})")
        if to_hub is not None:
            _to_hub(target, to_hub, folder, students, license, public)
    except ValueError as error:
        sys.exit(f"error: {error}")
    return 0


def _to_hub(
    target: Path,
    name: str,
    folder: Path | None,
    students: Sequence[str],
    license: str,
    public: bool,
) -> None:
    """Lays a published report out as repositories, and uploads them unless a folder is named."""
    from pipeline.publishing import hub  # it loads transformers

    if folder is not None:
        for repository in hub.lay_out(target, RESULTS, name, students, license, folder):
            print(repository.folder)
        return
    with tempfile.TemporaryDirectory() as temporary:
        repositories = hub.lay_out(target, RESULTS, name, students, license, Path(temporary))
        try:
            hub.upload(repositories, private=not public)
        except (OSError, ValueError) as error:  # of the connection, the login or the name
            reason = str(error).strip().partition("\n")[0]
            raise ValueError(
                f"{name} can't be uploaded ({reason}): log in by `hf auth login`, or write the "
                "repositories to a folder by --folder"
            ) from None
    for repository in repositories:
        kind = "datasets/" if repository.kind == "dataset" else ""
        print(f"https://huggingface.co/{kind}{repository.name}")
