"""Bad input is refused in a line: the key, or the file and row, the value, and what is allowed."""

from typing import Any

import pytest
from pydantic import ValidationError
from refusals import refusal
from snaking import Copy, edited

from pipeline.methods.catalogue import METHODS
from pipeline.settings.training import Training
from workflow.config.validate import validate


def test_a_good_configuration_is_no_bad_input(tiny: dict[str, Any]):
    assert validate(tiny).experiment == "tiny"


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("trainning", "training"),
        ("training.learning_rat", "learning_rate"),
        ("data.examples.trian", "train"),
        ("data.template.with_inputs", "with_input"),
        ("models.wide.layer", "layers"),
        ("teachers.large.modle", "model"),
        ("teachers.large.training.stepz", "steps"),
        ("grid.0.seed", "seeds"),
        ("initial_sft.batchsize", "batch_size"),
        ("evaluation.item", "items"),
    ],
)
def test_a_misspelt_key_is_named_with_what_was_meant(tiny: dict[str, Any], key: str, meant: str):
    line = refusal(tiny, (key, 1))
    assert line.startswith(f"{key}: unknown key; did you mean {meant}?; allowed: ")
    assert "\n" not in line


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("warmup", "initial_sft"),
        ("student_text_tokens", "rollout_tokens"),
        ("tokenizer.vocabulary", "vocabulary_size"),
        ("models.wide.initial_spread", "initializer_range"),
        ("data.examples.plain", "plain_text"),
        *(
            (f"{block}{old}", new)
            for block in (
                "training.",
                "initial_sft.",
                "teachers.large.training.",
                "students.small.training.",
                "methods.jsd.training.",
            )
            for old, new in Training.renamed_keys.items()
        ),
    ],
)
def test_a_renamed_key_is_refused_with_its_name(tiny: dict[str, Any], key: str, name: str):
    rows = {"methods.jsd": {"training": {}}, "students.small.training": {}}
    line = refusal(edited(tiny, rows), (key, 1))
    assert line.startswith(f"{key}: ")
    assert line.endswith(f" {name}")


def test_each_of_several_renamed_keys_is_named(tiny: dict[str, Any]):
    lines = refusal(tiny, ("training.decayed", "all"), ("training.warmup_share", 0)).splitlines()
    assert {line.split(":")[0] for line in lines} == {"training.decayed", "training.warmup_share"}


def test_the_hubs_renamed_keys_are_refused_with_their_names(tiny: dict[str, Any]):
    source = {"source": "hub", "name": "a/b", "plain": "c/d", "plain_config": "e"}
    lines = refusal(tiny, ("data.examples", source)).splitlines()
    assert [line.split()[-1] for line in lines] == ["plain_text", "plain_text_config"]


def test_a_job_refuses_a_renamed_key_too():
    with pytest.raises(ValidationError, match="warmup_share is now called warmup_ratio"):
        Training.model_validate({"steps": 1, "warmup_share": 0.1})


def test_a_misspelt_hyperparameter_is_named_with_those_there_are(tiny: dict[str, Any]):
    line = refusal(tiny, ("methods.jsd", {"teacher_wieght": 0.3}))
    assert line.startswith("methods.jsd.teacher_wieght: ")
    assert line.endswith("available: teacher_weight")


def test_a_hyperparameter_out_of_range_is_named_with_its_range(tiny: dict[str, Any]):
    line = refusal(tiny, ("methods.jsd", {"teacher_weight": 1.5}))
    assert line == "methods.jsd.teacher_weight = 1.5: Input should be less than 1"


def test_an_unknown_method_is_answered_with_all_there_are(tiny: dict[str, Any]):
    line = refusal(tiny, ("methods.foward_kl", None))
    assert line.startswith("methods.foward_kl: ")
    assert "did you mean forward_kl?" in line
    assert all(name in line for name in METHODS)
    row = refusal(tiny, ("methods.jsd_high", {"teacher_weight": 0.9}))
    assert "allowed: with `method: NAME` or `loss: NAME` any name, or one of sft, " in row


def test_an_unknown_task_is_answered_with_those_of_like_names(tiny: dict[str, Any]):
    line = refusal(tiny, ("evaluation.tasks", ["heldout", "responces"]))
    assert line.startswith("evaluation.tasks.1: unknown task 'responces'; did you mean responses")


@pytest.mark.parametrize(
    ("key", "value", "fault"),
    [
        ("methods", ["sft", "jsd"], "not a block of keys; allowed: `{KEY: .., ..}`"),
        ("training", 3, "not a block of keys"),
        ("models.wide", "narrow", "not a block of keys"),
        ("teachers.large", "wide", "not a block of keys"),
        ("grid.0.seeds", 3, "not a list; allowed: `[.., ..]`"),
    ],
)
def test_a_value_of_another_kind_is_told_what_is_meant(
    tiny: dict[str, Any], key: str, value: object, fault: str
):
    assert refusal(tiny, (key, value)).startswith(f"{key} = {value!r}: {fault}")


def test_shapes_without_a_vocabulary_are_told_how_to_have_one(tiny: dict[str, Any]):
    lines = refusal(tiny, ("tokenizer", None)).splitlines()
    assert len(lines) == 2
    assert all("`tokenizer: {vocabulary_size: 2048}` at the top level" in line for line in lines)


