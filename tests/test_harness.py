"""lm-eval's tasks on documents of ours: its own scores, whatever it may have cached."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import Dataset
from lm_eval.api.group import Group
from lm_eval.evaluator import simple_evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from small_tasks import DATA, QUESTIONS, WORDS, evaluated, gathered, lines, model, scores

from pipeline.evaluation import lm_eval_results
from pipeline.tasks import lm_eval_index, lm_eval_tasks


def own_task(folder: Path, task: str, splits: Mapping[str, list[dict]]) -> dict[str, Any]:
    """lm-eval's results of its own task with files named in its YAML, by plain HFLM."""
    files = {
        split: str(lines(folder / f"{split}.jsonl", rows).absolute())
        for split, rows in splits.items()
    }
    (place,) = lm_eval_index.files(task)
    config = {
        "include": str(place),
        "task": f"reference_{task}",
        "dataset_path": "json",
        "dataset_name": None,
        "dataset_kwargs": {"data_files": files, "cache_dir": str(folder / "cache")},
    }
    (folder / "reference.yaml").write_text(json.dumps(config))
    results = simple_evaluate(
        model=HFLM(pretrained=model(1), tokenizer=WORDS, batch_size=1),
        tasks=[f"reference_{task}"],
        task_manager=TaskManager(include_path=str(folder), include_defaults=False),
        bootstrap_iters=0,
    )
    return results["results"][f"reference_{task}"]


@pytest.mark.parametrize(
    ("task", "files", "used"),
    [
        ("arc_easy", ["choice/arc-easy/test.jsonl"], ("test", "train", "validation")),
        ("arc_challenge", ["choice/arc-challenge/test.jsonl"], ("test", "train", "validation")),
        (
            "piqa",
            ["choice/piqa/valid.jsonl", "choice/piqa/valid-labels.lst"],
            ("validation", "train"),
        ),
    ],
)
def test_accuracy_is_that_of_lm_eval_s_own_task_on_the_same_items(
    tmp_path: Path, task: str, files: list[str], used: tuple[str, ...]
):
    if not DATA.is_dir():
        pytest.skip("../shared/data is not there")
    few = []
    for file in files:
        few.append(tmp_path / Path(file).name)
        few[-1].write_text("\n".join((DATA / file).read_text().splitlines()[:25]) + "\n")
    folder = gathered(tmp_path / "kept", task, *few)
    kept = lm_eval_tasks.read_documents(folder / f"documents/{task}/{used[0]}.arrow")
    rows = kept.to_pylist()
    (tmp_path / "reference").mkdir()
    expected = own_task(tmp_path / "reference", task, dict.fromkeys(used, rows))
    table = scores(evaluated(folder, task))
    assert table["", "acc"] == expected["acc,none"]
    assert table["", "acc_norm"] == expected["acc_norm,none"]
    assert 0 < table["", "acc"] < 1  # else equality would say little


def rotated(by: int) -> list[dict[str, Any]]:
    """The questions with other answers."""
    return [row | {"answerKey": "ABCD"[(index + by) % 4]} for index, row in enumerate(QUESTIONS)]


def test_other_data_never_get_an_old_result(tmp_path: Path):
    """lm-eval's cache of requests knows tasks by name: it would ask the old questions."""
    right, ids = [], []
    for by in range(4):
        path = lines(tmp_path / f"{by}.jsonl", rotated(by))
        folder = gathered(tmp_path / f"kept-{by}", "arc_easy", path)
        items = evaluated(folder, "arc_easy").items.to_pandas().query("metric == 'acc'")
        right.append(items["value"].to_numpy())
        ids += items["example_id"].tolist()
    # a model's choice is right under one of the four keys
    assert np.array_equal(np.sum(right, axis=0), np.ones(len(QUESTIONS)))
    assert len(set(ids)) == 4 * len(QUESTIONS)


def test_another_model_never_gets_an_old_result(tmp_path: Path):
    """lm-eval's cache of answers does not know whose they are."""
    path = tmp_path / "wiki.raw"
    path.write_text(" = One = \n The cat is in the barn . \n = Two = \n The owl . \n")
    folder = gathered(tmp_path / "kept", "wikitext", path)
    first, other, again = (
        scores(evaluated(folder, "wikitext", seed))["", "nll_per_word_nats"] for seed in (1, 2, 1)
    )
    assert first == again
    assert abs(first - other) > 1e-3


