"""An evaluation: lm-eval's scores on documents of ours, and what becomes of them as items."""

import json
import math
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from datasets import Dataset
from lm_eval.evaluator import simple_evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from rouge_score.rouge_scorer import RougeScorer
from snaking import ROOT
from test_tasks import DATA, QUESTIONS, harness_job, lines

from pipeline import (
    artifacts,
    documents,
    exposure,
    harness,
    harness_documents,
    harness_results,
    responses,
    schemas,
)
from pipeline.checkpoint_lm import CheckpointLM
from pipeline.divergences import kl
from pipeline.measured import Measured
from pipeline.models import from_shape, settle
from pipeline.settings.evaluation import Asked, EvaluationJob, TaskJob, Writing
from pipeline.settings.models import Shape, Tokenizer
from pipeline.settings.writing import Sampling
from pipeline.tasks import definitions, harness_index
from pipeline.texts import Text
from pipeline.tokenizer import train

PROSE = [text for row in QUESTIONS for text in (row["question"]["stem"], "cat dog cow owl")]
WORDS = train(
    [*PROSE, "Question: Answer: the and of to in is a The A B C D"] * 3, Tokenizer(vocabulary=300)
)
SHAPE = Shape(source="shape", layers=2, width=32, heads=2, initial_spread=0.3)
BUDGET = 2000


def model(seed: int):
    made = from_shape(SHAPE, WORDS, seed).eval()
    settle(made, WORDS)
    return made


def gathered(folder: Path, task: str, *files: Path, **changes: Any) -> Path:
    """The documents of a task as its artifact keeps them."""
    folder.mkdir()
    job = harness_job(task, *files, **changes)
    documents.write(folder, harness_documents.gather(job, []).documents)
    return folder


def evaluated(
    folder: Path, task: str, seed: int = 1, items: int | None = None, shots: int | None = None
) -> Measured:
    """What a model of that seed does on the documents in a folder."""
    tasks = harness.load(task, documents.stored(folder), shots, "a test")
    checkpoint = CheckpointLM(model(seed), WORDS, BUDGET)
    results = harness_results.run(checkpoint, tasks, items, seed=0)
    return harness_results.measured(task, task, tasks, results)


def scores(found: Measured) -> dict[tuple[str, str], float]:
    """Weighted means by slice and metric."""
    items = found.items.to_pandas()
    items["weighted"] = items["value"] * items["weight"]
    sums = items.groupby(["slice", "metric"])[["weighted", "weight"]].sum()
    return (sums["weighted"] / sums["weight"]).to_dict()


def own_task(folder: Path, task: str, splits: Mapping[str, list[dict]]) -> dict[str, Any]:
    """lm-eval's results of its own task with files named in its YAML, by plain HFLM."""
    files = {
        split: str(lines(folder / f"{split}.jsonl", rows).absolute())
        for split, rows in splits.items()
    }
    (place,) = harness_index.files(task)
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
    rows = [dict(row) for row in documents.stored(folder)(task, {})[used[0]]]
    (tmp_path / "reference").mkdir()
    expected = own_task(tmp_path / "reference", task, dict.fromkeys(used, rows))
    found = scores(evaluated(folder, task))
    assert found["", "acc"] == expected["acc,none"]
    assert found["", "acc_norm"] == expected["acc_norm,none"]
    assert 0 < found["", "acc"] < 1  # else equality would say little


def rotated(by: int) -> list[dict[str, Any]]:
    """The questions with other answers."""
    return [row | {"answerKey": "ABCD"[(at + by) % 4]} for at, row in enumerate(QUESTIONS)]


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
    found = evaluated(gathered(tmp_path / "kept", "wikitext", path), "wikitext")
    results, ours = found.results["results"]["wikitext"], scores(found)
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
        {"question": f"{name} {at}?", "subject": name, "choices": list("wxyz"), "answer": at % 4}
        for at in range(count)
    ]


