"""Which of the tried settings is chosen, and when a choice says little."""

from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from pipeline.artifacts import artifact, schemas
from pipeline.artifacts.artifact import Job
from pipeline.reporting.analysis.limits import limits_of_protocol
from pipeline.reporting.analysis.scores import Row
from pipeline.reporting.analysis.searches import Search
from pipeline.settings.tuning import Choice, ChoiceSettings, TriedSetting
from pipeline.stages.choose import choose

PLACE_OF_LATER_KEY = "method.policy_settings.expected_tokens"
METHOD = {"loss": "cross_entropy", "policy": "fixed", "teacher": "none"}


def trial(
    folder: Path,
    rate: float,
    seed: int,
    nll: list[float],
    diverged: str = "",
    method: dict[str, Any] = METHOD,
    **training: object,
) -> Path:
    """A student's folder as far as a choice reads it, with a validation at each step."""
    budget = {"steps": 9, "learning_rate": rate, **training}
    settings = {"method": method, "training": budget, "max_new_tokens": 1, "seed": seed}
    out = folder / f"{rate}-{seed}"
    out.mkdir()
    columns: dict[str, list] = {name: [None] * len(nll) for name in schemas.STEPS.names}
    columns |= {"step": [*range(1, len(nll) + 1)], "validation_nll_nats": nll}
    columns |= {"validation_rouge_l": [10 * each for each in nll]}
    schemas.write(out / "steps.parquet", columns, schemas.STEPS)
    facts = {"diverged": diverged} if diverged else {}
    artifact.write_manifest(out, Job(out.name, "code", settings), {}, **facts)
    return out


def chosen(trials: list[Path], choose_by: str = "nll") -> tuple[float, list[float | None]]:
    keys = {"learning_rate": ["training.learning_rate"]}
    settings = ChoiceSettings.model_validate({"choose_by": choose_by, "keys": keys})
    choice = choose(settings, trials)
    rate = choice.settings["training.learning_rate"]
    assert choice.tried[choice.chosen].values == {"learning_rate": rate}
    assert isinstance(rate, float)
    return rate, [each.mean for each in choice.tried]


def test_the_lowest_mean_over_seeds_of_the_last_validation_is_chosen(tmp_path: Path):
    folders = [
        trial(tmp_path, 0.1, 7, [1.0, 2.0]), trial(tmp_path, 0.1, 8, [1.0, 4.0]),
        trial(tmp_path, 0.2, 7, [9.0, 1.5]), trial(tmp_path, 0.2, 8, [9.0, 3.5]),
    ]  # fmt: skip
    assert chosen(folders) == (0.2, [3.0, 2.5])
    assert chosen(folders, "rouge_l") == (0.1, [30.0, 25.0])  # more is better


def test_a_trial_counts_at_the_step_whose_weights_it_keeps(tmp_path: Path):
    best: dict[str, Any] = {"keep": "best", "keep_by": "nll"}
    folders = [
        trial(tmp_path, 0.1, 7, [1.0, 2.0], **best), trial(tmp_path, 0.2, 7, [9.0, 1.5], **best)
    ]  # fmt: skip
    assert chosen(folders) == (0.1, [1.0, 1.5])


def test_of_equal_scores_the_smaller_value_is_chosen_whatever_the_order(tmp_path: Path):
    folders = [trial(tmp_path, rate, 7, [1.0]) for rate in (0.3, 0.1, 0.2)]
    assert chosen(folders) == chosen(folders[::-1]) == (0.1, [1.0, 1.0, 1.0])


def test_a_trial_without_a_finite_score_is_never_chosen(tmp_path: Path):
    folders = [
        trial(tmp_path, 0.1, 7, [5.0]), trial(tmp_path, 0.1, 8, [5.0]),
        trial(tmp_path, 0.2, 7, [float("nan")]), trial(tmp_path, 0.2, 8, [1.0]),
        trial(tmp_path, 0.3, 7, [1.0]), trial(tmp_path, 0.3, 8, [], "the loss is nan"),
    ]  # fmt: skip
    assert chosen(folders) == (0.1, [5.0, None, None])
    best: dict[str, Any] = {"keep": "best", "keep_by": "nll"}
    folders += [trial(tmp_path, 0.4, seed, [float("nan")], **best) for seed in (7, 8)]
    assert chosen(folders) == (0.1, [5.0, None, None, None])
    with pytest.raises(ValueError, match="no trial has a finite validation score"):
        chosen(folders[2:])


def test_a_value_that_a_job_leaves_out_as_the_default_is_tried_like_any_other(tmp_path: Path):
    keys = {"dropout": ["training.dropout"], "expected_tokens": [PLACE_OF_LATER_KEY]}
    settings = ChoiceSettings.model_validate({"choose_by": "nll", "keys": keys})
    jobs = product((0.1, "own", 0.0), ({"expected_tokens": 64}, {}))
    trials = []
    for number, (dropout, policy_settings) in enumerate(jobs):
        (folder := tmp_path / str(number)).mkdir()
        method = METHOD | {"policy": "speculative", "policy_settings": policy_settings}
        trials.append(trial(folder, 0.1, 7, [float(9 - number)], method=method, dropout=dropout))
    choice = choose(settings, trials)
    assert [tuple(each.values.values()) for each in choice.tried] == [
        (0.0, 0), (0.0, 64), (0.1, 0), (0.1, 64), ("own", 0), ("own", 64),
    ]  # fmt: skip
    assert choice.settings == {"training.dropout": 0.0, PLACE_OF_LATER_KEY: 0}


def search(chosen: float, others: list[float]) -> Search:
    """A search in which one rate has the best score."""
    rates = sorted([chosen, *others])
    tried = [
        TriedSetting(values={"learning_rate": rate}, scores={7: score}, mean=score)
        for rate in rates
        for score in [1.0 if rate == chosen else 2.0]
    ]
    choice = Choice(choose_by="nll", tried=tried, chosen=rates.index(chosen), settings={})
    return Search(Row("method", "large", "small", "sft"), choice, ())


def test_a_choice_at_the_edge_of_the_grid_is_flagged_and_limits_the_report():
    assert search(0.1, [0.2, 0.3]).edges == ("lowest learning_rate",)
    assert search(0.3, [0.2, 0.1]).edges == ("highest learning_rate",)
    assert search(0.2, [0.1, 0.3]).edges == ()
    of_own = TriedSetting(values={"learning_rate": "own"}, scores={7: 3.0}, mean=3.0)
    among = search(0.1, [0.2])
    both = among.choice.model_copy(update={"tried": [*among.choice.tried, of_own]})
    assert replace(among, choice=both).edges == ("lowest learning_rate",)
    flagged = " ".join(limits_of_protocol([search(0.1, [0.2, 0.3])]))
    assert "The chosen setting of sft lies at the edge of what was tried" in flagged
    inside = " ".join(limits_of_protocol([search(0.2, [0.1, 0.3])]))
    assert "3 trials for each of the training seeds 7" in inside
    assert "edge" not in inside
