"""Evaluates tasks of lm-eval, and makes rows of ITEMS and OUTPUTS of its samples.

The report shows a score as a weighted mean of items. So a metric becomes items where such a mean
gives lm-eval's own aggregate; other metrics (F1 over all documents, Matthews correlation, ..) are
in results.json alone.

    word_perplexity  is exp of  nll_per_word_nats  weighted by words
    byte_perplexity  is 2 to the power of  bits_per_byte  weighted by bytes
    perplexity       is exp of  nll_per_target_nats
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
from lm_eval.api.group import Group
from lm_eval.api.task import ConfigurableTask
from lm_eval.evaluator import evaluate

from pipeline.artifacts import schemas
from pipeline.data.splits import shuffled
from pipeline.evaluation.lm_eval_model import CheckpointLM
from pipeline.evaluation.records import EvaluationRecords, Metric, item_rows
from pipeline.tasks.lm_eval_tasks import LoadedTasks
from pipeline.tasks.measures import LOGARITHMS

# relative difference between lm-eval's aggregate and the weighted mean of the items
TOLERANCE = 1e-6
Sample = Mapping[str, Any]  # lm-eval's record of a document

# name of the metric whose weighted mean they derive from, and the nats of its unit
LIKELIHOODS = {
    "word_perplexity": (LOGARITHMS["word_perplexity"], 1.0),
    "bits_per_byte": ("bits_per_byte", math.log(2)),
}


@dataclass(frozen=True)
class MetricValues:
    """The values of a metric for the documents of a task."""

    name: str
    values: np.ndarray
    weights: np.ndarray


def evaluate_tasks(
    checkpoint: CheckpointLM, tasks: LoadedTasks, items: int | None, seed: int
) -> dict[str, Any]:
    """lm-eval's results and samples, on `items` documents of each task, drawn by the seed.

    `simple_evaluate` would run pip and compilers to describe the machine: seconds a checkpoint.
    """
    samples = {
        name: indices
        for name, task in tasks.tasks.items()
        if (indices := draw(len(task.eval_docs), items, f"{seed} {name}"))
    }
    results = evaluate(
        lm=checkpoint,
        task_dict=tasks.task_dict,
        samples=samples or None,
        apply_chat_template=checkpoint.chat is not None,
        fewshot_as_multiturn=checkpoint.chat is not None,
        bootstrap_iters=0,  # intervals are made from the items, in the report
    )
    assert results is not None
    return dict(results)


def draw(count: int, items: int | None, seed: str) -> list[int] | None:
    """The indices of `items` of `count` documents, in their order; None for all."""
    if items is None or items >= count:
        return None
    return sorted(shuffled(range(count), str, seed)[:items])


def lm_eval_records(
    name: str, lm_eval_task: str, tasks: LoadedTasks, results: dict[str, Any]
) -> EvaluationRecords:
    """The records of lm-eval's results, under our name of the task.

    The tasks of a group are its slices; its score weights them as lm-eval does.
    """
    samples = results.pop("samples")
    group = tasks.group(lm_eval_task)
    items, outputs = [schemas.ITEMS.empty_table()], []
    for member, task in tasks.tasks.items():
        ids = [
            f"{member}-{sample['doc_id']}-{sample['doc_hash'][:8]}" for sample in samples[member]
        ]
        outputs.append(_output_rows(name, task, ids, samples[member]))
        for filter, metric in _metrics(samples[member], results["results"][member]):
            pairs = zip(ids, samples[member], strict=True)
            metric_ids = [id for id, sample in pairs if sample["filter"] == filter]
            if group is None:
                alone = name if len(tasks.tasks) == 1 else member
                items.append(_rows(Metric(alone, metric.name), metric_ids, metric))
                continue
            items.append(_rows(Metric(name, metric.name, slice=member), metric_ids, metric))
            base = metric.name.removesuffix(f":{filter}")
            if (weight := _group_weight(group, base, len(metric.values))) is not None:
                items.append(_rows(Metric(name, metric.name), metric_ids, metric, weight))
    return EvaluationRecords(pa.concat_tables(items), pa.concat_tables(outputs), results=results)


def _rows(key: Metric, ids: Sequence[str], metric: MetricValues, weight: float = 1.0) -> pa.Table:
    return item_rows(key, ids, metric.values, metric.weights * weight)


def _group_weight(group: Group, metric: str, count: int) -> float | None:
    """The weight of a task's document in its group; None where the group has no such score."""
    for aggregate in group.aggregate_metric_list or []:
        if aggregate.metric == metric:
            return 1.0 if aggregate.weight_by_size else 1.0 / count
    return None


