"""Any loss on any policy's text: it trains, or the configuration is refused with the reason."""

import math
from itertools import product
from typing import Any

import pytest
from annotations import unchecked
from players import Setup, trained

from pipeline.methods import components
from pipeline.methods.catalogue import METHODS
from pipeline.methods.components import class_constant
from pipeline.methods.method import ResolvedMethod
from pipeline.settings.experiment import MethodChoice
from workflow.config.method_checks import resolved_method
from workflow.config.validate import ConfigError, validate
from workflow.grid.grid import Grid

PAIRS = list(product(components.names("losses"), components.names("data_policies")))
# every text new and the student's, as a policy gradient needs it
SAMPLED = {"mixed": {"student_share": 1.0}, "switch": {"gold_share": 0.0}}
SAMPLED["ada_switch"] = SAMPLED["switch"]
SAMPLED_TOKENS = {"opd", "opd_spans", "iw_opd", "g_opd", "kl_estimator", "kdrl", "minillm", "sdpo"}
CONTRASTS = {"contrastive_pair", "contrastive_pair_adaptive"}
WRITTEN_ALONE = {"mixed", "adaptive", "epoch_pairs", "student_groups"}
REWARDED, GROUPS = {"kdrl", "sdpo"}, {"student_groups"}
SHOWN_SOLUTIONS = {"sdpo": {"name": "privileged_prompt", "shows": "solution"}}
WRAPPERS = {"atkd", "adakd", "taid"}
# ATKD's five baselines, then those of SKD, SWITCH and DistiLLM
BASELINES = {
    "forward_kl": "forward_kl",
    "reverse_kl": "reverse_kl",
    "imitkd": "forward_kl",
    "f_distill": "tvd",
    "gkd": "jsd",
    "skd": "forward_kl",
    "switch": "skew_reverse_kl",
    "distillm": "skew_reverse_kl",
}


def row(**keys: Any) -> ResolvedMethod:
    return resolved_method("row", MethodChoice.model_validate(keys))


def makes_sense(loss: str, policy: str) -> bool:
    if loss in REWARDED:
        return policy in GROUPS
    if loss in SAMPLED_TOKENS:
        return policy in {"mixed", "switch", "ada_switch", "teacher_mixed", "student_groups"}
    if loss in CONTRASTS:
        return policy == "epoch_pairs"
    return not (loss == "cross_entropy" and policy in WRITTEN_ALONE)


@pytest.mark.slow
@pytest.mark.parametrize(("loss", "policy"), PAIRS)
def test_a_loss_trains_on_a_policys_text_or_is_refused_with_a_reason(loss: str, policy: str):
    settings = SAMPLED.get(policy, {}) if loss in SAMPLED_TOKENS else {}
    keys = {"loss": loss, "policy": {"name": policy, **settings}}
    if loss in SHOWN_SOLUTIONS:
        keys["update"] = SHOWN_SOLUTIONS[loss]
    if not makes_sense(loss, policy):
        with pytest.raises(ValueError, match=r"policy = .*allowed: "):
            row(**keys)
        return
    with unchecked():
        run, state = trained(Setup(row(**keys), steps=2, batch_size=4))
    assert all(math.isfinite(step["loss_nats"]) for step in state.rows)
    assert all(weight.isfinite().all() for weight in run.student.parameters())


@pytest.mark.parametrize("wrapper", sorted(WRAPPERS))
@pytest.mark.parametrize(("method", "base"), BASELINES.items())
def test_a_wrapping_loss_stands_on_every_baseline(wrapper: str, method: str, base: str):
    resolved = row(method=method, loss={"name": wrapper, "base": base})
    assert resolved.method.policy == METHODS[method].policy
    assert resolved.method.text == METHODS[method].text
    run, state = trained(Setup(resolved, steps=2, batch_size=4))
    assert all(math.isfinite(step["loss_nats"]) for step in state.rows)
    assert run.student is not None


def has_base(loss: str) -> bool:
    fields = components.hyperparameters("losses", loss).values()
    return any(field.is_base_divergence for field in fields)


def test_every_loss_with_a_base_is_among_the_wrappers() -> None:
    assert {name for name in components.names("losses") if has_base(name)} == WRAPPERS


def test_a_row_of_the_same_parts_is_the_method_of_the_catalogue() -> None:
    gkd = METHODS["gkd"]
    assert row(method="gkd", loss="jsd", policy="mixed").method == gkd
    composed = row(loss="jsd", policy="mixed")
    assert composed.settings == row(method="gkd").settings
    assert composed.method.evidence == "own"


def test_a_hyperparameter_that_came_later_is_no_part_of_a_job_at_its_default() -> None:
    plain, falling = row(method="skd"), row(method="skd", expected_tokens=32)
    assert "expected_tokens" in plain.hyperparameters
    assert plain.settings["policy_settings"] == {
        "top": 25,
        "student_temperature": 0.5,
        "student_top_p": 0.5,
        "teacher_temperature": 0.2,
        "teacher_top_p": 0.5,
        "gold_share": 0.0,
    }
    job = falling.settings["policy_settings"]
    assert isinstance(job, dict)
    assert job["expected_tokens"] == 32
    assert "block_tokens" not in job


def test_a_changed_method_keeps_the_defaults_of_the_parts_that_stay() -> None:
    resolved = row(method="imitkd", loss={"name": "atkd", "easy_weight": 0.3})
    assert resolved.policy_settings["student_share"] == 1.0
    assert resolved.loss_settings["easy_weight"] == 0.3


