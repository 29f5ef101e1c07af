"""Responses to prompts with references: an lm-eval task for each decoding seed, and its metrics.

    rouge_l          ROUGE-L F-measure times 100, stemmed, the best over the references
    rouge_l_unicode  the same over Unicode's words, where the papers' miss letters of the references
    correct          whether the answer is the reference's, of a task whose answers are checked
    pass_at_k        the chance that k of the responses to an item have a correct one among them
    answered         whether there is an answer in it at all
    response_tokens  length, EOS included
    ended            whether it ended with EOS
    distinct_n       share of the response's n-grams of words that are not repetitions of one before
    repetition_4     share of its 4-grams that are

ROUGE: `pipeline.evaluation.rouge`; answers: `pipeline.tasks.answers`. The mean of `correct` over n
decoding seeds is known as avg@n. pass@k: `pipeline.statistics.pass_at_k`, for k of 2, 4, 8, ..
and n. Distinct-n: J. Li et al., 2016, arXiv:1510.03055; here within a response, and over all
responses in lm-eval's results. Repetition: S. Welleck et al., 2019, arXiv:1908.04319, within a
response. A response too short for an n-gram repeats none.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from datasets import Dataset
from lm_eval.api.group import Group
from lm_eval.api.task import ConfigurableTask

from pipeline.artifacts import schemas
from pipeline.data.batch import Text
from pipeline.evaluation.records import EvaluationRecords, Metric, item_rows
from pipeline.evaluation.rouge import kinds_for, rouge_l, rouge_l_unicode
from pipeline.runtime.progress import log
from pipeline.settings.evaluation import GenerationSettings, ScoredBy
from pipeline.statistics.pass_at_k import ks_of, pass_at_k
from pipeline.tasks.answers import has_answer, is_correct, response_answer
from pipeline.tasks.lm_eval_tasks import LoadedTasks

ROUGE = {"rouge_l": rouge_l, "rouge_l_unicode": rouge_l_unicode}
ANSWERS = {"correct": is_correct, "answered": has_answer}
BY_REFERENCES = {**ROUGE, **ANSWERS}
METRICS = {  # and whether a higher value is better, as lm-eval asks of every metric
    "rouge_l": True,
    "rouge_l_unicode": True,
    "correct": True,
    "answered": True,
    "response_tokens": True,
    "ended": True,
    "distinct_1": True,
    "distinct_2": True,
    "repetition_4": False,
}
CORPUS_METRIC = "distinct_2_of_all"
# Words of the first reference: the subsets that MiniLLM, DistiLLM and SWITCH report, and of the
# longest of these two more.
BUCKETS = {"0-5": (0, 5), "6-10": (6, 10), "11-": (11, None), "31-60": (31, 60), "61-": (61, None)}

Item = Mapping[str, Any]  # a row of EXAMPLES
Sample = Mapping[str, Any]  # lm-eval's record of an item
LookUp = Callable[[Item, int], Text]  # from an item and a decoding seed to the response


def ngrams(text: str, n: int) -> list[tuple[str, ...]]:
    """The n-grams of the words in a text, in order."""
    words = text.lower().split()
    return [tuple(words[start : start + n]) for start in range(len(words) - n + 1)]


def distinct(grams: Sequence[tuple[str, ...]]) -> float:
    """The share of n-grams that don't repeat an earlier one; 1 where there is none."""
    return len(set(grams)) / len(grams) if grams else 1.0


def distinct_over_all(responses: Sequence[Sequence[tuple[str, ...]]]) -> float:
    """The share of distinct n-grams among those of all responses."""
    return distinct([gram for grams in responses for gram in grams])


def score(
    look_up: LookUp, seed: int, kinds: Sequence[str], item: Item, results: Sequence[str]
) -> dict[str, Any]:
    """The metrics of one response; of those that ask the references, the ones in `kinds`."""
    output, text = results[0].strip(), look_up(item, seed)
    return {
        **{name: float(BY_REFERENCES[name](output, item["responses"])) for name in kinds},
        "response_tokens": len(text.response_ids),
        "ended": float(text.ended),
        "distinct_1": distinct(ngrams(output, 1)),
        "distinct_2": distinct(ngrams(output, 2)),
        "repetition_4": 1 - distinct(ngrams(output, 4)),
        CORPUS_METRIC: ngrams(output, 2),
    }


def response_tasks(
    name: str,
    items: Sequence[Item],
    generation: GenerationSettings,
    look_up: LookUp,
    scored_by: ScoredBy = "references",
) -> LoadedTasks:
    """A task of lm-eval for each decoding seed, in a group where there are several.

    The items are in memory: nothing of them can be cached under a wrong key.
    """
    kinds = tuple(ANSWERS) if scored_by == "answers" else rouges_of(name, items)
    tasks = {
        task_name(name, generation, seed): _task(name, items, generation, seed, kinds, look_up)
        for seed in generation.decoding_seeds
    }
    if len(tasks) == 1:
        return LoadedTasks(tasks, {})
    means = [{"metric": metric, "weight_by_size": True} for metric in metrics_with(kinds)]
    group = Group.from_config({"group": name, "task": list(tasks), "aggregate_metric_list": means})
    for task in tasks.values():
        group.add(task)
    return LoadedTasks(tasks, {name: group})


