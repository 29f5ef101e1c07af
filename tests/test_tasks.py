"""Tasks: what they are defined as, what is wrong in a configuration, and what makes new items."""

from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from small_tasks import QUESTIONS, lines
from snaking import TINY, edited

from pipeline.settings.data import ALPACA_WITHOUT_INPUT
from pipeline.settings.evaluation import Evaluation
from pipeline.settings.generation import Sampling
from pipeline.tasks import definitions, lm_eval_index
from workflow.config.validate import ConfigError, validate
from workflow.grid import evaluations
from workflow.grid.digests import of_file
from workflow.grid.grid import Grid

CODE = __file__


@pytest.mark.parametrize("name", definitions.names())
def test_a_definition_says_what_it_is_and_whom_to_cite(name: str):
    definition = definitions.read(name)
    assert definition.title
    assert definition.about
    assert definition.source


def test_every_task_of_lm_eval_that_a_definition_names_is_there():
    for name in definitions.names():
        for task in definitions.expand(name):
            if isinstance(task.definition, definitions.LmEvalTask):
                assert lm_eval_index.files(task.definition.task or task.base)


def test_a_suite_has_its_own_prompts_and_decoding():
    job = evaluations.job(Evaluation(tasks=["atkd", "dolly"], sampling={"temperature": 1.0}))
    by_name = {task.name: task.generation for task in job.tasks}
    assert len(by_name) == 9
    assert by_name["atkd_dolly"].sampling.temperature == 0
    assert by_name["dolly"].sampling.temperature == 1
    assert by_name["drop_3_shot"] is None  # lm-eval says how it is written
    (dolly,) = (task for task in definitions.expand("atkd") if task.name == "atkd_dolly")
    assert dolly.definition.template.without_input.startswith("Human:")
    assert definitions.read("dolly").template.without_input == ALPACA_WITHOUT_INPUT


def test_a_sampled_task_is_written_once_for_each_seed_and_a_greedy_one_once():
    seeds = [10, 20, 30, 40, 50]
    sampled = Evaluation(tasks=["dolly"], sampling={"temperature": 1.0}, decoding_seeds=seeds)
    greedy = sampled.model_copy(update={"sampling": Sampling(temperature=0)})
    assert evaluations.job(sampled).tasks[0].generation.decoding_seeds == seeds
    assert evaluations.job(greedy).tasks[0].generation.decoding_seeds == [0]


def test_the_index_knows_what_lm_eval_has():
    # those of the issue, a tag, groups with members in other folders, and a group of groups
    for name in ("arc_easy", "hellaswag", "piqa", "boolq", "lambada", "mmlu", "bbh", "drop"):
        assert lm_eval_index.files(name)
    assert len(lm_eval_index.folders("openllm")) > 3
    assert {path.name for path in lm_eval_index.folders("ai2_arc")} == {"arc"}
    assert not lm_eval_index.files("arc_eazy")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tasks": ["doly"]}, r"evaluation\.tasks\.0: unknown task 'doly'; did you mean dolly"),
        ({"tasks": ["arc_eazy"]}, "did you mean arc_easy"),
        ({"tasks": ["squadv2"]}, "by code of its own"),
        ({"tasks": ["ag_news"]}, "by code of its own"),  # as a file says that it includes
        ({"tasks": ["ruler"]}, r"of its member ruler_\w+, its documents are made by code"),
        ({"tasks": ["humaneval_instruct"]}, "runs what a model writes as code"),
        ({"tasks": ["chartqa"]}, "shows pictures or sound"),
        ({"tasks": ["dolly", "dolly"]}, "listed twice"),
        ({"tasks": ["exposure"]}, "exposure alone measures nothing of a teacher; add heldout"),
        ({"tasks": ["atkd", "mmlu_5_shot"]}, "'mmlu_5_shot' is in a suite, too: leave it out"),
        ({"tasks": ["arc_easy"], "data": {"arc_easy": "no/such.jsonl"}}, "there is no such file"),
        ({"tasks": ["arc_easy"], "data": {"arc_easy": [CODE]}}, "can't read '.py' files"),
        ({"tasks": ["heldout"], "data": {"dolly": CODE}}, "does not list 'dolly'"),
        (
            {"tasks": ["dolly"], "data": {"dolly": {"hub": "a/b", "columns": {"reply": "x"}}}},
            r"evaluation\.data\.dolly\.columns\.reply: .*; allowed: instruction, input, response",
        ),
        (
            {"tasks": ["boolq"], "data": {"boolq": {"hub": "a/b", "columns": {"label": "x"}}}},
            r"evaluation\.data\.boolq\.columns: a whole data set is read as lm-eval has it",
        ),
        ({"decoding_seeds": [1, 1]}, "1 is listed twice"),
    ],
)
def test_a_faulty_evaluation_is_refused_before_any_job(
    examples: Path, changes: dict[str, Any], message: str
):
    block = TINY["evaluation"] | changes
    config = edited(TINY, {"data.examples.train": str(examples), "evaluation": block})
    with pytest.raises(ConfigError, match=message):
        validate(config)


def grid(examples: Path, **evaluation: Any) -> Grid:
    changes = {f"evaluation.{key}": value for key, value in evaluation.items()}
    return Grid(validate(edited(TINY, {"data.examples.train": str(examples), **changes})))


def test_changed_data_makes_new_items_and_new_evaluations(examples: Path, tmp_path: Path):
    path = lines(tmp_path / "test.jsonl", QUESTIONS)
    asked = {"tasks": ["heldout", "arc_easy"], "data": {"arc_easy": str(path)}}
    before = grid(examples, **asked)
    ids = {evaluation.id for evaluation in before.evaluations.values()}
    lines(path, QUESTIONS[:-1])
    of_file.cache_clear()  # a digest is taken once in a process
    after = grid(examples, **asked)
    assert before.tasks[0].id != after.tasks[0].id
    assert ids.isdisjoint(evaluation.id for evaluation in after.evaluations.values())
    assert before.teacher("large").id == after.teacher("large").id  # nothing is trained anew


def test_what_is_asked_of_one_task_makes_no_other_items(examples: Path):
    few = grid(examples, tasks=["heldout", "arc_easy"], data={})
    more = grid(examples, tasks=["heldout", "arc_easy", "exposure"], items=3, data={})
    assert few.tasks[0].id == more.tasks[0].id
    roles = {role for evaluation in more.evaluations.values() for role, _ in evaluation.inputs}
    assert "teacher" in roles  # exposure asks it
    assert "teacher" not in {
        role for evaluation in few.evaluations.values() for role, _ in evaluation.inputs
    }


def test_the_version_of_lm_eval_is_of_the_id(examples: Path):
    (task,) = grid(examples, tasks=["heldout", "arc_easy"]).tasks
    assert task.settings["task"]["version"] == metadata.version("lm_eval")
