"""The report as one page that opens from disk, without a network."""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import jinja2
from markupsafe import Markup

from pipeline.artifacts.artifact import Job
from pipeline.artifacts.stages import stage_of
from pipeline.methods import components
from pipeline.methods.method import EVIDENCE
from pipeline.reporting import web
from pipeline.reporting.analysis import origin, provenance, summary
from pipeline.reporting.analysis.findings import Comparisons
from pipeline.reporting.analysis.limits import limits
from pipeline.reporting.analysis.load import ReportInputs
from pipeline.reporting.analysis.own_tasks import own_tasks
from pipeline.reporting.analysis.verdict import verdicts
from pipeline.reporting.costs.attribution import CostData
from pipeline.reporting.costs.tables import OF_TRAINING
from pipeline.reporting.page.cell_pages import cell_pages
from pipeline.reporting.page.glossary import TERMS, explained, term_in
from pipeline.reporting.page.method_pages import KINDS, NEEDS, method_pages
from pipeline.reporting.page.primary_table import Times, primary_table
from pipeline.reporting.page.samples import samples
from pipeline.reporting.plots.figures import Plot
from pipeline.reporting.plots.looks import MARKERS, styles_of
from pipeline.reporting.render import anchors
from pipeline.reporting.render.table import MISSING
from pipeline.reporting.sections.contents import Section
from pipeline.runtime.inert import inert
from pipeline.settings.report import ReportSettings

# Model output is untrusted: everything is escaped except our own style and scripts.
LOADER = jinja2.PackageLoader(web.__name__, ".")
TEMPLATES = jinja2.Environment(
    loader=LOADER,
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
TEMPLATES.filters |= {
    "explained": explained,
    "term": term_in,
    "arrows": lambda text: re.sub(" (?=[↑↓→])", "\N{NO-BREAK SPACE}", text),  # end no line
}
PATH = "PATH"  # an artifact's "stage/id" in the page's pattern of a command
PLAIN = " =:/;,'()!*@+$[]{}|^`?~"  # signs that a data address and an attribute hold unquoted
LARGE = ("files", "input_contents", "checksum")  # entries of manifests that the page leaves out
SCRIPTS = ("build.js", "tables.js", "charts.js", "costs.js", "samples.js", "jobs.js", "views.js")
STYLE, *OWN_SCRIPTS = (
    Markup(LOADER.get_source(TEMPLATES, name)[0]) for name in ("style.css", *SCRIPTS)
)
TEMPLATES.globals |= {
    "style": STYLE,
    "scripts": OWN_SCRIPTS,
    "anchors": anchors,
    "components": components,
    "file_address": origin.file_address,
    "kinds": KINDS,
    "evidence": EVIDENCE,
    "needs": NEEDS,
    "glyphs": dict(zip(MARKERS, "●■▲◆▼✚✖◀▶★♦⬢", strict=True)),
    "glossary": TERMS,
    "cost_headings": [(column.title, column.unit) for column in OF_TRAINING],
    "missing": MISSING,
    "overview": "result",  # the section whose figure is on the first screen
    "many_rows": 200,  # a browser builds a table of more only once it is to be seen
    "many_characters": 400_000,  # and a figure of more
    "tall": 30,  # a table of more rows scrolls under its head
}


@dataclass(frozen=True)
class Image:
    """A plot within the page."""

    name: str
    title: str
    caption: str
    address: Markup  # the plot itself, so that the page needs no other file
    narrow: Markup  # the plot for a phone; empty where it needs more width


def image(plot: Plot, wide: bytes, narrow: bytes) -> Image:
    """A plot as an image, from its SVGs."""
    narrow_address = _address(narrow).replace(" ", "%20")  # a space ends it in a srcset
    return Image(plot.name, plot.title, plot.caption, _address(wide), narrow_address)


def _address(svg: bytes) -> Markup:
    """An SVG as the address of an image; empty without one."""
    text = re.sub(r"\s*\n\s*", " ", svg.decode())
    return Markup(f"data:image/svg+xml,{quote(text, safe=PLAIN)}" if svg else "")


@dataclass
class Numbering:
    """Numbers of tables and figures: the same whatever is open in the page."""

    last: dict[str, int] = field(default_factory=dict)

    def next(self, kind: str) -> str:
        """The next number of a kind, as "Table 3" or "Table S1"."""
        self.last[kind] = self.last.get(kind, 0) + 1
        return f"{kind}{self.last[kind]}"


def render(
    job: Job,
    settings: ReportSettings,
    comparisons: Comparisons,
    costs: CostData,
    times: Times,
    sections: Sequence[tuple[Section, Sequence[Image]]],
) -> str:
    """The page as HTML."""
    inputs, results = costs.inputs, comparisons.results
    responses = samples(inputs, results)
    html = TEMPLATES.get_template("page.html.jinja").render(
        job=job,
        settings=settings,
        config=configuration(settings),
        styles=styles_of(results),
        numbers=Numbering(),
        results=results,
        comparisons=comparisons,
        scope=summary.scope(results),
        verdicts=verdicts(comparisons),
        primary=primary_table(settings, comparisons, times),
        cell_count=len(inputs.grid) + len(settings.missing),
        limits=limits(settings, inputs, comparisons),
        sections=sections,
        as_data=data,
        method_pages=list(method_pages(settings, inputs, comparisons)),
        cell_pages=cell_pages(settings.experiment, inputs, comparisons),
        samples=data(responses) if responses else "",
        jobs=data(_jobs(settings, inputs)),
        origin=origin.origin_of(inputs.manifests, inputs.costs),
        own_tasks=own_tasks(inputs.manifests),
        card=inputs.data_card,
        sources=sources_of(inputs.data_card),
        token_examples=inputs.token_examples,
        versions=provenance.grouped(
            manifest.get("versions", {}) for manifest in inputs.evaluation_manifests.values()
        ),
    )
    return inert(html)


def _jobs(settings: ReportSettings, inputs: ReportInputs) -> dict[str, object]:
    """What the page of a job is made from."""
    manifests = provenance.compact(inputs.manifests, without=LARGE)
    for path, manifest in inputs.manifests.items():
        stage = stage_of(path.partition("/")[0], manifest.get("settings", {}))
        manifests["artifacts"][path]["stage"] = stage
    return manifests | {
        "command": provenance.rebuild_command(settings.experiment, PATH),
        "folders": [origin.folder_address(checkout) for checkout in manifests["checkout"]],
    }


def sources_of(card: Mapping[str, Any]) -> list[tuple[str, int]]:
    """How many examples each source gave, over all splits, the largest first."""
    counts: Counter[str] = Counter()
    for split in card.get("splits", {}).values():
        counts.update(split["by_source"])
    return counts.most_common()


def data(value: object) -> Markup:
    """A value as JSON that can stand in a script element: nothing in it can end the element."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c"))


def configuration(settings: ReportSettings) -> str:
    """The experiment's configuration as JSON, its keys in the order of the file."""
    config = json.loads(settings.given) if settings.given else settings.config
    return json.dumps(config, indent=2, ensure_ascii=False) + "\n"