def test_the_perplexity_of_lm_eval_follows_from_the_items(tmp_path: Path):
    path = tmp_path / "wiki.raw"
    path.write_text(" = One = \n The cat is in the barn . \n = Two = \n The owl . \n")
    evaluation = evaluated(gathered(tmp_path / "kept", "wikitext", path), "wikitext")
    results, ours = evaluation.results["results"]["wikitext"], scores(evaluation)
    perplexity = math.exp(ours["", "nll_per_word_nats"])
    assert perplexity == pytest.approx(results["word_perplexity,none"])
    assert ours["", "bits_per_byte"] == pytest.approx(results["bits_per_byte,none"])


def test_so_many_documents_are_drawn_by_the_seed(tmp_path: Path):
    path = lines(tmp_path / "test.jsonl", QUESTIONS)
    folder = gathered(tmp_path / "kept", "arc_easy", path)
    everything = evaluated(folder, "arc_easy").items.to_pandas()
    few = evaluated(folder, "arc_easy", items=3).items.to_pandas()
    assert few["example_id"].nunique() == 3
    both = everything.merge(few, on=["example_id", "metric"])
    assert len(both) == len(few)
    assert both["value_x"].equals(both["value_y"])


def subject(name: str, count: int) -> list[dict[str, Any]]:
    return [
        {
            "question": f"{name} {index}?",
            "subject": name,
            "choices": list("wxyz"),
            "answer": index % 4,
        }
        for index in range(count)
    ]


def splits(task: str) -> dict[str, Dataset]:
    """Questions of a subject, of each in another number so that weights matter."""
    rows = {"test": subject(task, 1 + len(task) % 3), "dev": subject(f"{task} dev", 2)}
    return {split: Dataset.from_list(documents) for split, documents in rows.items()}


def test_a_group_is_scored_as_lm_eval_does_with_its_tasks_as_slices(tmp_path: Path):
    members = ("wmdp_bio", "wmdp_chem", "wmdp_cyber")
    lm_eval_tasks.write_documents(tmp_path, {name: splits(name) for name in members})
    evaluation = evaluated(tmp_path, "wmdp")
    means, results = scores(evaluation), evaluation.results
    assert means["", "acc"] == pytest.approx(results["groups"]["wmdp"]["acc,none"])
    for name in members:
        assert means[name, "acc"] == pytest.approx(results["results"][name]["acc,none"])
    assert set(evaluation.items["task"].to_pylist()) == {"wmdp"}


def test_examples_in_the_prompt_are_of_the_split_that_lm_eval_takes_them_from(tmp_path: Path):
    lm_eval_tasks.write_documents(tmp_path, {"mmlu_anatomy": splits("mmlu_anatomy")})
    stored = lm_eval_tasks.stored(tmp_path)
    (task,) = lm_eval_tasks.load("mmlu_anatomy", stored, 2, "a test").tasks.values()
    definition = lm_eval_tasks.definition_of(task)
    required = lm_eval_tasks.required_splits(definition, task.config.num_fewshot, task.dataset)
    assert set(required) == {"test", "dev"}
    prompt = str(task.fewshot_context(task.eval_docs[0], 2))
    assert "mmlu_anatomy dev 0?" in prompt
    assert "mmlu_anatomy dev 1?" in prompt


def test_a_group_that_weights_its_tasks_alike_is_so_weighted():
    means = [{"metric": "acc", "aggregation": "mean", "weight_by_size": False}]
    group = Group.from_config({"group": "few", "task": [], "aggregate_metric_list": means})
    assert lm_eval_results._group_weight(group, "acc", 4) == 1 / 4
    assert lm_eval_results._group_weight(group, "acc_norm", 4) is None


def test_ifeval_counts_prompts_and_instructions(tmp_path: Path):
    rows = [
        {
            "key": index,
            "prompt": f"Write about the {animal}.",
            "instruction_id_list": ["punctuation:no_comma", "detectable_format:title"][: index + 1],
            "kwargs": [{}, {}][: index + 1],
        }
        for index, animal in enumerate(("cat", "dog"))
    ]
    path = lines(tmp_path / "rows.jsonl", rows)
    changes = {"lm_eval_task": "ifeval", "exclude": {}}
    folder = gathered(tmp_path / "kept", "ifeval_no_punkt", path, **changes)
    evaluation = evaluated(folder, "ifeval")
    means, results = scores(evaluation), evaluation.results["results"]["ifeval"]
    for metric in ("prompt_level_strict_acc", "inst_level_strict_acc", "inst_level_loose_acc"):
        assert means["", metric] == pytest.approx(results[f"{metric},none"])
    items = evaluation.items.to_pandas().set_index(["metric", "example_id"])
    assert sorted(items.loc["inst_level_strict_acc"]["weight"]) == [1, 2]
    assert len(evaluation.outputs) == 2
