"""The report as one page that opens from disk, without a network."""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import jinja2
from markupsafe import Markup

from pipeline.artifacts import Job
from pipeline.reporting import summary
from pipeline.reporting.inputs import Inputs, trained_folders
from pipeline.reporting.samples import Sample
from pipeline.reporting.scores import Pair, Results
from pipeline.reporting.tables import Table, pair_title
from pipeline.settings.report import ReportSettings

# Model output is untrusted: everything is escaped but our own style and script.
TEMPLATES = jinja2.Environment(
    loader=jinja2.PackageLoader("pipeline.reporting", "."),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


@dataclass(frozen=True)
class Drawing:
    """A plot as the page holds it."""

    name: str
    title: str
    caption: str
    svg: bytes

    @property
    def address(self) -> str:
        """The plot itself as an address, so that the page needs no other file."""
        return f"data:image/svg+xml;base64,{base64.b64encode(self.svg).decode()}"


@dataclass(frozen=True)
class PairFindings:
    """What was found under one teacher for one student."""

    title: str
    findings: tuple[summary.Finding, ...]


@dataclass(frozen=True)
class Origin:
    """Where a row of the grid comes from, and how to make it again."""

    teacher: str
    student: str
    label: str
    seed: int
    evaluation: str
    finished: str
    command: str


@dataclass(frozen=True)
class Contents:
    """What the page shows beside the results themselves."""

    main: Table
    cost: Table
    drawings: Sequence[Drawing]
    samples: Sequence[Sample]
    sizes: Mapping[str, int]


def page(
    job: Job, settings: ReportSettings, inputs: Inputs, results: Results, contents: Contents
) -> str:
    """The whole page."""
    return TEMPLATES.get_template("page.html.jinja").render(
        style=_own_text("style.css"),
        script=_own_text("sort.js"),
        job=job,
        settings=settings,
        config=json.dumps(settings.config, indent=2, ensure_ascii=False, sort_keys=True),
        scope=summary.scope(results),
        agreements=summary.agreements(results),
        pairs=[_pair_findings(results, pair, contents.sizes) for pair in results.pairs],
        limits=summary.limits(results, settings.methods),
        main=contents.main,
        cost=contents.cost,
        drawings=contents.drawings,
        samples=contents.samples,
        card=inputs.card,
        origins=origins(inputs),
        versions=versions(inputs.evaluations),
    )


def _own_text(name: str) -> Markup:
    source, _, _ = TEMPLATES.loader.get_source(TEMPLATES, name)
    return Markup(source)


def _pair_findings(results: Results, pair: Pair, sizes: Mapping[str, int]) -> PairFindings:
    return PairFindings(pair_title(pair, sizes), tuple(summary.findings(results, pair)))


def origins(inputs: Inputs) -> list[Origin]:
    """A row for each of the grid."""
    folders = trained_folders(inputs.grid)
    found = []
    for cell in inputs.grid.itertuples(index=False):
        made = cell.teacher_id if cell.kind == "teacher" else cell.student_id
        target = folders.get(made, f"evals/{cell.eval_id}")
        found.append(
            Origin(
                teacher=cell.teacher,
                student=cell.student,
                label=cell.label or cell.method,
                seed=cell.seed,
                evaluation=cell.eval_id,
                finished=str(inputs.evaluations[cell.eval_id].get("finished", "")),
                command=f"snakemake --cores all results/{target}",
            )
        )
    return found


def versions(evaluations: Mapping[str, dict]) -> dict[str, list[str]]:
    """The versions of each library that evaluations ran on; more than one is worth a look."""
    found: dict[str, set[str]] = {}
    for manifest in evaluations.values():
        for library, version in manifest.get("versions", {}).items():
            found.setdefault(library, set()).add(version)
    return {library: sorted(seen) for library, seen in sorted(found.items())}