def test_a_group_is_scored_as_lm_eval_does_with_its_tasks_as_slices(tmp_path: Path):
    def splits(task: str, _: Mapping[str, Any]) -> dict[str, Dataset]:
        size = 1 + len(task) % 3  # so that weights matter
        rows = {"test": subject(task, size), "dev": subject(f"{task} dev", 2)}
        return {split: Dataset.from_list(found) for split, found in rows.items()}

    tasks = harness.load("mmlu_stem", splits, 2, "a test")
    kept = {name: harness.needed(task) for name, task in tasks["tasks"].items()}
    documents.write(tmp_path, kept)
    found = evaluated(tmp_path, "mmlu_stem", shots=2)
    means, results = scores(found), found.results
    assert len(kept) > 10
    assert means["", "acc"] == pytest.approx(results["groups"]["mmlu_stem"]["acc,none"])
    for name in kept:
        assert means[name, "acc"] == pytest.approx(results["results"][name]["acc,none"])
    assert set(found.items["task"].to_pylist()) == {"mmlu_stem"}
    one = next(iter(tasks["tasks"].values()))
    prompt = one.fewshot_context(one.eval_docs[0], 2)
    assert f"{one.task_name} dev 1?" in prompt  # the examples are of the subject's own split


def test_a_group_that_weights_its_tasks_alike_is_so_weighted():
    class Score:
        metric, weight_by_size = "acc", False

    class Group:
        aggregate_metric_list = (Score,)

    values = harness_results.Values("acc", np.ones(4), np.ones(4))
    assert harness_results._weight(Group, values) == 1 / 4
    other = harness_results.Values("acc_norm", np.ones(4), np.ones(4))
    assert harness_results._weight(Group, other) is None


def test_ifeval_counts_prompts_and_instructions(tmp_path: Path):
    rows = [
        {
            "key": at,
            "prompt": f"Write about the {one}.",
            "instruction_id_list": ["punctuation:no_comma", "detectable_format:title"][: at + 1],
            "kwargs": [{}, {}][: at + 1],
        }
        for at, one in enumerate(("cat", "dog"))
    ]
    path = lines(tmp_path / "rows.jsonl", rows)
    changes = {"harness_task": "ifeval", "without": {}}
    folder = gathered(tmp_path / "kept", "ifeval_no_punkt", path, **changes)
    found = evaluated(folder, "ifeval")
    means, results = scores(found), found.results["results"]["ifeval"]
    for metric in ("prompt_level_strict_acc", "inst_level_strict_acc", "inst_level_loose_acc"):
        assert means["", metric] == pytest.approx(results[f"{metric},none"])
    items = found.items.to_pandas().set_index(["metric", "example_id"])
    assert sorted(items.loc["inst_level_strict_acc"]["weight"]) == [1, 2]
    assert len(found.outputs) == 2


ITEMS = [
    {"example_id": "a", "prompt": "Where is the cat?", "responses": ["In the barn.", "Here."]},
    {"example_id": "b", "prompt": "And the owl?", "responses": ["It " + "sleeps " * 12]},
]


def answered(seeds: list[int], temperature: float) -> Measured:
    sampling = Sampling(temperature=temperature)
    writing = Writing(sampling=sampling, decoding_seeds=seeds, max_new_tokens=24)
    checkpoint = CheckpointLM(model(1), WORDS, BUDGET)
    tasks = responses.tasks(
        "dolly", ITEMS, writing, lambda prompt, seed: checkpoint.written[prompt, seed]
    )
    results = harness_results.run(checkpoint, tasks, None, seed=0)
    return responses.evaluated("dolly", writing, results)


