"""Judges: what a model answers, and what its answers are worth."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from judge_models import characters, judge, reward_model
from scipy.special import expit
from scipy.stats import norm

from pipeline.artifacts import schemas
from pipeline.artifacts.artifact import Job
from pipeline.data.conversations import Conversation
from pipeline.evaluation import judgements
from pipeline.evaluation.judge_model import LocalJudge, RewardModel
from pipeline.evaluation.judge_prompts import LETTERS, RATINGS, Answer, pairwise_measures
from pipeline.models.reward import load_reward_model
from pipeline.settings.judge import JudgeJob, Opponent
from pipeline.stages import prepare_model
from pipeline.stages.options import PrepareModelOptions
from pipeline.statistics.length_control import length_controlled
from pipeline.tasks.definitions import RESPONSES
from workflow.grid.artifact import Artifact
from workflow.resources.model_sizes import size


@torch.no_grad()
def next_probabilities(judge: LocalJudge, text: str) -> dict[str, float]:
    """The probability of each token behind a text, by the model's own forward in float64."""
    ids = judge.tokenizer(text, return_tensors="pt")["input_ids"]
    values = judge.model.double()(ids).logits[0, -1].softmax(-1).tolist()
    judge.model.float()
    return {token: values[id] for token, id in judge.tokenizer.get_vocab().items()}


@pytest.mark.parametrize("chat", [False, True])
def test_the_verdict_is_the_most_likely_of_the_letters(chat: bool):
    strict = judge(characters(ten=False, chat=chat))
    questions = ["Which?\n", "A or B?\n", "Is <end> one?\n", "xyz" * 20 + "\n"]
    for question, answer in zip(questions, strict.answers(questions, LETTERS), strict=True):
        if "<end>" in question:  # in a question it is text, and no token
            continue
        asked = f"<u>{question}<a>" if chat else question
        probabilities = next_probabilities(strict, asked)
        letters = {letter: probabilities[letter] for letter in LETTERS}
        assert answer.choice == answer.text == max(letters, key=letters.__getitem__)
        share = letters[answer.choice] / sum(letters.values())
        assert answer.log_prob == pytest.approx(np.log(share), abs=1e-5)


@pytest.mark.parametrize("ten", [False, True])
def test_a_ten_is_no_one_however_the_tokenizer_splits_it(ten: bool):
    strict = judge(characters(ten=ten))
    questions = [f"Rate {letter}\n" for letter in "abcdefgh"]
    for question, answer in zip(questions, strict.answers(questions, RATINGS), strict=True):
        probabilities = next_probabilities(strict, question)
        if not ten:
            then = next_probabilities(strict, f"{question}1")["0"]
            probabilities |= {"1": probabilities["1"] * (1 - then), "10": probabilities["1"] * then}
        ratings = {rating: probabilities[rating] for rating in RATINGS}
        assert answer.choice == max(ratings, key=ratings.__getitem__)
        share = ratings[answer.choice] / sum(ratings.values())
        assert answer.log_prob == pytest.approx(np.log(share), abs=1e-5)


def test_a_question_that_is_too_long_is_refused_by_the_judges_name():
    with pytest.raises(
        ValueError, match=r"the judge strict has 30 positions.*judges\.strict\.model"
    ):
        judge(characters(ten=False), positions=30).answers(["x" * 40], LETTERS)


def rows(count: int, outputs: list[str]) -> pa.Table:
    columns = {
        "task": ["responses"] * count,
        "decoding_seed": [0] * count,
        "example_id": [f"e{index}" for index in range(count)],
        "prompt": ["Where?"] * count,
        "output": outputs,
        "references": [["gold"]] * count,
    }
    return pa.table(columns, schema=schemas.OUTPUTS)


def job(**changes: Any) -> JudgeJob:
    base = {"judge": "j", "kind": "pairwise", "criteria": "all", "tasks": ["responses"]}
    return JudgeJob.model_validate(base | {"opponents": None} | changes)


def test_both_orders_are_asked_and_a_disagreement_is_a_tie():
    outputs = rows(5, ["mine!"] * 5)
    (comparison,) = judgements.comparisons(job(), outputs, {})
    questions, allowed = comparison.questions("taste")
    assert allowed == LETTERS
    assert len(questions) == 10
    first, second = questions[:2]
    assert first.index("mine!") < first.index("gold")
    assert second.index("gold") < second.index("mine!")
    assert all("look at taste." in question for question in questions)
    # won in both orders, lost in both, the first shown in both, a tie and a win, not to be read
    choices = ["A", "B", "B", "A", "A", "A", "C", "B", None, None]
    answers = [Answer(choice, choice or "Hm", np.nan) for choice in choices]
    items = comparison.items("j", answers).to_pandas().set_index(["metric", "example_id"])["value"]
    assert items["judge_win:j"].tolist() == [100, 0, 50, 75, 50]
    assert items["judge_disagreement:j"].tolist() == [0, 0, 1, 1, 0]
    assert items["judge_first:j"].tolist() == [0.5, 0.5, 1, 0.25, 0.5]
    assert items["judge_unread:j"].tolist() == [0, 0, 0, 0, 1]
    verdicts = comparison.verdicts(answers)
    assert verdicts["place"].to_pylist() == [1, 2] * 5
    assert judgements.answers_of(verdicts)[0].choice == "A"


def test_a_comparison_with_a_row_takes_that_rows_response_to_the_same_item():
    against = rows(3, ["x", "y", "z"]).take([2, 0, 1])
    opponents = [Opponent(evaluation="other", teacher="t")]
    asked = judgements.comparisons(
        job(opponents=[each.model_dump() for each in opponents]),
        rows(3, ["a", "b", "c"]),
        {"other": against},
    )
    (comparison,) = asked
    assert comparison.others == ["x", "y", "z"]
    items = comparison.items("j", [Answer("A", "A", 0.0)] * 6)
    assert set(items["teacher"].to_pylist()) == {"t"}


