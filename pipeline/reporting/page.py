"""The report as one page that opens from disk, without a network."""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import jinja2
from markupsafe import Markup

from pipeline.artifacts import Job
from pipeline.method import Method
from pipeline.reporting import sparse_support, summary
from pipeline.reporting.inputs import Inputs
from pipeline.reporting.samples import Sample
from pipeline.reporting.scores import Pair, Results
from pipeline.reporting.tables import Table, pair_title
from pipeline.settings.report import ReportSettings
from pipeline.settings.teacher import CacheSettings

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
        recipes=recipes(settings),
        scope=summary.scope(results),
        agreements=summary.agreements(results),
        pairs=[_pair_findings(results, pair, contents.sizes) for pair in results.pairs],
        limits=[*summary.limits(results, settings.methods), *support_warnings(settings)],
        main=contents.main,
        cost=contents.cost,
        drawings=contents.drawings,
        samples=contents.samples,
        card=inputs.card,
        origins=origins(inputs),
        versions=versions(inputs.evaluations),
    )


def support_warnings(settings: ReportSettings) -> list[str]:
    """A line for each method whose loss a top-K cache puts further off than the bound."""
    cache = CacheSettings.model_validate(settings.config.get("teacher_cache", {}))
    return sparse_support.warnings(settings.methods, cache.k, sparse_support.errors())


def _own_text(name: str) -> Markup:
    source, _, _ = TEMPLATES.loader.get_source(TEMPLATES, name)
    return Markup(source)


def _pair_findings(results: Results, pair: Pair, sizes: Mapping[str, int]) -> PairFindings:
    return PairFindings(pair_title(pair, sizes), tuple(summary.findings(results, pair)))


def origins(inputs: Inputs) -> list[Origin]:
    """A row for each of the grid."""
    return [
        Origin(
            teacher=cell.teacher,
            student=cell.student,
            label=cell.label,
            seed=cell.seed,
            evaluation=cell.eval_id,
            finished=str(inputs.evaluations[cell.eval_id].get("finished", "")),
            command=f"snakemake --cores all results/{_folder(inputs, cell)}",
        )
        for cell in inputs.grid.itertuples(index=False)
    ]


def _folder(inputs: Inputs, cell: tuple) -> str:
    return inputs.folders[cell.teacher_id if cell.kind == "teacher" else cell.student_id]


@dataclass(frozen=True)
class Recipe:
    """A method in words."""

    name: str
    method: Method
    details: str


def recipes(settings: ReportSettings) -> list[Recipe]:
    """Every method with what the configuration sets of it."""
    rows = settings.config.get("methods")
    chosen = rows if isinstance(rows, dict) else {}
    return [
        Recipe(name, method, details(method, chosen.get(name) or {}))
        for name, method in settings.methods.items()
    ]


def details(method: Method, chosen: Mapping[str, object]) -> str:
    """What else makes the method, and what the configuration sets of it."""
    shown = {key: value for key, value in chosen.items() if value not in (None, {})}
    found = {**method.defaults, **shown}
    for key in ("update", "gold_weight", "plain_text_weight", "draws", "relabelling_stages"):
        if value := getattr(method, key):
            found[key] = value
    return ", ".join(
        f"{key} = {value}" for key, value in found.items() if key not in ("teacher", "text")
    )


def versions(evaluations: Mapping[str, dict]) -> dict[str, list[str]]:
    """The versions of each library that evaluations ran on; more than one is worth a look."""
    found: dict[str, set[str]] = {}
    for manifest in evaluations.values():
        for library, version in manifest.get("versions", {}).items():
            found.setdefault(library, set()).add(version)
    return {library: sorted(seen) for library, seen in sorted(found.items())}
