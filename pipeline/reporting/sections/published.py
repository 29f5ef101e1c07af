"""Our scores beside the published ones of papers and re-runs of the same models."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

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
class PublishedRow:
    """The numbers of one source for one method, by task."""

    source: str
    reported_as: str
    kind: str
    evidence: str
    note: str
    numbers: Mapping[str, Published]


def published_table(settings: ReportSettings, results: Results) -> Table | None:
    """ROUGE-L as published for the experiment's protocol, under ours; None without a protocol."""
    config = settings.config
    protocol = config.get("protocol")
    known = [
        number for number in published() if (number.protocol, number.metric) == (protocol, METRIC)
    ]
    groups = [
        group
        for pair in results.pairs
        if (group := _group(known, _hub_names(config, pair), pair, config, results))
    ]
    if not groups:
        return None
    return Table(
        name="published",
        caption=_caption(str(config["protocol"]), known, config),
        group_headings=("Teacher", "Student"),
        headings=(
            *(Heading(title, numeric=False) for title in ("Method", "Source", "By", "Known from")),
            *(Heading(task, "ROUGE-L") for task in COLUMNS),
        ),
        groups=tuple(groups),
    )


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
    if not config.get("protocol"):
        return None, None
    return _hub_name(config, "teachers", pair.teacher), _hub_name(config, "students", pair.student)


def _group(
    known: Sequence[Published],
    hub: tuple[str | None, str | None],
    pair: Pair,
    config: Mapping[str, Any],
    results: Results,
) -> Group | None:
    teacher, student = hub
    of_pair = [number for number in known if (number.teacher, number.student) == hub]
    if not of_pair:
        return None
    of_teacher = [number for number in known if number.teacher == number.student == teacher]
    references = [row for row in results.references[pair] if row.kind == "teacher"]
    return Group(
        title=f"Teacher {pair.teacher} ({teacher}), student {pair.student} ({student})",
        names=(pair.teacher, pair.student),
        references=tuple(_blocks(references, {}, of_teacher, results)),
        rows=tuple(_blocks(results.methods[pair], config["methods"], of_pair, results)),
    )


def _blocks(
    rows: Iterable[Row],
    choices: Mapping[str, Any],
    known: Sequence[Published],
    results: Results,
) -> Iterator[tuple[Cell, ...]]:
    """Each of our rows with published numbers, then those; then methods that we didn't run."""
    run = set()
    for row in rows:
        method = (choices.get(row.method) or {}).get("method") or row.method
        lines = _published_rows([number for number in known if number.method == method])
        if lines:
            run.add(method)
            ours = _ours(row, results)
            yield _our_cells(row, ours)
            yield from (_cells(line, row.label, ours) for line in lines)
    for line in _published_rows([number for number in known if number.method not in run]):
        yield _cells(line, line.reported_as, {})


def _published_rows(known: Sequence[Published]) -> list[PublishedRow]:
    """The numbers by source, those for one method together."""
    names = list(dict.fromkeys(number.reported_as for number in known))
    by_source: dict[tuple[str, ...], dict[str, Published]] = {}
    for number in sorted(known, key=lambda number: names.index(number.reported_as)):
        key = (number.source, number.reported_as, number.kind, number.evidence, number.note)
        by_source.setdefault(key, {})[number.task] = number
    return [PublishedRow(*key, numbers=numbers) for key, numbers in by_source.items()]


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


def _our_cells(row: Row, ours: Mapping[str, Mean]) -> tuple[Cell, ...]:
    return (
        method_cell(row),
        *(text_cell(text) for text in (OURS, "", "")),
        *(_our_cell(ours.get(task)) for task in COLUMNS),
    )


def _our_cell(mean: Mean | None) -> Cell:
    return number_cell(mean.value, "{:.2f}".format, mean.spread) if mean else Cell(MISSING)


def _cells(line: PublishedRow, label: str, ours: Mapping[str, Mean]) -> tuple[Cell, ...]:
    source = f"{line.source}: {line.reported_as}" + (f" ({line.note})" if line.note else "")
    about = (label, source, line.kind, EVIDENCE[line.evidence])
    numbers = (_cell(line.numbers.get(task), ours.get(task)) for task in COLUMNS)
    return (*(text_cell(text) for text in about), *numbers)


def _cell(number: Published | None, ours: Mean | None) -> Cell:
    if number is None:
        return Cell(MISSING)
    value = float(number.value)
    if ours is None:
        return Cell(number.value, value)
    difference = ours.value - value
    # + 0.0 makes a rounded -0.0 the zero that it is
    text = f"{number.value} ({round(difference, 2) + 0.0:+.2f})"
    return Cell(text, value, beside=(("ours minus it", difference),))
