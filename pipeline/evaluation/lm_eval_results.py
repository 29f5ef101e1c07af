"""Evaluates tasks of lm-eval, and makes rows of ITEMS and OUTPUTS of what it says of each document.

A score is shown by the report as a weighted mean of items. So a metric becomes items where such a
mean gives lm-eval's own aggregate; of others (F1 over all documents, Matthews correlation, ..)
results.json alone tells.

    word_perplexity  is exp of  nll_per_word_nats  weighted by words
    byte_perplexity  is 2 to the power of  bits_per_byte  weighted by bytes
    perplexity       is exp of  nll_per_target_nats
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from lm_eval.evaluator import evaluate

from pipeline.artifacts import schemas
from pipeline.data.splits import shuffled
from pipeline.evaluation.lm_eval_model import CheckpointLM
from pipeline.evaluation.records import Measured, Metric, rows, table
from pipeline.tasks import lm_eval_tasks
from pipeline.tasks.lm_eval_tasks import TaskDict

SAME = 1e-6  # relative difference between lm-eval's aggregate and the weighted mean of the items
Sample = Mapping[str, Any]


@dataclass(frozen=True)
class Values:
    """A metric of each document of a task."""

    name: str
    values: np.ndarray
    weights: np.ndarray


def run(checkpoint: CheckpointLM, tasks: TaskDict, items: int | None, seed: int) -> dict[str, Any]:
    """lm-eval's results, its samples among them; of so many documents of each task, drawn by seed.

    `simple_evaluate` would run pip and compilers to describe the machine: seconds a checkpoint.
    """
    drawn = {
        name: chosen
        for name, task in tasks["tasks"].items()
        if (chosen := draw(len(task.eval_docs), items, f"{seed} {name}"))
    }
    results = evaluate(
        lm=checkpoint,
        task_dict=tasks,
        samples=drawn or None,
        bootstrap_iters=0,  # intervals are made from the items, in the report
    )
    assert results is not None
    return dict(results)


def draw(count: int, items: int | None, seed: str) -> list[int] | None:
    """Places of so many of `count` documents in their order; None for all."""
    if items is None or items >= count:
        return None
    return sorted(shuffled(range(count), str, seed)[:items])


def measured(name: str, lm_eval_task: str, tasks: TaskDict, results: dict[str, Any]) -> Measured:
    """What lm-eval has found, under our name of the task.

    The tasks of a group are its slices, and all of them together are weighted as lm-eval does it.
    """
    samples = results.pop("samples")
    group = lm_eval_tasks.top_group(tasks, lm_eval_task)
    found, outputs = [], []
    for one, task in tasks["tasks"].items():
        ids = [_id(one, sample) for sample in samples[one]]
        outputs.append(_outputs(name, task, ids, samples[one]))
        for values in _values(samples[one], results["results"][one]):
            part = _by_filter(ids, samples[one], values)
            if group is None:
                alone = name if len(tasks["tasks"]) == 1 else one
                found.append(rows(Metric(alone, values.name), *part))
                continue
            found.append(rows(Metric(name, values.name, slice=one), *part))
            if (weight := _weight(group, values)) is not None:
                kept, numbers, weights = part
                found.append(rows(Metric(name, values.name), kept, numbers, weights * weight))
    items = pa.concat_tables(found) if found else schemas.ITEMS.empty_table()
    return Measured(items, pa.concat_tables(outputs), results=results)


def _id(task: str, sample: Sample) -> str:
    return f"{task}-{sample['doc_id']}-{sample['doc_hash'][:8]}"


def _by_filter(
    ids: Sequence[str], samples: Sequence[Sample], values: Values
) -> tuple[list[str], np.ndarray, np.ndarray]:
    wanted = values.name.partition(":")[2] or samples[0]["filter"]
    kept = [id for id, sample in zip(ids, samples, strict=True) if sample["filter"] == wanted]
    return kept, values.values, values.weights


def _weight(group: Any, values: Values) -> float | None:
    """What a document of a task counts in its group; None where the group has no such score."""
    for one in group.aggregate_metric_list:
        if one.metric == values.name.partition(":")[0]:
            return 1.0 if one.weight_by_size else 1.0 / len(values.values)
    return None


def _values(samples: Sequence[Sample], aggregates: Mapping[str, Any]) -> list[Values]:
    """The metrics that are weighted means, by name and, where there are several, filter."""
    filters = list(dict.fromkeys(sample["filter"] for sample in samples))
    found = []
    for one in filters:
        of_filter = [sample for sample in samples if sample["filter"] == one]
        for metric in of_filter[0]["metrics"]:
            values = _as_items(metric, [sample.get(metric) for sample in of_filter])
            if values is None or not _agrees(metric, values, aggregates.get(f"{metric},{one}")):
                continue
            name = values.name if len(filters) == 1 else f"{values.name}:{one}"
            found.append(Values(name, values.values, values.weights))
    return found


def _as_items(metric: str, given: Sequence[Any]) -> Values | None:
    if all(_is_pair(one) for one in given) and metric in LIKELIHOODS:
        name, unit = LIKELIHOODS[metric]
        counts = np.array([count for _, count in given], dtype=np.float64)
        return Values(name, -np.array([ll for ll, _ in given]) / counts / unit, counts)
    if all(isinstance(one, bool | int | float | np.number) for one in given):
        numbers = np.array(given, dtype=np.float64)
        if metric == "perplexity":
            return Values("nll_per_target_nats", -numbers, np.ones(len(given)))
        return Values(metric, numbers, np.ones(len(given)))
    if all(isinstance(one, list) and one for one in given) and _are_shares(given):
        counts = np.array([len(one) for one in given], dtype=np.float64)
        return Values(metric, np.array([np.mean(one) for one in given]), counts)
    return None


# name of the metric whose weighted mean they are made of, and how many nats its unit has
LIKELIHOODS = {
    "word_perplexity": ("nll_per_word_nats", 1.0),
    "bits_per_byte": ("bits_per_byte", math.log(2)),
}


def _is_pair(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) == 2


def _are_shares(given: Sequence[list[Any]]) -> bool:
    return all(isinstance(one, bool | int | float) for values in given for one in values)


def _agrees(metric: str, values: Values, aggregate: Any) -> bool:
    """Whether the weighted mean is what lm-eval itself has for the metric."""
    if not isinstance(aggregate, int | float) or not np.isfinite(values.values).all():
        return False
    mean = float((values.values * values.weights).sum() / values.weights.sum())
    if metric in ("word_perplexity", "perplexity"):
        mean = math.exp(mean)
    return math.isclose(mean, aggregate, rel_tol=SAME, abs_tol=SAME)


def _outputs(name: str, task: Any, ids: Sequence[str], samples: Sequence[Sample]) -> pa.Table:
    """What was written, under the first filter."""
    if task.OUTPUT_TYPE != "generate_until":
        return schemas.OUTPUTS.empty_table()
    first = samples[0]["filter"]
    pairs = [(id, one) for id, one in zip(ids, samples, strict=True) if one["filter"] == first]
    return table(
        schemas.OUTPUTS,
        {
            "task": [name] * len(pairs),
            "decoding_seed": [0] * len(pairs),
            "example_id": [id for id, _ in pairs],
            "prompt": [one["arguments"][0][0] for _, one in pairs],
            "output": [one["resps"][0][0] for _, one in pairs],
            "references": [_references(one["target"]) for _, one in pairs],
        },
    )


def _references(target: Any) -> list[str]:
    return [str(one) for one in target] if isinstance(target, list) else [str(target)]