@pytest.mark.parametrize("steps", [0, -5])
def test_a_budget_below_one_step_is_refused(tiny: dict[str, Any], steps: int):
    line = refusal(tiny, ("training.steps", steps))
    assert line == f"training.steps = {steps}: Input should be greater than or equal to 1"


def test_a_budget_of_no_epoch_is_refused(tiny: dict[str, Any]):
    line = refusal(tiny, ("training.steps", None), ("training.epochs", 0))
    assert line == "training.epochs = 0: Input should be greater than 0"


def test_two_budgets_at_once_are_refused(tiny: dict[str, Any]):
    assert refusal(tiny, ("training.epochs", 2)) == "training: give either steps or epochs"
    line = refusal(tiny, ("initial_sft", {"steps": 3, "epochs": 2}))
    assert line == "initial_sft: give either steps or epochs"


def test_no_budget_is_refused(tiny: dict[str, Any]):
    assert refusal(tiny, ("training.steps", None)) == "training: give either steps or epochs"


def test_a_missing_key_is_named(tiny: dict[str, Any]):
    config = {key: value for key, value in tiny.items() if key != "students"}
    line = refusal(config)
    assert line == "students: the key is missing, such as `students: {small: {model: small}}`"


@pytest.mark.parametrize("key", ["teachers", "students", "methods", "seeds"])
def test_an_empty_list_in_the_grid_is_not_taken_for_all(tiny: dict[str, Any], key: str):
    assert refusal(tiny, (f"grid.0.{key}", [])).startswith(f"grid.0.{key} = []: List should have")


def test_a_seed_that_is_listed_twice_is_refused(tiny: dict[str, Any]):
    line = refusal(tiny, ("grid.0.seeds", [1, 2, 1]))
    assert line == "grid.0.seeds: 1 is listed twice"


def test_a_negative_seed_is_refused(tiny: dict[str, Any]):
    line = refusal(tiny, ("grid.0.seeds", [-1]))
    assert line == "grid.0.seeds.0 = -1: Input should be greater than or equal to 0"


def test_more_cached_tokens_than_the_vocabulary_has_are_refused(tiny: dict[str, Any]):
    line = refusal(tiny, ("teacher_cache.k", 321))
    assert line == "teacher_cache.k = 321: tokenizer.vocabulary_size is only 320"


def test_keys_of_the_top_k_are_refused_where_hidden_states_are_cached(tiny: dict[str, Any]):
    line = refusal(tiny, ("teacher_cache.tier", "hidden"))
    assert line.startswith("teacher_cache: k ")
    assert "top_k" in line


def test_temperatures_of_a_cache_are_refused(tiny: dict[str, Any]):
    line = refusal(tiny, ("teacher_cache.temperatures", [2.0]))
    assert line.startswith("teacher_cache.temperatures: unknown key")


@pytest.mark.parametrize("tier", ["sampled", "logits"])
def test_a_tier_that_is_none_is_answered_with_all_there_are(tiny: dict[str, Any], tier: str):
    line = refusal(tiny, ("teacher_cache.tier", tier))
    assert line == f"teacher_cache.tier = {tier!r}: Input should be 'top_k' or 'hidden'"


def test_a_loss_on_the_whole_vocabulary_can_read_hidden_states_alone(tiny: dict[str, Any]):
    row = ("methods.ckd", {"teacher": "cache"})
    line = refusal(tiny, row)
    assert line == (
        "methods.ckd.teacher = 'cache': its loss needs the whole vocabulary, and "
        "teacher_cache.tier is top_k; allowed: 'live', or teacher_cache.tier = 'hidden'"
    )
    assert validate(edited(tiny, {"teacher_cache": {"tier": "hidden"}, row[0]: row[1]}))


def test_a_cached_teacher_cannot_judge_text_that_is_yet_to_be_written(tiny: dict[str, Any]):
    line = refusal(tiny, ("methods.gkd", {"teacher": "cache"}))
    assert line.startswith("methods.gkd.teacher = 'cache': ")
    assert line.endswith("allowed: 'live'")


def test_every_fault_has_a_line(tiny: dict[str, Any]):
    lines = refusal(tiny, ("training.steps", 0), ("tokens.lenght", 4)).splitlines()
    assert [line.split()[0] for line in lines] == ["tokens.lenght:", "training.steps"]


def dry_run(project: Copy, config: dict[str, Any]) -> list[str]:
    """What Snakemake says of a configuration that it refuses."""
    done = project.snakemake(config, "--dry-run")
    assert done.returncode != 0
    return (done.stdout + done.stderr).splitlines()


def test_snakemake_ends_with_our_line_before_any_job(project: Copy, tiny: dict[str, Any]):
    config = edited(tiny, {"training.learning_rat": 1})
    (line,) = dry_run(project, config)
    assert line.startswith("tiny.json:1: training.learning_rat: unknown key; did you mean ")


def test_snakemake_ends_with_a_line_for_each_fault(project: Copy, tiny: dict[str, Any]):
    lines = dry_run(project, edited(tiny, {"grid.0.seeds": [1, 1], "methods.foward_kl": None}))
    assert [line.split(": ")[:2] for line in lines] == [
        ["tiny.json:1", "grid.0.seeds"],
        ["tiny.json:1", "methods.foward_kl"],
    ]