def test_each_decoding_seed_writes_each_response_once_and_the_group_is_their_mean():
    found = answered([10, 20, 30], temperature=1.0)
    outputs = found.outputs.to_pandas()
    assert sorted(zip(outputs["decoding_seed"], outputs["example_id"], strict=True)) == [
        (seed, name) for seed in (10, 20, 30) for name in "ab"
    ]
    assert outputs["output"].nunique() == 6
    assert found.results["results"]["dolly"]["rouge_l,none"] == pytest.approx(
        scores(found)["", "rouge_l"]
    )


def test_a_response_depends_on_its_own_seed_alone():
    alone = answered([20], temperature=1.0).outputs.to_pandas()
    among = answered([10, 20], temperature=1.0).outputs.to_pandas()
    assert among[among["decoding_seed"] == 20]["output"].tolist() == alone["output"].tolist()


def test_rouge_is_the_best_over_the_references_by_the_rouge_package():
    found = answered([0], temperature=0)
    scorer = RougeScorer(["rougeL"], use_stemmer=True)
    values = found.items.to_pandas().query("metric == 'rouge_l' and slice == ''")
    for row in found.outputs.to_pylist():
        by_hand = max(
            scorer.score(reference, row["output"].strip())["rougeL"].fmeasure
            for reference in row["references"]
        )
        value = values.set_index("example_id")["value"][row["example_id"]]
        assert value == pytest.approx(100 * by_hand)


def test_the_model_is_not_copied_with_lm_eval_s_configuration():
    class Model:
        def __deepcopy__(self, memo: dict) -> None:
            raise AssertionError("a model that is copied may not fit beside itself")

    held, writing = Model(), Writing(sampling=Sampling(), decoding_seeds=[0], max_new_tokens=1)
    made = responses.tasks("dolly", ITEMS, writing, lambda prompt, _: Text(str(held), [], [prompt]))
    assert made["tasks"]["dolly"].dump_config()["task"] == "dolly"


def test_a_longest_common_subsequence_by_hand():
    # "the cat sleeps" of 3 stems, "a cat was sleeping" of 4: "cat .. sleep" is common to both
    assert responses.rouge_l("a cat was sleeping", ["the cat sleeps"]) == pytest.approx(
        100 * 2 * (2 / 4) * (2 / 3) / (2 / 4 + 2 / 3)
    )
    assert responses.rouge_l("one two", ["three", "one two"]) == 100


def test_rouge_is_told_by_the_length_of_the_reference_too():
    means = scores(answered([0], temperature=0))
    assert ("reference 0-5 words", "rouge_l") in means  # "In the barn." comes first
    assert ("reference 11- words", "rouge_l") in means
    assert ("reference 6-10 words", "rouge_l") not in means


def test_repetition_and_distinct_words_by_hand():
    text = "the cat the cat the cat"
    # bigrams: the-cat 3 times and cat-the twice; 4-grams: two, of which the first comes again
    assert responses.distinct(responses.ngrams(text, 1)) == 2 / 6
    assert responses.distinct(responses.ngrams(text, 2)) == 2 / 5
    assert 1 - responses.distinct(responses.ngrams(text, 4)) == pytest.approx(1 / 3)
    assert responses.distinct(responses.ngrams("", 1)) == 1
    assert responses.over_all([responses.ngrams("a b", 1), responses.ngrams("b", 1)]) == 2 / 3


PROMPTS = [Text(f"text-{at}", WORDS.encode(one["prompt"]), []) for at, one in enumerate(ITEMS)]


def test_the_excess_error_is_that_of_both_models_own_texts():
    student, teacher, length = model(1), model(2), 12
    found = exposure.measure(
        student, teacher, "t", PROMPTS, max_new_tokens=length, seed=3, budget=100
    )
    totals = {}
    for writer in (student, teacher):
        choose = exposure.sampler(Sampling(temperature=1.0))
        texts = exposure.write(PROMPTS, [writer], choose, length, 3, "student")
        total = 0.0
        for text in texts:
            ids = torch.tensor([[*text.prompt_ids, *text.response_ids]])
            with torch.no_grad():
                p, q = (
                    one(ids).logits[0, len(text.prompt_ids) - 1 : -1].double().log_softmax(-1)
                    for one in (teacher, student)
                )
            total += kl(p, q).sum().item()
        totals[writer is student] = total
    expected = 100 * (totals[True] - totals[False]) / totals[False]
    assert scores(found)["", "excess_error_percent"] == pytest.approx(expected, rel=1e-4)


