"""What the models wrote, side by side, for a few items of each task: data for the page's script."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd

from pipeline.reporting.analysis.load import ReportInputs
from pipeline.reporting.analysis.metrics import Measure
from pipeline.reporting.analysis.scores import Results, Row
from pipeline.reporting.render.figures import styles_of
from pipeline.reporting.render.units import pair_title

ITEMS = 24  # of each task, at most
BUDGET = 2_500_000  # characters of all that is shown, about
LONGEST = 2000  # characters that are shown of a text, at most
SHORTEST = 80
ITEM = ["task", "example_id"]


@dataclass(frozen=True)
class Speaker:
    """A model that answers, by the first of its training seeds."""

    row: Row
    pair: int  # its place among the pairs
    evaluation: str


@dataclass(frozen=True)
class Texts:
    """Texts by their places; equal ones are kept once."""

    longest: int
    places: dict[str, int] = field(default_factory=dict)

    def place(self, text: str) -> int:
        """The place of a text, cut to what is shown of it."""
        return self.places.setdefault(clipped(text, self.longest), len(self.places))


def samples(
    inputs: ReportInputs, results: Results, sizes: Mapping[str, int]
) -> dict[str, object] | None:
    """Evenly spaced items of each task with everybody's answers; None where nobody wrote."""
    speakers = list(_speakers(inputs.grid, results))
    ids = list(dict.fromkeys(one.evaluation for one in speakers))
    outputs = pd.concat([inputs.shown_outputs[id].assign(evaluation=id) for id in ids])
    if outputs.empty:
        return None
    shown = _chosen(outputs)
    texts = Texts(longest=max(SHORTEST, min(LONGEST, BUDGET // len(shown))))
    scored = {id: inputs.shown_items[id] for id in ids}
    styles = styles_of(results.labels)
    return {
        "pairs": [pair_title(pair, sizes) for pair in results.pairs],
        "speakers": [
            {
                "label": one.row.label,
                "pair": one.pair,
                "colour": styles[one.row.label].colour if one.row.kind == "method" else "",
            }
            for one in speakers
        ],
        "tasks": [
            _task(str(task), of_task, speakers, scored, results, texts)
            for task, of_task in shown.groupby("task", sort=False)
        ],
        "texts": list(texts.places),
    }


def _speakers(grid: pd.DataFrame, results: Results) -> Iterator[Speaker]:
    """The teacher and the methods of each pair."""
    ordered = grid.sort_values("seed", kind="stable", ascending=False)
    places = zip(ordered["teacher"], ordered["student"], ordered["method"], strict=True)
    first = dict(zip(places, ordered["eval_id"], strict=True))
    for place, pair in enumerate(results.pairs):
        for row in (*results.references[pair], *results.methods[pair]):
            if row.kind in ("teacher", "method"):
                yield Speaker(row, place, first[row.teacher, row.student, row.method])


def _chosen(outputs: pd.DataFrame) -> pd.DataFrame:
    """The outputs for as many evenly spaced items of each task as the budget allows."""
    parts = []
    for _, rows in outputs.groupby("task", sort=False):
        ids = sorted(rows["example_id"].unique())
        characters = rows["output"].str.len().clip(upper=LONGEST).sum() / len(ids)
        room = int(BUDGET / outputs["task"].nunique() / max(characters, 1))
        count = max(1, min(ITEMS, len(ids), room))
        chosen = [ids[place * len(ids) // count] for place in range(count)]
        parts.append(rows[rows["example_id"].isin(chosen)])
    return pd.concat(parts)


def _task(
    name: str,
    outputs: pd.DataFrame,
    speakers: Sequence[Speaker],
    scored: Mapping[str, pd.DataFrame],
    results: Results,
    texts: Texts,
) -> dict[str, object]:
    """A task's items; the answers of each in the order of speakers and of decoding seeds."""
    seeds = sorted(outputs["decoding_seed"].unique().tolist())
    measure = next((one for one in results.ranked_measures if one.task == name), None)
    said = {
        (row.evaluation, row.example_id, row.decoding_seed): texts.place(row.output)
        for row in outputs.itertuples(index=False)
    }
    items = outputs.drop_duplicates("example_id").sort_values("example_id")
    scores = _scores(measure, set(items["example_id"]), scored) if measure else {}
    evaluations = [one.evaluation for one in speakers]
    return {
        "name": name,
        "seeds": seeds,
        "measure": measure.metric.title if measure else "",
        "items": [
            {
                "id": item.example_id,
                "prompt": texts.place(item.prompt),
                "references": [texts.place(text) for text in item.references],
                "answers": _grid_of(said, evaluations, item.example_id, seeds),
                "scores": _grid_of(scores, evaluations, item.example_id, seeds),
            }
            for item in items.itertuples(index=False)
        ],
    }


def _grid_of(
    found: Mapping[tuple[str, str, int], object],
    evaluations: Iterable[str],
    example: str,
    seeds: Sequence[int],
) -> list[list[object]]:
    return [[found.get((id, example, seed)) for seed in seeds] for id in evaluations]


def _scores(
    measure: Measure, examples: set[str], scored: Mapping[str, pd.DataFrame]
) -> dict[tuple[str, str, int], object]:
    """What each answer was given by the measure."""
    found = {}
    for id, items in scored.items():
        whole = (items["task"] == measure.task) & (items["slice"] == "")
        here = whole & (items["metric"] == measure.metric.name) & items["example_id"].isin(examples)
        defined = (items["teacher"] == "") & (items["weight"] > 0)
        for row in items[here & defined].itertuples(index=False):
            found[id, row.example_id, row.decoding_seed] = measure.format(row.value)
    return found


def clipped(text: str, longest: int = LONGEST) -> str:
    """The beginning of a long text, with a note of what is left out."""
    if len(text) <= longest:
        return text
    return f"{text[:longest]} … ({len(text) - longest} more characters)"