def rouges_of(name: str, items: Sequence[Item]) -> tuple[str, ...]:
    """The kinds of ROUGE-L that mean something on these items' references."""
    kinds = kinds_for(reference for item in items for reference in item["responses"])
    if "rouge_l_unicode" in kinds:
        log(
            f"{name}: the tokenizer of the papers' ROUGE-L keeps a-z and 0-9 alone and sees "
            f"{'a part' if 'rouge_l' in kinds else 'nothing'} of the references; "
            "rouge_l_unicode splits every script into words"
        )
    return kinds


def metrics_with(kinds: Sequence[str]) -> list[str]:
    """The metrics of a task that asks the references for these."""
    return [metric for metric in METRICS if metric not in BY_REFERENCES or metric in kinds]


def task_name(name: str, generation: GenerationSettings, seed: int) -> str:
    """The name of lm-eval's task for the responses of one decoding seed."""
    return name if len(generation.decoding_seeds) == 1 else f"{name}_seed_{seed}"


def _task(
    name: str,
    items: Sequence[Item],
    generation: GenerationSettings,
    seed: int,
    kinds: Sequence[str],
    look_up: LookUp,
) -> ConfigurableTask:
    metrics = [
        {"metric": metric, "aggregation": "mean", "higher_is_better": METRICS[metric]}
        for metric in metrics_with(kinds)
    ]
    corpus = {"metric": CORPUS_METRIC, "aggregation": distinct_over_all, "higher_is_better": True}
    rows = [dict(item) for item in items]
    return ConfigurableTask(
        config={
            "task": task_name(name, generation, seed),
            "custom_dataset": lambda **_: {"test": Dataset.from_list(rows)},
            "test_split": "test",
            "output_type": "generate_until",
            "doc_to_text": lambda item: item["prompt"],
            "doc_to_target": lambda item: item["responses"][0],
            "generation_kwargs": generation_options(generation, seed),
            # no partial(): lm-eval copies its configuration, and with it the model behind `look_up`
            "process_results": lambda item, results: score(look_up, seed, kinds, item, results),
            "metric_list": [*metrics, corpus],
            "num_fewshot": 0,
            "metadata": {"version": 1},
        }
    )


def generation_options(generation: GenerationSettings, seed: int) -> dict[str, Any]:
    """What lm-eval asks a model for a response with."""
    sampling = generation.sampling
    return {
        "until": [],
        "max_gen_toks": generation.max_new_tokens,
        "do_sample": sampling.temperature > 0,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        "seed": seed,
    }


def response_records(
    name: str, generation: GenerationSettings, results: Mapping[str, Any]
) -> EvaluationRecords:
    """The records of the responses of all decoding seeds, from lm-eval's results."""
    samples = {
        seed: results["samples"][task_name(name, generation, seed)]
        for seed in generation.decoding_seeds
    }
    items = [_item_rows(name, seed, rows) for seed, rows in samples.items()]
    if "correct" in next(iter(samples.values()))[0]:
        items += _pass_rows(name, list(samples.values()))
    return EvaluationRecords(
        pa.concat_tables(items),
        pa.concat_tables([_output_rows(name, seed, rows) for seed, rows in samples.items()]),
        results={kind: value for kind, value in results.items() if kind != "samples"},
    )


def _item_rows(name: str, seed: int, samples: Sequence[Sample]) -> pa.Table:
    ids = [sample["doc"]["example_id"] for sample in samples]
    words = np.array([len(sample["doc"]["responses"][0].split()) for sample in samples])
    tables = []
    for metric in [metric for metric in METRICS if metric in samples[0]]:
        values = np.array([sample[metric] for sample in samples], dtype=np.float64)
        tables.append(item_rows(Metric(name, metric, decoding_seed=seed), ids, values, 1.0))
        for bucket, (least, most) in BUCKETS.items():
            chosen = np.flatnonzero((words >= least) & (words <= (most or np.inf)))
            if metric in ROUGE and len(chosen):
                key = Metric(name, metric, f"reference {bucket} words", decoding_seed=seed)
                chosen_ids = [ids[index] for index in chosen]
                tables.append(item_rows(key, chosen_ids, values[chosen], 1.0))
    return pa.concat_tables(tables)


def _pass_rows(name: str, by_seed: Sequence[Sequence[Sample]]) -> list[pa.Table]:
    """pass@k of each item over all of its responses."""
    ids = [sample["doc"]["example_id"] for sample in by_seed[0]]
    correct = np.array([[sample["correct"] for sample in samples] for samples in by_seed])
    responses, counts = len(by_seed), correct.sum(axis=0).astype(int)
    return [
        item_rows(Metric(name, f"pass_at_{k}"), ids, pass_at_k(responses, counts, k), 1.0)
        for k in ks_of(responses)
    ]


def _output_rows(name: str, seed: int, samples: Sequence[Sample]) -> pa.Table:
    columns = {
        "task": [name] * len(samples),
        "decoding_seed": [seed] * len(samples),
        "example_id": [sample["doc"]["example_id"] for sample in samples],
        "prompt": [sample["doc"]["prompt"] for sample in samples],
        "output": [sample["resps"][0][0] for sample in samples],
        "references": [sample["doc"]["responses"] for sample in samples],
    }
    if "correct" not in samples[0]:
        return pa.table(columns, schema=schemas.OUTPUTS)
    answers = [
        response_answer(text, references[0])
        for text, references in zip(columns["output"], columns["references"], strict=True)
    ]
    verdicts = [bool(sample["correct"]) for sample in samples]
    checked = {**columns, "answer": answers, "is_correct": verdicts}
    return pa.table(checked, schema=schemas.CHECKED_OUTPUTS)