def test_a_student_that_is_its_teacher_has_no_divergence_anywhere():
    same, places = model(1), {text.example_id: at for at, text in enumerate(PROMPTS)}
    texts = exposure.write(
        PROMPTS, [same], exposure.sampler(Sampling(temperature=1.0)), 6, 0, "student"
    )
    found = exposure.divergences(same, same, texts, places, 6, 100)
    assert np.abs(found).max() < 1e-6


def stage(folder: Path, job: EvaluationJob, task: Path) -> list[str]:
    """The command that evaluates a tiny model on its test split and a task."""
    value = {"id": "tiny", "code": "x", "settings": job.model_dump()}
    command = [sys.executable, "-m", "pipeline.evaluate", json.dumps(value)]
    for role in ("model", "data", "tokens", "state"):
        command += [f"--{role}", str(folder / role)]
    return [*command, "--task", str(task), "--out", str(folder / "out")]


def inputs(folder: Path) -> None:
    """A model, and test examples as text and as tokens."""
    made = model(1)
    made.save_pretrained(folder / "model/model")
    WORDS.save_pretrained(folder / "model/model")
    names = ("instruction", "input", "source")
    examples = {name: ["x"] * len(ITEMS) for name in names}
    examples |= {name: [one[name] for one in ITEMS] for name in ITEMS[0]}
    ids = [WORDS.encode(one["responses"][0], add_special_tokens=False) for one in ITEMS]
    tokens = {
        "example_id": examples["example_id"],
        "prompt_ids": [WORDS.encode(one["prompt"]) for one in ITEMS],
        "response_ids": [[*one, WORDS.eos_token_id] for one in ids],
    }
    for role, columns, schema in (
        ("data", examples, schemas.EXAMPLES),
        ("tokens", tokens, schemas.TOKENS),
    ):
        (folder / role).mkdir()
        schemas.write(folder / role / "test.parquet", columns, schema)


def task_artifact(folder: Path, path: Path) -> Path:
    gathered(folder, "arc_easy", path)
    job = TaskJob(task=harness_job("arc_easy", path)).task
    card = {"task": job.task, "digest": "0", "harness_task": job.harness_task, "shots": None}
    artifacts.write_json(folder / "task.json", card)
    return folder


def test_a_killed_evaluation_goes_on_with_what_is_not_done(tmp_path: Path):
    inputs(tmp_path)
    task = task_artifact(tmp_path / "arc", lines(tmp_path / "test.jsonl", QUESTIONS))
    asked = [Asked(name=name, writing=None) for name in ("heldout", "arc_easy")]
    command = stage(tmp_path, EvaluationJob(tasks=asked, items=None, seed=0), task)
    begun = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    assert begun.stderr is not None
    for line in begun.stderr:
        if line.startswith("arc_easy: begins"):
            begun.send_signal(signal.SIGKILL)
    begun.wait()
    begun.stderr.close()
    assert not (tmp_path / "out").exists()

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "heldout: begins" not in done.stderr
    items = pd.read_parquet(tmp_path / "out/items.parquet")
    assert set(items["task"]) == {"heldout", "arc_easy"}
    assert not (tmp_path / "state").exists()


def test_every_instruction_definition_asks_for_rouge_and_no_judge():
    for name in ("atkd_dolly", "atkd_koala"):
        _, found = definitions.expanded("atkd")[name]
        assert isinstance(found, definitions.Instruction)
    assert "ROUGE-L" in definitions.read("atkd").about
