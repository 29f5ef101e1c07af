"""The models' responses side by side, for a few items of each task: data for the page's script."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from pipeline.reporting.analysis.load import ReportInputs
from pipeline.reporting.analysis.metrics import Measure
from pipeline.reporting.analysis.scores import CELL, Results, Row
from pipeline.reporting.plots.looks import styles_of
from pipeline.reporting.sections.judges import is_verdict
from pipeline.runtime.inert import inert

ITEMS = 24  # of each task, at most
BUDGET = 2_500_000  # characters of everything that is shown, about
LONGEST = 2000  # characters of a text that are shown, at most
SHORTEST = 80

Response = tuple[str, str, int]  # its evaluation, item and decoding seed


@dataclass(frozen=True)
class Model:
    """A model whose responses are shown: that of its first training seed."""

    row: Row
    pair: int  # index of its teacher and student
    evaluation: str


def samples(inputs: ReportInputs, results: Results) -> dict[str, object] | None:
    """Evenly spaced items of each task with all models' responses; None where none were written."""
    models = list(_models(inputs.grid, results))
    ids = list(dict.fromkeys(model.evaluation for model in models))
    outputs = pd.concat([inputs.shown_outputs[id].assign(evaluation=id) for id in ids])
    if outputs.empty:
        return None
    shown = _evenly_spaced(outputs)
    longest = max(SHORTEST, min(LONGEST, BUDGET // len(shown)))
    texts: dict[str, int] = {}  # each once, by its index

    def index(text: str) -> int:
        return texts.setdefault(clipped(inert(text), longest), len(texts))

    items = {id: inputs.shown_items[id] for id in ids}
    colours = {method: style.colour for method, style in styles_of(results).items()}
    return {
        "pairs": [results.title(pair) for pair in results.pairs],
        "models": [
            {
                "label": model.row.method,
                "pair": model.pair,
                "colour": colours[model.row.method] if model.row.kind == "method" else "",
            }
            for model in models
        ],
        "tasks": [
            _task(str(task), rows, models, items, results, index)
            for task, rows in shown.groupby("task", sort=False)
        ],
        "texts": list(texts),
    }


def _models(grid: pd.DataFrame, results: Results) -> Iterator[Model]:
    """The teacher and the methods of each pair."""
    first_seeds = grid.sort_values("seed", kind="stable").drop_duplicates(CELL)
    first = first_seeds.set_index(CELL)["eval_id"].to_dict()
    for index, pair in enumerate(results.pairs):
        for row in (*results.teachers(pair), *results.methods[pair]):
            yield Model(row, index, first[row.cell])


def _evenly_spaced(outputs: pd.DataFrame) -> pd.DataFrame:
    """The outputs for as many evenly spaced items of each task as the budget allows."""
    parts = []
    budget = BUDGET / len(set(outputs["task"]))
    for _, rows in outputs.groupby("task", sort=False):
        ids = sorted(set(rows["example_id"]))
        characters = sum(min(LONGEST, len(text)) for text in rows["output"]) / len(ids)
        count = max(1, min(ITEMS, len(ids), int(budget / max(characters, 1))))
        chosen = [ids[index * len(ids) // count] for index in range(count)]
        parts.append(rows[rows["example_id"].isin(chosen)])
    return pd.concat(parts)


def _task(
    name: str,
    outputs: pd.DataFrame,
    models: Sequence[Model],
    scored: Mapping[str, pd.DataFrame],
    results: Results,
    index: Callable[[str], int],
) -> dict[str, object]:
    """A task's items, their responses in the order of models and of decoding seeds."""
    seeds = sorted(set(outputs["decoding_seed"].tolist()))
    ranked = [measure for measure in results.ranked_measures if measure.task == name]
    measures = [*ranked[:1], *filter(is_verdict, ranked[1:])]
    responses = {
        (row["evaluation"], row["example_id"], row["decoding_seed"]): index(row["output"])
        for row in outputs.to_dict("records")
    }
    items = outputs.drop_duplicates("example_id").sort_values("example_id")
    scores = _scores(measures, list(items["example_id"]), scored)

    def in_order(values: Mapping[Response, object], item: str) -> list[list[object]]:
        return [[values.get((model.evaluation, item, seed)) for seed in seeds] for model in models]

    return {
        "name": name,
        "seeds": seeds,
        "measures": [measure.metric.title for measure in measures],
        "items": [
            {
                "id": item["example_id"],
                "prompt": index(item["prompt"]),
                "references": [index(text) for text in item["references"]],
                "responses": in_order(responses, item["example_id"]),
                "scores": in_order(scores, item["example_id"]),
            }
            for item in items.to_dict("records")
        ],
    }


def _scores(
    measures: Sequence[Measure], ids: Sequence[str], scored: Mapping[str, pd.DataFrame]
) -> dict[Response, list[str]]:
    """The scores of each response by the measures; empty for one that it has no score by.

    A verdict is one also where its opponent is of one teacher; a response that is compared with an
    opponent of each of several teachers has no single verdict.
    """
    scores: dict[Response, list[str]] = {}
    for evaluation, items in scored.items():
        shown = items.loc[items["example_id"].isin(ids) & (items["weight"] > 0)]
        for place, measure in enumerate(measures):
            measured = {"task": measure.task, "slice": "", "metric": measure.metric.name}
            if not is_verdict(measure):
                measured["teacher"] = ""
            is_of = (shown[list(measured)] == list(measured.values())).all(axis=1)
            columns = ["example_id", "decoding_seed", "value"]
            values = shown.loc[is_of, columns].drop_duplicates(columns[:2], keep=False)
            for item, seed, value in values.itertuples(index=False, name=None):
                of_response = scores.setdefault((evaluation, item, seed), [""] * len(measures))
                of_response[place] = measure.format(value)
    return scores


def clipped(text: str, longest: int = LONGEST) -> str:
    """The beginning of a long text, with a note of how much is left out."""
    if len(text) <= longest:
        return text
    return f"{text[:longest]} … ({len(text) - longest} more characters)"
