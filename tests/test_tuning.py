"""A search for each method's settings: equal numbers of trials, chosen on validation data alone."""

import json
from typing import Any

import pandas as pd
import pytest
from planning import asked, steps
from snaking import Copy, edited

from pipeline.settings.tuning import read_choice
from workflow.config.trials import trials
from workflow.config.validate import ConfigError, validate
from workflow.grid.grid import Grid
from workflow.grid.tuning import largest_settings, trials_of
from workflow.resources.estimates import estimate

RATES = [1e-5, 1e-2, 1e30]  # learns next to nothing; learns; diverges
SEARCH = {"learning_rate": RATES, "seeds": [7]}


def tuned(tiny: dict[str, Any], search: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return edited(tiny, {"experiment": "tuned", "tuning": search, **changes})


def grid_of(config: dict[str, Any]) -> Grid:
    return Grid(validate(config))


def tried(grid: Grid, method: str) -> list[dict[str, Any]]:
    return [dict(trial) for trial in trials(grid.experiment, method)]


def test_a_trial_is_the_ordinary_student_of_its_setting(tiny: dict[str, Any]):
    grid = grid_of(tuned(tiny, SEARCH))
    for rate in RATES:
        plain = edited(tiny, {"methods.jsd": {"training": {"learning_rate": rate}}})
        ordinary = grid_of(plain).student("jsd", "small", "large", 7)
        assert ordinary in trials_of(grid.student("jsd", "small", "large", 1))


def test_no_trial_is_evaluated(tiny: dict[str, Any]):
    grid = grid_of(tuned(tiny, SEARCH))
    trained = [trial for cell in grid.cells for trial in trials_of(cell.model)]
    assert len(set(trained)) == 2 * len(RATES)
    assert not set(trained) & set(grid.evaluations)
    assert {role for each in grid.evaluations.values() for role, _ in each.inputs} == {
        *("cache", "data", "model", "tokens")
    }


def test_a_final_student_is_trained_with_a_seed_that_no_trial_has(tiny: dict[str, Any]):
    grid = grid_of(tuned(tiny, SEARCH, **{"grid.0.seeds": [1, 2]}))
    finals = [grid.student("sft", "small", "large", seed) for seed in (1, 2)]
    seeds = {trial.settings["seed"] for final in finals for trial in trials_of(final)}
    assert [final.settings["seed"] for final in finals] == [1, 2]
    assert seeds == {7}
    assert all("learning_rate" not in final.settings["training"] for final in finals)


def test_a_new_method_adds_its_trials_its_choice_and_its_students(tiny: dict[str, Any]):
    before = grid_of(tuned(tiny, SEARCH, methods={"sft": None})).artifacts
    after = grid_of(tuned(tiny, SEARCH)).artifacts
    assert set(before) <= set(after)
    new = [path.split("/")[1] for path in set(after) - set(before)]
    assert {stage: new.count(stage) for stage in new} == {
        "students": len(RATES) + 1,
        "choices": 1,
        "evals": 1,
    }


def test_a_rate_of_the_rows_own_is_one_of_its_trials(tiny: dict[str, Any]):
    methods = {"sft": None, "jsd": {"training": {"learning_rate": 3e-2}}}
    grid = grid_of(tuned(tiny, SEARCH, methods=methods))
    assert [trial["learning_rate"] for trial in tried(grid, "sft")] == RATES
    # 0.03 is half a decade from 0.01, and over three from the others
    assert [trial["learning_rate"] for trial in tried(grid, "jsd")] == [1e-5, 3e-2, 1e30]


def test_a_row_may_try_its_hyperparameters_instead_of_rates(tiny: dict[str, Any]):
    own = {"jsd": {"learning_rate": [1e-2], "teacher_weight": [0.1, 0.5, 0.9]}}
    grid = grid_of(tuned(tiny, SEARCH | {"methods": own}))
    trials = trials_of(grid.student("jsd", "small", "large", 1))
    weights = [each.settings["method"]["loss_settings"]["teacher_weight"] for each in trials]
    assert sorted(weights) == [0.1, 0.5, 0.9]
    assert {each.settings["training"]["learning_rate"] for each in trials} == {1e-2}
    assert len(tried(grid, "sft")) == len(trials)


def test_what_is_yet_to_be_chosen_is_estimated_at_its_largest_batch(tiny: dict[str, Any]):
    epochs = {"epochs": 2, "batch_size": 8, "validations": 2}
    search = {"batch_size": [4, 32], "seeds": [7]}
    grid = grid_of(tuned(tiny, search, training=epochs))
    final = grid.student("sft", "small", "large", 1)
    assert largest_settings(final)["training"]["batch_size"] == 32
    largest = [t for t in trials_of(final) if t.settings["training"]["batch_size"] == 32]
    assert estimate(grid, final) == estimate(grid, largest[0])


BEST = {"keep": "best", "keep_by": "rouge_l"}
ROW = "tuning.methods.jsd"
REFUSED = [
    ({"learning_rate": [0.1]}, {}, "tuning: one setting in all"),
    ({"learning_rate": None}, {}, "tuning: one setting in all"),
    ({"choose_by": "heldout/nll_nats"}, {}, "tuning.choose_by = 'heldout/nll_nats': settings are"),
    (
        {"choose_by": "rouge_l"},
        {},
        "tuning.choose_by = 'rouge_l': it isn't measured in the training of sft",
    ),
    (
        {},
        {"training.validations": 0},
        "tuning: nothing is measured to choose by in the training of sft",
    ),
    ({"seeds": [7, 1]}, {}, "tuning.seeds = [7, 1]: grid.0 trains with seed 1, too"),
    ({"seeds": [7, 7]}, {}, "tuning.seeds: 7 is listed twice"),
    ({"learning_rte": [1, 2]}, {}, "tuning.learning_rte: no key that is tuned; did you mean learn"),
    ({"steps": [1, 2]}, {}, "tuning.steps: no key that is tuned"),
    ({"batch_size": [4, 8]}, {}, "tuning.batch_size: a larger batch would be more text"),
    ({"weight_decay": [0, -1]}, {}, "tuning.weight_decay = -1: Input should be greater than or"),
    ({"weight_decay": 1}, {}, "tuning: weight_decay = 1: give a list of values to try"),
    ({"methods": {"jsd": {"teacher_weight": [0.1, 0.2]}}}, {}, f"{ROW}: 6 settings to try, where"),
    ({"methods": {"jsdd": {"teacher_weight": [0.1]}}}, {}, "tuning.methods.jsdd: 'jsdd' is not"),
    ({"methods": {"jsd": {"weigt": [0.1]}}}, {}, f"{ROW}.weigt: unknown hyperparameter; available"),
    ({"methods": {"jsd": {"teacher_weight": [7]}}}, {}, f"{ROW}.teacher_weight = 7: Input should"),
    ({"methods": {"jsd": {"method": ["gkd"]}}}, {}, f"{ROW}.method: no key that is tuned"),
    (
        {"methods": {"jsd": {"teacher_weight": [0.1]}}},
        {"methods.jsd": {"teacher_weight": 0.3}},
        f"{ROW}.teacher_weight: methods.jsd.teacher_weight sets this key as well",
    ),
    (
        {"methods": {"jsd": {"teacher_weight": [0.1]}}},
        {"methods.jsd": {"loss": {"name": "jsd", "teacher_weight": 0.3}}},
        f"{ROW}.teacher_weight: methods.jsd, for jsd, sets this key as well",
    ),
    (
        {"weight_decay": [0.1, 0.2]},
        {"methods.jsd": {"training": {"weight_decay": 0.3}}},
        "tuning.weight_decay: methods.jsd.training.weight_decay sets this key as well",
    ),
    (
        {"methods": {"jsd": {"base": ["jsd"]}}},
        {"methods.jsd": {"method": "atkd"}},
        f"{ROW}.base: a name makes another method",
    ),
]


@pytest.mark.parametrize(("search", "changes", "fault"), REFUSED)
def test_a_search_that_proves_nothing_is_refused(
    tiny: dict[str, Any], search: dict[str, Any], changes: dict[str, Any], fault: str
):
    with pytest.raises(ConfigError) as error:
        validate(tuned(tiny, SEARCH | search, **changes))
    assert fault in str(error.value)


@pytest.mark.xdist_group("chain_again")
def test_a_search_picks_the_rate_that_learns_and_repeats_nothing(chain: Copy, tiny: dict[str, Any]):
    config = tuned(tiny, SEARCH, methods={"sft": None})
    printed = asked(chain, config).stdout
    assert "3 trials for 1 choices of settings, which 1 students follow" in printed
    done = chain.snakemake(config, "--cores", "2", preloaded=True)
    assert done.returncode == 0, done.stdout + done.stderr + chain.logs()
    assert steps(chain, config) == {}
    assert chain.planned(config) == set()

    grid = grid_of(config)
    final = grid.student("sft", "small", "large", 1)
    choice = read_choice(chain.folder / dict(final.inputs)["choice"].path)
    assert choice.settings == {"training.learning_rate": 1e-2}
    assert [each.values["learning_rate"] for each in choice.tried] == RATES
    assert [each.mean is None for each in choice.tried] == [False, False, True]
    taken = pd.read_parquet(chain.folder / final.path / "steps.parquet")["learning_rate"]
    assert taken.max() == pytest.approx(1e-2)
    manifest = json.loads((chain.folder / final.path / "manifest.json").read_text())
    assert manifest["chosen"] == choice.settings

    # the report shows what was tried, and scores nothing but the student that followed
    tables = chain.folder / "results/tuned/report/tables"
    shown = pd.read_parquet(tables / "tuning.parquet")
    assert shown["is_chosen"].tolist() == [False, True, False]
    assert not shown["is_at_edge"].any()
    scores = pd.read_parquet(tables.parent / "scores.parquet")
    assert set(scores["id"]) == {each.id for each in grid.evaluations.values()}
    costs = pd.read_parquet(tables / "cost.parquet").set_index(["account", "quantity"])["value"]
    files = [chain.folder / each.path / "cost.json" for each in trials_of(final)]
    trained = [json.loads(file.read_text()) for file in files]
    assert costs["tuning", "flops"] == pytest.approx(sum(each["flops"] for each in trained))
    assert costs["in full", "flops"] > costs["tuning", "flops"] + costs["own", "flops"]

    # a method that is added costs its trials, its choice and its student, and no other job
    more = steps(chain, tuned(tiny, SEARCH))
    assert set(more) == chain.planned(tuned(tiny, SEARCH))
    stages = [output.split("/")[0] for output in more]
    assert {stage: stages.count(stage) for stage in stages} == {
        "students": 4, "choices": 1, "evals": 1, "tuned": 2,
    }  # fmt: skip
