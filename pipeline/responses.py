"""The generation task on the test split: its prompts, answered, scored by ROUGE-L."""

from collections.abc import Mapping, Sequence
from typing import Any

from datasets import Dataset
from rouge_score.rouge_scorer import RougeScorer

from pipeline.settings.evaluation import Evaluation

SCORER = RougeScorer(["rougeL"], use_stemmer=True)
NAME = "responses"


def rouge_l(output: str, references: Sequence[str]) -> float:
    """ROUGE-L F-measure times 100, stemmed, the best over the references.

    C.-Y. Lin, 2004. ROUGE: A Package for Automatic Evaluation of Summaries.
    """
    scores = (SCORER.score(reference, output)["rougeL"].fmeasure for reference in references)
    return 100 * max(scores)


def task(rows: list[dict[str, Any]], settings: Evaluation) -> dict[str, Any]:
    """An lm-eval task over examples in memory: nothing of it can be cached under a wrong key."""
    sampling = settings.sampling
    options = {
        "until": [],
        "max_gen_toks": settings.max_new_tokens,
        "do_sample": sampling.temperature > 0,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
    }
    return {
        "task": NAME,
        "custom_dataset": lambda **_: {"test": Dataset.from_list(rows)},
        "test_split": "test",
        "output_type": "generate_until",
        "doc_to_text": lambda doc: doc["prompt"],
        "doc_to_target": lambda doc: doc["responses"][0],
        "generation_kwargs": options,
        "process_results": score,
        "metric_list": [
            {"metric": "rouge_l", "aggregation": "mean", "higher_is_better": True},
        ],
    }


def score(doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, float]:
    """The measures of one response."""
    return {"rouge_l": rouge_l(results[0].strip(), doc["responses"])}
