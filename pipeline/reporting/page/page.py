"""The report as one page that opens from disk, without a network."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote

import jinja2
from markupsafe import Markup

from pipeline.artifacts.artifact import Job
from pipeline.reporting import web
from pipeline.reporting.analysis import asked, provenance, summary, top_k_bias
from pipeline.reporting.analysis.findings import Comparisons, Finding
from pipeline.reporting.analysis.load import ReportInputs
from pipeline.reporting.analysis.scores import Pair, Results
from pipeline.reporting.page.cell_pages import CellPage
from pipeline.reporting.page.method_pages import MethodPage
from pipeline.reporting.render.plot_style import Plot, looks_of
from pipeline.reporting.render.table import COSTS, Table, pair_title
from pipeline.settings.report import ReportSettings
from pipeline.settings.teacher import CacheSettings

# Model output is untrusted: everything is escaped but our own style and scripts.
TEMPLATES = jinja2.Environment(
    loader=jinja2.PackageLoader(web.__name__, "."),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
SCRIPTS = ("build.js", "tables.js", "samples.js", "jobs.js", "views.js")
PLAIN = " =:/;,'()!*@+$[]{}|^`?~"  # what an address of data, and an attribute, hold as it is
MOST_ROWS = 1500  # of a table that is folded away; a longer one is only linked to
PATH = "PATH"  # stands in the page's pattern of a command for an artifact's "stage/id"
LARGE = ("files", "input_contents", "checksum")  # parts of manifests that the page leaves out
GLYPHS = {"o": "●", "s": "■", "^": "▲", "D": "◆", "v": "▼", "P": "✚", "X": "✖", "<": "◀"}


@dataclass(frozen=True)
class Drawing:
    """A plot as the page holds it."""

    name: str
    title: str
    caption: str
    address: Markup  # the plot itself, so that the page needs no other file


def drawing(plot: Plot, svg: bytes) -> Drawing:
    """A plot as the page holds it, from its SVG."""
    text = re.sub(r"\s*\n\s*", " ", svg.decode())
    address = Markup("data:image/svg+xml," + quote(text, safe=PLAIN))
    return Drawing(plot.name, plot.title, plot.caption, address)


@dataclass(frozen=True)
class Section:
    """Tables and plots that belong together."""

    name: str
    title: str
    lead: str
    tables: Sequence[Table]
    drawings: Sequence[Drawing]
    folded: Sequence[Table] = ()  # tables that are opened first


@dataclass(frozen=True)
class PairFindings:
    """What was found under one teacher for one student."""

    title: str
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class Contents:
    """What the page shows beside the results themselves."""

    sections: Sequence[Section]
    methods: Sequence[MethodPage]
    cells: Iterable[CellPage]
    samples: Mapping[str, object] | None
    sizes: Mapping[str, int]
    comparisons: Comparisons


def page(
    job: Job, settings: ReportSettings, inputs: ReportInputs, results: Results, contents: Contents
) -> str:
    """The whole page."""
    command = provenance.command(settings.experiment, PATH)
    jobs = provenance.compact(inputs.manifests, without=LARGE) | {"command": command}
    return TEMPLATES.get_template("page.html.jinja").render(
        style=_own_text("style.css"),
        scripts=[_own_text(name) for name in SCRIPTS],
        job=job,
        settings=settings,
        config=configuration(settings),
        looks=looks_of(results.labels),
        glyphs=GLYPHS,
        scope=summary.scope(results),
        agreements=summary.agreements(results, contents.comparisons),
        pairs=[_pair_findings(contents, pair) for pair in results.pairs],
        limits=[
            *summary.limits(contents.comparisons, settings.methods),
            *summary.limits_of_measures(results.measures),
            *support_warnings(settings),
            *asked.limits(inputs.evaluation_manifests, inputs.manifests),
        ],
        sections=contents.sections,
        most_rows=MOST_ROWS,
        method_pages=contents.methods,
        cell_pages=contents.cells,
        cost_headings=[column.heading for column in COSTS],
        samples=data(contents.samples) if contents.samples else "",
        jobs=data(jobs),
        card=inputs.data_card,
        versions=versions(inputs.evaluation_manifests),
    )


def data(value: object) -> Markup:
    """A value as JSON that can stand in a script element: nothing in it can end the element."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c"))


def configuration(settings: ReportSettings) -> str:
    """The experiment's configuration as JSON, in the order that it was given in."""
    given = json.loads(settings.given) if settings.given else settings.config
    return json.dumps(given, indent=2, ensure_ascii=False) + "\n"


def support_warnings(settings: ReportSettings) -> list[str]:
    """A line for each method whose loss the cache puts further off than the bound."""
    cache = CacheSettings.model_validate(settings.config.get("teacher_cache", {}))
    if cache.whole_vocabulary:
        return []
    return top_k_bias.warnings(settings.methods, cache.k, top_k_bias.errors())


def _own_text(name: str) -> Markup:
    source, _, _ = TEMPLATES.loader.get_source(TEMPLATES, name)
    return Markup(source)


def _pair_findings(contents: Contents, pair: Pair) -> PairFindings:
    found = tuple(one for one in contents.comparisons.findings if one.pair == pair)
    return PairFindings(pair_title(pair, contents.sizes), found)


def versions(evaluations: Mapping[str, dict]) -> dict[str, list[str]]:
    """The versions of each library that evaluations ran on; more than one is worth a look."""
    found: dict[str, set[str]] = {}
    for manifest in evaluations.values():
        for library, version in manifest.get("versions", {}).items():
            found.setdefault(library, set()).add(version)
    return {library: sorted(seen) for library, seen in sorted(found.items())}
