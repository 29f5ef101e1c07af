"""Responses to prompts with references: each seed's own, and their measures by hand."""

import pytest
from rouge_score.rouge_scorer import RougeScorer
from small_tasks import BUDGET, ITEMS, WORDS, model, scores

from pipeline.data.batch import Text
from pipeline.evaluation import lm_eval_results, responses
from pipeline.evaluation.lm_eval_model import CheckpointLM
from pipeline.evaluation.records import EvaluationRecords
from pipeline.settings.evaluation import GenerationSettings
from pipeline.settings.generation import Sampling


def answered(seeds: list[int], temperature: float) -> EvaluationRecords:
    sampling = Sampling(temperature=temperature)
    generation = GenerationSettings(sampling=sampling, decoding_seeds=seeds, max_new_tokens=24)
    checkpoint = CheckpointLM(model(1), WORDS, BUDGET)
    prompts = [item["prompt"] for item in ITEMS]
    texts = {
        (text.example_id, seed): text
        for seed in seeds
        for text in checkpoint.respond(prompts, responses.generation_options(generation, seed))
    }
    tasks = responses.response_tasks(
        "dolly", ITEMS, generation, lambda item, seed: texts[item["prompt"], seed]
    )
    results = lm_eval_results.evaluate_tasks(checkpoint, tasks, None, seed=0)
    return responses.response_records("dolly", generation, results)


def test_each_decoding_seed_writes_each_response_once_and_the_group_is_their_mean():
    answers = answered([10, 20, 30], temperature=1.0)
    outputs = answers.outputs.to_pandas()
    assert sorted(zip(outputs["decoding_seed"], outputs["example_id"], strict=True)) == [
        (seed, name) for seed in (10, 20, 30) for name in "ab"
    ]
    assert outputs["output"].nunique() == 6
    assert answers.results["results"]["dolly"]["rouge_l,none"] == pytest.approx(
        scores(answers)["", "rouge_l"]
    )


def test_a_response_depends_on_its_own_seed_alone():
    alone = answered([20], temperature=1.0).outputs.to_pandas()
    among = answered([10, 20], temperature=1.0).outputs.to_pandas()
    assert among[among["decoding_seed"] == 20]["output"].tolist() == alone["output"].tolist()


def test_rouge_is_the_best_over_the_references_by_the_rouge_package():
    answers = answered([0], temperature=0)
    scorer = RougeScorer(["rougeL"], use_stemmer=True)
    values = answers.items.to_pandas().query("metric == 'rouge_l' and slice == ''")
    for row in answers.outputs.to_pylist():
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

    held, generation = (
        Model(),
        GenerationSettings(sampling=Sampling(), decoding_seeds=[0], max_new_tokens=1),
    )
    made = responses.response_tasks(
        "dolly", ITEMS, generation, lambda item, _: Text(str(held), [], [item["prompt"]])
    )
    assert made.tasks["dolly"].dump_config()["task"] == "dolly"


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
    assert (
        responses.distinct_over_all([responses.ngrams("a b", 1), responses.ngrams("b", 1)]) == 2 / 3
    )
