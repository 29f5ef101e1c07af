"""What the report says of tasks that are not of the experiment's own data, before and after."""

from contextlib import chdir

import numpy as np
import pytest
from comparing import SETTINGS
from made_up import Cell, drawn, made
from snaking import ROOT

from pipeline.reporting.analysis.changes import trained_on
from pipeline.reporting.analysis.comparisons import compare
from pipeline.reporting.analysis.findings import Difference
from pipeline.reporting.analysis.scores import assemble
from pipeline.reporting.sections.difference_tables import result_of, retention_table
from pipeline.settings.evaluation import Evaluation
from workflow.grid import evaluations
from workflow.grid.artifact import Artifact

LOCAL = {"source": "files", "train": "a.jsonl", "test": "README.md"}
UNTOUCHED = Cell("untrained", 1, kind="untrained")


def trained() -> dict[Cell, np.ndarray]:
    return drawn({"sft": 0.0, "jsd": 0.0}, 3, spread=0.02)


def changes(values: dict[Cell, np.ndarray], metric: str = "rouge_l") -> dict[str, Difference]:
    inputs = made(values, metric)
    differences = compare(assemble(inputs), SETTINGS).changes_elsewhere
    return {change.first.method: change for change in differences}


def test_all_seeds_are_compared_with_the_one_checkpoint_that_they_began_with():
    values = trained()
    before = np.mean([values[Cell("sft", seed)] for seed in (1, 2, 3)], axis=0) + 2.0
    by_method = changes({UNTOUCHED: before, **values})
    assert by_method["sft"].value == pytest.approx(-2.0)
    assert by_method["sft"].seed_count == 3
    assert by_method["sft"].second.method == "untrained"
    assert {result_of(change) for change in by_method.values()} == {"forgotten"}
    assert {
        result_of(change) for change in changes({UNTOUCHED: before, **values}, "nll_nats").values()
    } == {"gained"}


def test_seeds_with_weights_of_their_own_are_compared_with_these():
    values = trained()
    shifts = {1: 0.0, 2: 5.0, 3: -5.0}  # of a seed, before training and after: no change
    shifted = {cell: value + shifts[cell.seed] for cell, value in values.items()}
    untouched = {
        Cell("untrained", seed, kind="untrained"): shifted[Cell("sft", seed)] for seed in shifts
    }
    by_method = changes({**untouched, **shifted})
    assert by_method["sft"].value == pytest.approx(0.0)
    assert not by_method["sft"].significantly_different
    assert by_method["jsd"].interval.half_width < 1.0  # the seeds' shifts cancel


def test_a_table_has_a_row_for_each_method_and_measure_of_other_tasks_alone():
    values = {UNTOUCHED: trained()[Cell("sft", 1)] - 3.0, **trained()}
    inputs = made(values)
    results = assemble(inputs)
    table = retention_table(compare(results, SETTINGS))
    assert table is not None
    assert table.caption.startswith("Of 2 scores, 0 are significantly worse than before, 2 better.")
    assert [row[0].text for row in table.groups[0].rows] == ["sft", "jsd"]
    without = made(trained())
    results = assemble(without)
    assert retention_table(compare(results, SETTINGS)) is None


@pytest.mark.parametrize(
    ("examples", "data", "is_own"),
    [
        ({"source": "hub", "name": "MiniLLM/dolly"}, {}, True),
        ({"source": "hub", "name": "MiniLLM/sinst"}, {}, False),
        (LOCAL, {}, False),
        (
            LOCAL,
            {"files": ["README.md"]},
            True,
        ),
        ({"source": "files", "train": "a.jsonl", "test": 5}, {"files": ["CHANGELOG.md"]}, False),
        ({"source": "hub", "name": "MiniLLM/dolly"}, {"files": ["CHANGELOG.md"]}, False),
        (
            {
                "source": "mixture",
                "sources": {
                    "a": {"source": "files", "train": "a"},
                    "b": {"source": "hub", "name": "o/d"},
                },
            },
            {"hub": "o/d"},
            True,
        ),
    ],
)
def test_a_task_of_the_data_that_is_trained_on_is_no_other_task(
    examples: dict[str, object], data: dict[str, object], is_own: bool
):
    evaluation = {"tasks": ["dolly", "piqa"], "data": {"dolly": data} if data else {}}
    own = of(evaluation, examples)
    assert ("dolly" in own) == is_own
    assert "piqa" not in own


def of(evaluation: dict[str, object], examples: dict[str, object]) -> set[str]:
    """The own tasks of an experiment whose tasks are as the workflow makes them."""
    settings = Evaluation.model_validate(evaluation)
    made_of = Artifact.of("data", "files", {})
    with chdir(ROOT):
        tasks = evaluations.tasks(settings, made_of)
    manifests = {f"tasks/{task.id}": {"settings": task.settings} for task in tasks}
    return trained_on({"data": {"examples": examples}}, manifests)


def test_answers_are_of_the_experiment_s_own_data_unless_a_file_is_named():
    assert "answers" in of({"tasks": ["answers"]}, {})
    other = {"tasks": ["answers"], "data": {"answers": {"files": ["README.md"]}}}
    assert "answers" not in of(other, {})
    assert {"heldout", "responses"} <= trained_on({}, {})


def test_a_task_of_lm_eval_is_of_the_data_that_is_trained_on_where_it_read_that_data_set():
    job = {"kind": "lm_eval", "task": "gsm8k", "source": None}
    read = {"openai/gsm8k": {"about": "openai/gsm8k", "commit": "a" * 40}}
    manifests = {"tasks/gsm8k-1": {"settings": {"task": job}, "origins": read}}

    def own(name: str) -> set[str]:
        return trained_on({"data": {"examples": {"source": "hub", "name": name}}}, manifests)

    assert "gsm8k" in own("openai/gsm8k")
    assert "gsm8k" not in own("MiniLLM/dolly")