def _metrics(
    samples: Sequence[Sample], aggregates: Mapping[str, Any]
) -> Iterator[tuple[str, MetricValues]]:
    """The filter and values of metrics that are weighted means; several filters are in names."""
    filters = list(dict.fromkeys(sample["filter"] for sample in samples))
    for filter in filters:
        filtered = [sample for sample in samples if sample["filter"] == filter]
        for name in filtered[0]["metrics"]:
            metric = _as_items(name, [sample.get(name) for sample in filtered])
            if metric is None or not _agrees(name, metric, aggregates.get(f"{name},{filter}")):
                continue
            full_name = metric.name if len(filters) == 1 else f"{metric.name}:{filter}"
            yield filter, replace(metric, name=full_name)


def _as_items(name: str, values: Sequence[Any]) -> MetricValues | None:
    """A metric's values for a weighted mean; None for values of another kind."""
    if name in LIKELIHOODS and all(
        isinstance(value, tuple) and len(value) == 2 for value in values
    ):
        item_name, nats = LIKELIHOODS[name]
        log_probs, counts = np.array(values, dtype=np.float64).T
        return MetricValues(item_name, -log_probs / counts / nats, counts)
    if all(isinstance(value, bool | int | float | np.number) for value in values):
        numbers = np.array(values, dtype=np.float64)
        if name == "perplexity":
            return MetricValues(LOGARITHMS[name], -numbers, np.ones(len(values)))
        return MetricValues(name, numbers, np.ones(len(values)))
    if all(isinstance(value, list) and value for value in values) and all(
        isinstance(part, bool | int | float) for value in values for part in value
    ):
        counts = np.array([len(value) for value in values], dtype=np.float64)
        return MetricValues(name, np.array([np.mean(value) for value in values]), counts)
    return None


def _agrees(name: str, metric: MetricValues, aggregate: object) -> bool:
    """Whether the weighted mean is lm-eval's own aggregate of the metric."""
    if not isinstance(aggregate, int | float) or not np.isfinite(metric.values).all():
        return False
    mean = float((metric.values * metric.weights).sum() / metric.weights.sum())
    if name in LOGARITHMS:
        mean = math.exp(mean)
    return math.isclose(mean, aggregate, rel_tol=TOLERANCE, abs_tol=TOLERANCE)


def _output_rows(
    name: str, task: ConfigurableTask, ids: Sequence[str], samples: Sequence[Sample]
) -> pa.Table:
    """The generated responses, under the first filter."""
    if task.OUTPUT_TYPE != "generate_until":
        return schemas.OUTPUTS.empty_table()
    first = samples[0]["filter"]
    pairs = [(id, each) for id, each in zip(ids, samples, strict=True) if each["filter"] == first]
    columns = {
        "task": [name] * len(pairs),
        "decoding_seed": [0] * len(pairs),
        "example_id": [id for id, _ in pairs],
        "prompt": [sample["arguments"][0][0] for _, sample in pairs],
        "output": [sample["resps"][0][0] for _, sample in pairs],
        "references": [_references(sample["target"]) for _, sample in pairs],
    }
    return pa.table(columns, schema=schemas.OUTPUTS)


def _references(target: object) -> list[str]:
    return [str(reference) for reference in target] if isinstance(target, list) else [str(target)]