def test_a_rating_that_is_none_has_no_weight():
    (comparison,) = judgements.comparisons(job(kind="rubric"), rows(2, ["a", "b"]), {})
    questions, allowed = comparison.questions("all")
    assert (len(questions), allowed) == (2, RATINGS)
    items = comparison.items("j", [Answer("10", "10", 0.0), Answer(None, "great", np.nan)])
    scores = items.to_pandas().query("metric == 'judge_score:j'")
    assert scores["weight"].tolist() == [1, 0]
    assert scores["value"].tolist()[0] == 10


def test_the_length_controlled_rate_is_that_without_the_effect_of_length():
    draw, trials, count, truth = np.random.default_rng(0), 150, 400, expit(-0.4)
    means, covered, raw = [], 0, []
    for _ in range(trials):
        longer = draw.normal(200, 300, count)
        chance = expit(-0.4 + 1.5 * np.tanh(longer / longer.std()))
        wins = (draw.random(count) < chance).astype(float)
        values = length_controlled(wins, longer)
        means.append(values.mean())
        raw.append(wins.mean())
        width = norm.ppf(0.975) * values.std(ddof=1) / np.sqrt(count)
        covered += abs(means[-1] - truth) < width
    assert np.mean(means) == pytest.approx(truth, abs=0.01)
    assert np.mean(raw) > truth + 0.1  # what the longer responses would have won by
    assert covered / trials > 0.9


def test_length_controls_nothing_where_all_are_equally_long_or_all_win():
    wins = np.array([1.0, 0.0, 0.5, 1.0])
    assert length_controlled(wins, np.zeros(4)).mean() == pytest.approx(wins.mean())
    assert length_controlled(np.ones(4), np.arange(4.0)).tolist() == [1.0] * 4
    measures = pairwise_measures([Answer("A", "A", 0.0), Answer("B", "B", 0.0)] * 3, "abc", "xyz")
    assert measures["judge_win_length_controlled"].tolist() == [100.0] * 3


@pytest.mark.parametrize("chat", [False, True])
def test_a_reward_is_that_of_the_whole_conversation(tmp_path: Path, chat: bool):
    tokenizer = characters(ten=False, chat=chat)
    model = reward_model(tokenizer)
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    (comparison,) = judgements.comparisons(job(kind="reward"), rows(2, ["Here", "There!"]), {})
    judge = RewardModel("taste", load_reward_model(tmp_path), tokenizer)
    answers = judge.answers(comparison.rows)
    items = comparison.items("taste", answers).to_pandas()
    assert set(items["metric"]) == {"judge_reward:taste"}
    for value, output in zip(items["value"], ["Here", "There!"], strict=True):
        whole = f"<u>Where?<a><u>{output}<a>" if chat else f"Where?{output}"
        ids = tokenizer(whole, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            expected = float(model.score(model.model(ids).last_hidden_state[0, -1]))
        assert value == pytest.approx(expected, abs=1e-5)


def test_the_reward_of_a_conversation_is_told_its_turns_and_not_their_listing():
    tokenizer = characters(ten=False, chat=True)
    model = reward_model(tokenizer)
    turns = [("user", "Hi"), ("assistant", "Ho"), ("user", "Where?"), ("assistant", "There")]
    messages = [{"role": role, "content": content} for role, content in turns]
    talk = Conversation(messages, [], "here")
    (row,) = [row | {"prompt": talk.question} for row in rows(1, ["Here"]).to_pylist()]
    chats = {row["example_id"]: talk}
    (answer,) = RewardModel("taste", model, tokenizer, chats).answers([row | {"task": RESPONSES}])
    ids = tokenizer("<u>Hi<a><u>Ho<a><u>Where?<a><u>Here<a>", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        expected = float(model.score(model.model(ids).last_hidden_state[0, -1]))
    assert float(answer.text) == pytest.approx(expected, abs=1e-5)
    (other,) = RewardModel("taste", model, tokenizer, chats).answers([row | {"task": "dolly"}])
    assert float(other.text) != pytest.approx(expected, abs=1e-5)


def test_a_model_that_gives_no_reward_is_refused(tmp_path: Path):
    tokenizer = characters(ten=False)
    reward_model(tokenizer, labels=3).save_pretrained(tmp_path / "three")
    with pytest.raises(ValueError, match="has 3 labels; a reward model has one"):
        load_reward_model(tmp_path / "three")
    judge(tokenizer).model.save_pretrained(tmp_path / "causal")
    config = json.loads((tmp_path / "causal/config.json").read_text()) | {"num_labels": 1}
    (tmp_path / "causal/config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"its weights lack score\.weight"):
        load_reward_model(tmp_path / "causal")


def test_a_reward_model_is_prepared_as_it_is(tmp_path: Path):
    tokenizer = characters(ten=False)
    reward_model(tokenizer).save_pretrained(tmp_path / "saved")
    tokenizer.save_pretrained(tmp_path / "saved")
    settings = {"source": "path", "path": str(tmp_path / "saved"), "digest": "", "seed": 0}
    prepared = Job("models", "x", settings | {"reward": True})
    prepare_model.run(PrepareModelOptions(job=prepared, out=tmp_path / "out"))
    job_of_it = Artifact.of("models", "x", prepared.settings)
    assert size(job_of_it, None).parameters == reward_model(tokenizer).num_parameters()
    again = load_reward_model(tmp_path / "out/model")
    assert torch.equal(again.score.weight, reward_model(tokenizer).score.weight)