@pytest.mark.parametrize(
    ("keys", "teacher"),
    [
        ({"loss": "jsd"}, "cache"),
        ({"loss": "relational"}, "live"),  # it needs the whole vocabulary
        ({"loss": "jsd", "policy": "mixed"}, "live"),
        ({"loss": "cross_entropy", "features": "hidden_mse"}, "live"),
        ({"loss": "cross_entropy"}, "none"),
        ({"loss": "cross_entropy", "text": "teacher"}, "text"),
        ({"loss": "cross_entropy", "policy": "switch"}, "live"),
        ({"method": "sft", "loss": "jsd"}, "cache"),
        ({"method": "reverse_kl", "loss": "jsd"}, "live"),
        ({"method": "sft", "text": "teacher"}, "text"),
        ({"method": "seqkd", "text": "gold"}, "none"),
    ],
)
def test_a_composed_method_has_the_teacher_that_its_parts_need(keys: dict[str, Any], teacher: str):
    assert row(**keys).method.teacher == teacher


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"loss": "jds"}, ["methods.row.loss", "jds", "jsd"]),
        ({"policy": "mixed"}, ["methods.row", "loss"]),
        ({"method": "gkd", "policy": "on"}, ["methods.row.policy", "mixed"]),
        ({"method": "gkd", "loss": {"name": "atkd", "base": "dkd"}}, ["loss.base", "dkd", "jsd"]),
        ({"method": "gkd", "loss": {"name": "atkd", "bass": "jsd"}}, ["loss.bass", "base"]),
        ({"method": "rs_kd", "loss": "jsd"}, ["methods.row.loss", "`method`"]),
        (
            {"method": "kl_k2", "estimator": "k1"},
            ["estimator = 'k1'", "gradient of zero", "opd", "k2, k3"],
        ),
        ({"method": "hidden_mse", "teacher": "cache"}, ["methods.row.teacher", "hidden"]),
        ({"loss": "tvd", "features": "hiden_mse"}, ["methods.row.features", "hidden_mse"]),
        (
            {"method": "hidden_l2", "teacher": "cache", "layers": "uniform"},
            ["methods.row.layers", "'last'", "live"],
        ),
        ({"method": "opd", "student_share": 0.5}, ["student_share = 0.5", "1.0"]),
        (
            {"method": "alm", "policy": "mixed", "temperature": 50.0},
            ["methods.row.temperature", "loss: {name: alm,", "policy: {name: mixed,"],
        ),
        ({"method": "skd", "loss": "top_k_kl", "top": 4}, ["methods.row.top", "speculative"]),
        ({"method": "opd", "gold_weight": 0.5}, ["gold_weight = 0.5", "mixed", "allowed: 0"]),
        ({"method": "skd", "gold_weight": 0.5}, ["gold_weight = 0.5", "speculative"]),
        ({"method": "minillm", "gold_weight": 0.5}, ["gold_weight = 0.5", "teacher_mixed"]),
        ({"method": "opd", "temperature": 0}, ["temperature = 0", "opd", "above 0"]),
        ({"method": "kdrl", "temperature": 0}, ["temperature = 0", "kdrl", "above 0"]),
        ({"method": "kdrl", "text": "teacher"}, ["text = 'teacher'", "kdrl", "'gold'"]),
        ({"method": "sdpo", "text": "teacher"}, ["text = 'teacher'", "sdpo", "'gold'"]),
        ({"loss": "jsd", "policy": "mixed", "teacher": "cache"}, ["teacher", "live"]),
        ({"loss": "jsd", "initial_sft": {"stepz": 3}}, ["methods.row.initial_sft.stepz", "steps"]),
    ],
)
def test_a_row_that_can_not_be_is_refused_with_its_key_and_the_way_out(
    tiny: dict[str, Any], keys: dict[str, Any], words: list[str]
):
    with pytest.raises(ConfigError) as caught:
        validate(tiny | {"methods": {"row": keys}, "grid": [{"seeds": [1]}]})
    (line,) = str(caught.value).splitlines()
    assert all(word in line for word in words), line


@pytest.mark.parametrize("method", ["gkd", "switch", "distillm", "distillm2", "forward_kl"])
def test_cross_entropy_has_a_share_where_some_text_stays_as_it_was(method: str) -> None:
    assert row(method=method, gold_weight=0.5).method.gold_weight == 0.5


def test_a_name_that_two_parts_share_is_set_in_the_part_that_it_is_meant_of() -> None:
    loss: dict[str, Any] = {"name": "alm", "temperature": 50.0}
    resolved = row(method="alm", loss=loss, policy="mixed")
    assert resolved.loss_settings["temperature"] == 50.0
    assert resolved.policy_settings["temperature"] == 1.0


def test_a_row_may_have_an_initial_sft_of_its_own_or_none(tiny: dict[str, Any]) -> None:
    rows = {"sft": {"initial_sft": None}, "jsd": None, "gkd": {"initial_sft": {"steps": 3}}}
    grid = Grid(validate(tiny | {"methods": rows, "grid": [{"seeds": [1]}]}))
    starts = {name: dict(grid.student(name, "small", "large", 1).inputs)["start"] for name in rows}
    assert starts["sft"] == grid.start_model("small", 1)
    assert starts["jsd"] == grid.start("small", 1)
    assert starts["gkd"].stage == "starts"
    assert starts["gkd"] != starts["jsd"]


def test_every_policy_says_whether_the_teacher_writes() -> None:
    interleaved = {
        name
        for name in components.names("data_policies")
        if class_constant("data_policies", name, "teacher_writes", False)
    }
    assert interleaved == {"speculative", "switch", "ada_switch", "teacher_mixed"}
