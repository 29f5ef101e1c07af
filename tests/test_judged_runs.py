"""Judges in an experiment: what is refused, what is made, and where it is in the report."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from judge_models import characters, reward_model
from model_server import ModelServer, small_server
from snaking import Copy
from transformers_server import served_folder

from workflow.config.config_file import ConfigError
from workflow.config.validate import validate
from workflow.grid.grid import Grid


def judged(tiny: dict[str, Any], **judges: Any) -> dict[str, Any]:
    return tiny | {"evaluation": tiny["evaluation"] | {"judges": judges}}


def test_a_judge_reads_what_was_written_and_moves_no_other_artifact(tiny: dict[str, Any]):
    plain = Grid(validate(tiny))
    both = judged(tiny, gold={"model": "wide"}, row={"model": "wide", "against": "sft"})
    grid = Grid(validate(both))
    assert set(plain.artifacts) < set(grid.artifacts)
    assert set(plain.describe()["config"]["evaluation"]) == set(
        grid.describe()["config"]["evaluation"]
    ) - {"judges"}
    student = grid.student("jsd", "small", "large", 1)
    last = dict(grid.evaluations[student].inputs)
    first = dict(last["evaluation"].inputs)
    assert first["evaluation"] == plain.evaluations[student]
    sft = plain.evaluations[grid.student("sft", "small", "large", 1)]
    assert last["against"] == sft
    opponents = [{"evaluation": sft.id, "teacher": grid.teacher("large").id}]
    assert grid.evaluations[student].settings["opponents"] == opponents
    # neither the row itself nor a teacher has an opponent beside it
    for alone in (grid.student("sft", "small", "large", 1), grid.teacher("large")):
        assert grid.evaluations[alone].settings["judge"] == "gold"


@pytest.mark.parametrize(
    ("block", "line"),
    [
        ({"model": "tall"}, "evaluation.judges.j.model: 'tall' is not defined; there are"),
        ({"model": "wide", "against": "gkd"}, "evaluation.judges.j.against = 'gkd': it is no row"),
        ({"model": "wide", "tasks": ["dolly"]}, "evaluation.judges.j.tasks: 'dolly' has no"),
        ({"model": "wide", "kind": "rubric", "against": "sft"}, "against: rubric takes each"),
        ({"model": "wide", "kind": "reward"}, "j.model = 'wide': a reward model is saved in a"),
        ({"model": "x", "kind": "reward", "endpoint": "http://h/v1"}, "j.endpoint: a reward model"),
    ],
)
def test_a_judge_that_can_not_work_is_refused_before_any_job(
    tiny: dict[str, Any], block: dict[str, Any], line: str
):
    with pytest.raises(ConfigError) as refused:
        validate(judged(tiny, j=block))
    assert line in str(refused.value)


def test_without_responses_there_is_nothing_to_judge(tiny: dict[str, Any]):
    silent = tiny | {"evaluation": {"tasks": ["heldout"], "judges": {"j": {"model": "wide"}}}}
    with pytest.raises(ConfigError, match=r"no task of evaluation\.tasks has responses to judge"):
        validate(silent)


def one_letter_server() -> ModelServer:
    """A served model whose every text is A, B or C, if it doesn't end at once."""
    server = small_server()
    letters = server.tokenizer.convert_tokens_to_ids(["A", "B", "C"])
    others = [id for id in range(len(server.tokenizer)) if id not in letters]
    with torch.no_grad():
        server.model.lm_head.weight[others] = 0
    return server


@pytest.mark.xdist_group("chain_again")
def test_judges_of_every_kind_are_in_the_report_with_intervals(
    chain: Copy, tiny: dict[str, Any], tmp_path: Path
):
    reward_model(characters(ten=False)).save_pretrained(tmp_path / "reward")
    characters(ten=False).save_pretrained(tmp_path / "reward")
    reward = {"source": "path", "path": str(tmp_path / "reward")}
    with served_folder(tmp_path / "letters", one_letter_server()).running() as server:
        served = {"model": server.name, "endpoint": server.url, "answer_tokens": 1}
        judges = {
            "versus": {"model": "wide", "against": "sft"},
            "marks": {"model": "wide", "kind": "rubric"},
            "taste": {"model": "liking", "kind": "reward"},
            "box": served,
        }
        models = tiny["models"] | {"liking": reward}
        config = judged(tiny, **judges) | {"experiment": "judged", "models": models}
        done = chain.made(config)
    results, grid = chain.folder / "results", Grid(validate(config))
    assert {path.split("/")[1] for path in done} == {"models", "evals", "judged"}
    student = grid.student("jsd", "small", "large", 1)
    plain = results / "evals" / Grid(validate(tiny)).evaluations[student].id
    evaluation = results / "evals" / grid.evaluations[student].id
    items = pd.read_parquet(evaluation / "items.parquet")
    others = items[~items["metric"].str.startswith("judge")].reset_index(drop=True)
    pd.testing.assert_frame_equal(others, pd.read_parquet(plain / "items.parquet"))

    scores = pd.read_parquet(results / "judged/report/scores.parquet")
    values = scores.set_index(["method", "metric"])["value"]
    for name in ("versus", "box"):
        verdicts = pd.read_parquet(evaluation / f"verdicts-{name}.parquet")
        shown_first = verdicts["choice"].map({"A": 1, "B": 0}).fillna(0.5)
        wins = shown_first.where(verdicts["place"] == 1, 1 - shown_first)
        assert values["jsd", f"judge_win:{name}"] == pytest.approx(100 * wins.mean())
    assert set(verdicts["choice"].dropna()) & {"A", "B"}  # the endpoint's are read from its texts
    assert values["jsd", "judge_unread:box"] == pytest.approx(verdicts["choice"].isna().mean())
    rewards = pd.read_parquet(evaluation / "verdicts-taste.parquet")["choice"].astype(float)
    assert values["jsd", "judge_reward:taste"] == pytest.approx(rewards.mean())
    assert rewards.nunique() > 1
    assert ("sft", "judge_win:versus") not in values.index  # the others are compared with it
    ratings = pd.read_parquet(evaluation / "verdicts-marks.parquet")["choice"].astype(float)
    assert values["jsd", "judge_score:marks"] == pytest.approx(ratings.mean())
    table = (results / "judged/report/tables/main.md").read_text()
    assert "Win rate, versus" in table
    assert "Judge's rating, marks" in table
    page = (results / "judged/report/index.html").read_text()
    for judge in (
        "versus: wide, against sft",
        "marks: wide, rubric",
        "taste: liking, reward",
        f"box: {server.name}, behind an endpoint, against the reference",
    ):
        assert judge in page
