"""Our scores beside the published ones of papers and re-runs of the same models."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
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
    numbers: Mapping[str, Published] | None = None  # of a source for one method, by task

    @property
    def source(self) -> Published | None:
        """One of the source's numbers, for all that these have in common."""
        return next(iter(self.numbers.values())) if self.numbers else None


def published_table(settings: ReportSettings, results: Results) -> Table | None:
    """ROUGE-L as published for the experiment's protocol, under ours; None without a protocol."""
    config = settings.config
    protocol = config.get("protocol")
    if not protocol:
        return None
    known = [one for one in published() if (one.protocol, one.metric) == (protocol, METRIC)]
    groups: list[Group] = []
    records: list[dict[str, object]] = []
    for pair in results.pairs:
        teacher, student = _hub_names(config, pair)
        of_teacher = [one for one in known if one.teacher == one.student == teacher]
        if of_pair := [one for one in known if (one.teacher, one.student) == (teacher, student)]:
            references = list(_lines(results.teachers(pair), config, of_teacher, results))
            lines = list(_lines(results.methods[pair], config, of_pair, results))
            title = f"Teacher {pair.teacher} ({teacher}), student {pair.student} ({student})"
            cells = (tuple(map(_cells, part)) for part in (references, lines))
            groups.append(Group(title, (pair.teacher, pair.student), *cells))
            records += (one for line in (*references, *lines) for one in _records(pair, line))
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


def _hub_names(config: Mapping[str, Any], pair: Pair) -> tuple[str | None, str | None]:
    student = _hub_name(config, "students", pair.student)
    return _hub_name(config, "teachers", pair.teacher), student


def _lines(
    rows: Iterable[Row], config: Mapping[str, Any], known: Sequence[Published], results: Results
) -> Iterator[Line]:
    """Each of our rows with published numbers, then those; then methods that we didn't run."""
    choices, run = config["methods"], set()
    for row in rows:
        method = (choices.get(row.method) or {}).get("method") or row.method
        sources = _published_rows([number for number in known if number.method == method])
        if sources:
            run.add(method)
            ours = _ours(row, results)
            yield Line(row.label, ours, row)
            yield from (Line(row.label, ours, numbers=numbers) for numbers in sources)
    for numbers in _published_rows([number for number in known if number.method not in run]):
        yield Line(next(iter(numbers.values())).reported_as, {}, numbers=numbers)


def _published_rows(known: Sequence[Published]) -> list[dict[str, Published]]:
    """The numbers by source, those for one method together."""
    names = list(dict.fromkeys(number.reported_as for number in known))
    by_source: dict[tuple[str, ...], dict[str, Published]] = {}
    for number in sorted(known, key=lambda number: names.index(number.reported_as)):
        key = (number.source, number.reported_as, number.kind, number.evidence, number.note)
        by_source.setdefault(key, {})[number.task] = number
    return list(by_source.values())


def _ours(row: Row, results: Results) -> dict[str, Mean]:
    """Our ROUGE-L by task, and the average of the five where all were measured."""
    measured = {
        measure.task: measure for measure in results.measures if measure.metric.name == METRIC
    }
    ours = {
        task: results.means[row, measured[task]]
        for task in TASKS
        if task in measured and (row, measured[task]) in results.means
    }
    if len(ours) == len(TASKS):
        by_seed = zip(*(mean.seed_values for mean in ours.values()), strict=True)
        ours[AVERAGE] = mean_over_seeds(tuple(map(fmean, by_seed)))
    return ours


def _cells(line: Line) -> tuple[Cell, ...]:
    if line.row:
        about = (method_cell(line.row), *map(text_cell, (OURS, "", "")))
        return (*about, *(_our_cell(line.ours.get(task)) for task in COLUMNS))
    source, numbers = line.source, line.numbers
    assert source  # a line is of ours or of a source
    assert numbers
    note = f" ({source.note})" if source.note else ""
    named = f"{source.source}: {source.reported_as}{note}"
    about = map(text_cell, (line.label, named, source.kind, EVIDENCE[source.evidence]))
    return (*about, *(_cell(numbers.get(task), line.ours.get(task)) for task in COLUMNS))


def _our_cell(mean: Mean | None) -> Cell:
    return number_cell(mean.value, "{:.2f}".format, mean.spread) if mean else Cell(MISSING)


def _cell(number: Published | None, ours: Mean | None) -> Cell:
    if number is None:
        return Cell(MISSING)
    value = float(number.value)
    if ours is None:
        return Cell(number.value, value)
    # + 0.0 makes a rounded -0.0 the zero that it is
    return Cell(f"{number.value} ({round(ours.value - value, 2) + 0.0:+.2f})", value)


def _records(pair: Pair, line: Line) -> Iterator[dict[str, object]]:
    """A record for each number of a line, by task."""
    source = line.source
    for task in COLUMNS:
        ours, number = line.ours.get(task), (line.numbers or {}).get(task)
        if (number if source else ours) is None:
            continue
        theirs, mean = float(number.value) if number else math.nan, ours.value if ours else math.nan
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
            "value": theirs if source else mean,
            "sd": math.nan if source or not ours or ours.spread is None else ours.spread,
            "ours_minus_it": mean - theirs,
            "n_seeds": ours.seed_count if ours and not source else 0,
        }
