"""Our scores beside the published ones of papers and re-runs of the same models."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

import pandas as pd

from pipeline.reporting.analysis.published_numbers import (
    AVERAGE,
    EVIDENCE,
    TASKS,
    Published,
    published,
)
from pipeline.reporting.analysis.scores import Mean, Pair, Results, Row, mean_over_seeds
from pipeline.reporting.render.table import (
    MISSING,
    Cell,
    Group,
    Heading,
    Table,
    method_cell,
    number_cell,
    text_cell,
)
from pipeline.settings.report import ReportSettings

METRIC = "rouge_l"
COLUMNS = (*TASKS, AVERAGE)
OURS = "this experiment"


@dataclass(frozen=True)
class Line:
    """A line of the table: our own numbers, or those of a source beside ours."""

    label: str
    ours: Mapping[str, Mean]  # by task
    row: Row | None = None  # in a line of ours
    numbers: Mapping[str, Published] = field(default_factory=dict)  # of a source, by task

    @property
    def source(self) -> Published:
        """One of the source's numbers, for all that these have in common."""
        return next(iter(self.numbers.values()))


def published_table(settings: ReportSettings, results: Results) -> Table | None:
    """ROUGE-L as published for the experiment's protocol, under ours; None without a protocol."""
    config = settings.config
    protocol = config.get("protocol")
    if not protocol:
        return None
    known = [row for row in published() if (row.protocol, row.metric) == (protocol, METRIC)]
    groups: list[Group] = []
    records: list[dict[str, object]] = []
    for pair in results.pairs:
        teacher = _hub_name(config, "teachers", pair.teacher)
        student = _hub_name(config, "students", pair.student)
        if of_pair := [row for row in known if (row.teacher, row.student) == (teacher, student)]:
            of_teacher = [row for row in known if row.teacher == row.student == teacher]
            references = list(_lines(results.teachers(pair), config, of_teacher, results))
            lines = list(_lines(results.methods[pair], config, of_pair, results))
            title = f"Teacher {pair.teacher} ({teacher}), student {pair.student} ({student})"
            cells = (tuple(tuple(_cells(line)) for line in part) for part in (references, lines))
            groups.append(Group(title, (pair.teacher, pair.student), *cells))
            records += (record for line in (*references, *lines) for record in _records(pair, line))
    if not groups:
        return None
    texts = (Heading(title, numeric=False) for title in ("Method", "Source", "By", "Known from"))
    headings = (*texts, *(Heading(task, "ROUGE-L") for task in COLUMNS))
    caption = _caption(str(protocol), known, config)
    names = ("Teacher", "Student")
    return Table("published", caption, names, headings, tuple(groups), pd.DataFrame(records))


def _caption(protocol: str, known: Sequence[Published], config: Mapping[str, Any]) -> str:
    hub = {
        _hub_name(config, role, name) for role in ("teachers", "students") for name in config[role]
    }
    foreign = [number for number in known if not {number.teacher, number.student} <= hub]
    left_out = "; ".join(
        dict.fromkeys(f"{number.teacher} to {number.student}" for number in foreign)
    )
    sentences = [
        f"Numbers published for the protocol {protocol}, under those of this experiment; in "
        "parentheses ours minus the published one. Ours are means ± standard deviation over "
        "training seeds, theirs, as far as stated, means over decoding seeds of one training. "
        "Authors: measured by the authors of the method; re-run: by others, a paper's own "
        "baselines included. docs/protocols.md says where our protocol departs from theirs.",
        f"{MISSING}: not measured or not published.",
    ]
    if left_out:
        sentences.append(f"Left out, since this experiment has other models: {left_out}.")
    return " ".join(sentences)


def _hub_name(config: Mapping[str, Any], role: str, name: str) -> str | None:
    """The hub's name of a teacher's or student's model; None for a model of another source."""
    model = config["models"][config[role][name]["model"]]
    return model["name"] if model["source"] == "hub" else None


def _lines(
    rows: Iterable[Row], config: Mapping[str, Any], known: Sequence[Published], results: Results
) -> Iterator[Line]:
    """Each of our rows with published numbers, then those; then methods that we didn't run."""
    choices, run = config["methods"], set()
    for row in rows:
        method = (choices.get(row.method) or {}).get("method") or row.method
        sources = _by_source([number for number in known if number.method == method])
        if sources:
            run.add(method)
            ours = _ours(row, results)
            yield Line(row.method, ours, row)
            yield from (Line(row.method, ours, numbers=numbers) for numbers in sources)
    for numbers in _by_source([number for number in known if number.method not in run]):
        yield Line(next(iter(numbers.values())).reported_as, {}, numbers=numbers)


def _by_source(known: Sequence[Published]) -> list[dict[str, Published]]:
    """The numbers of each source by task, those for one method together."""
    names = list(dict.fromkeys(number.reported_as for number in known))
    by_source: dict[tuple[str, ...], dict[str, Published]] = {}
    for number in sorted(known, key=lambda number: names.index(number.reported_as)):
        key = (number.source, number.reported_as, number.kind, number.evidence, number.note)
        by_source.setdefault(key, {})[number.task] = number
    return list(by_source.values())


def _ours(row: Row, results: Results) -> dict[str, Mean]:
    """Our ROUGE-L by task, and the average of the five where all were measured."""
    measures = {each.task: each for each in results.measures if each.metric.name == METRIC}
    ours = {
        task: mean
        for task in TASKS
        if task in measures and (mean := results.means.get((row, measures[task])))
    }
    if len(ours) == len(TASKS):
        by_seed = zip(*(mean.seed_values for mean in ours.values()), strict=True)
        ours[AVERAGE] = mean_over_seeds(tuple(map(fmean, by_seed)))
    return ours


def _cells(line: Line) -> Iterator[Cell]:
    if line.row:
        yield method_cell(line.row)
        yield from map(text_cell, (OURS, "", ""))
    else:
        source = line.source
        note = f" ({source.note})" if source.note else ""
        named = f"{source.source}: {source.reported_as}{note}"
        yield from map(text_cell, (line.label, named, source.kind, EVIDENCE[source.evidence]))
    for task in COLUMNS:
        ours, number = line.ours.get(task), line.numbers.get(task)
        if number:
            value = float(number.value)
            beside = f" ({ours.value - value:+z.2f})" if ours else ""
            yield Cell(f"{number.value}{beside}", value)
        elif ours and line.row:
            yield number_cell(ours.value, "{:.2f}".format, ours.spread)
        else:
            yield Cell(MISSING)


def _records(pair: Pair, line: Line) -> Iterator[dict[str, object]]:
    """A record for each number of a line, by task."""
    source = None if line.row else line.source
    for task in COLUMNS:
        ours, number = line.ours.get(task), line.numbers.get(task)
        if (ours if line.row else number) is None:
            continue
        mean = ours.value if ours else math.nan
        value = float(number.value) if number else mean
        spread = ours.spread if ours and line.row else None
        yield {
            "teacher": pair.teacher,
            "student": pair.student,
            "label": line.label,
            "source": source.source if source else OURS,
            "reported_as": source.reported_as if source else line.label,
            "by": source.kind if source else "",
            "evidence": source.evidence if source else "",
            "note": source.note if source else "",
            "task": task,
            "metric": METRIC,
            "unit": "0-100",
            "value": value,
            "sd": math.nan if spread is None else spread,
            "ours_minus_it": mean - value if number else math.nan,
            "n_seeds": ours.seed_count if ours and line.row else 0,
        }
