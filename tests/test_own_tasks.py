"""A user's own tasks for lm-eval: from a folder to scores, and what a change in it reruns."""

import json
import re
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from lm_eval.evaluator import simple_evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from small_tasks import BUDGET, ITEMS, WORDS, lines, model, scores
from snaking import ROOT
from task_folders import FILES, SOUNDS, Configured, grid_with, write_tasks

from pipeline.artifacts import schemas
from pipeline.artifacts.artifact import Job
from pipeline.evaluation import lm_eval_results
from pipeline.evaluation.lm_eval_model import CheckpointLM
from pipeline.evaluation.records import EvaluationRecords
from pipeline.reporting.analysis.limits import limits_of_own_tasks
from pipeline.reporting.analysis.own_tasks import metrics_of, own_tasks
from pipeline.reporting.analysis.scores import measures_of
from pipeline.stages import prepare_task
from pipeline.stages.options import PrepareTaskOptions
from pipeline.tasks import lm_eval_tasks
from workflow.grid.grid import Grid


@pytest.fixture
def grid(examples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Configured:
    """The grid of a configuration in a project whose folder `my_tasks` has tasks."""
    monkeypatch.chdir(tmp_path)
    write_tasks(Path("my_tasks"))
    return partial(grid_with, examples)


def prepared(grid: Grid) -> Path:
    """The first task of an experiment, as its job writes it into the project's results."""
    task, data, out = grid.tasks[0], Path("data"), Path(grid.tasks[0].path)
    names = ("instruction", "input", "source")
    columns = {name: ["x"] * len(ITEMS) for name in names}
    columns |= {name: [item[name] for item in ITEMS] for name in ITEMS[0]}
    data.mkdir(exist_ok=True)
    schemas.write(data / "train.parquet", columns, schemas.EXAMPLES)
    job = Job(task.id, "code", task.settings)
    prepare_task.run(PrepareTaskOptions(job=job, out=out, data=data))
    return out


def evaluated(task: Path) -> EvaluationRecords:
    """What a tiny model does on a prepared task."""
    card = json.loads((task / "task.json").read_text())
    own = lm_eval_tasks.own_folder(task)
    tasks = lm_eval_tasks.load(card["lm_eval_task"], lm_eval_tasks.stored(task), None, "x", own)
    checkpoint = CheckpointLM(model(1), WORDS, BUDGET)
    results = lm_eval_results.evaluate_tasks(checkpoint, tasks, None, seed=0)
    return lm_eval_results.lm_eval_records(card["task"], card["lm_eval_task"], tasks, results)


def manifests(task: Path) -> dict[str, Any]:
    """The manifest of a task, as a report finds it."""
    return {f"tasks/{task.name}": json.loads((task / "manifest.json").read_text())}


def test_a_task_of_a_folder_is_scored_by_its_own_function(grid: Configured):
    task = prepared(grid("sounds_written"))
    write_tasks(Path("my_tasks")).joinpath("utils.py").write_text("broken")  # after it was prepared
    records = evaluated(task)
    outputs, items = records.outputs.to_pandas(), records.items.to_pandas()
    assert list(outputs["prompt"]) == [f"Which animal says {sound}?" for sound in SOUNDS]
    lengths = [
        abs(len(row["references"][0]) - len(row["output"])) for row in outputs.to_dict("records")
    ]
    of_function = items[items["metric"] == "length_error"]
    assert list(of_function["value"]) == lengths
    assert any(lengths)
    assert json.loads((task / "task.json").read_text())["origins"].keys() == {
        "my_tasks/sounds.jsonl"
    }


def test_a_metric_s_name_may_have_a_colon(grid: Configured):
    listed = '{metric: "acc:raw", aggregation: mean, higher_is_better: true}'
    path = Path("my_tasks/choice.yaml")
    path.write_text(path.read_text().rstrip() + f"\n  - {listed}\n")
    more = FILES["utils.py"].replace('{"acc":', '{"acc:raw": values[0], "acc":')
    Path("my_tasks/utils.py").write_text(more)
    items = evaluated(prepared(grid("sounds_choice"))).items.to_pandas()
    assert list(items["metric"].value_counts(sort=False)) == [len(SOUNDS)] * 2
    assert set(items["metric"]) == {"acc", "acc:raw"}


def test_scores_are_those_of_lm_eval_with_the_same_folder(grid: Configured):
    shots = "include: written.yaml\ntask: with_shots\nnum_fewshot: 2\nfewshot_split: test\n"
    Path("my_tasks/shots.yaml").write_text(shots)
    named = "{data_files: {test: my_tasks/sounds.jsonl}, cache_dir: cache}"  # as from its own shell
    base = FILES["base.yaml"].replace("{data_files: {test: sounds.jsonl}}", named)
    Path("my_tasks/base.yaml").write_text(base)
    ours = evaluated(prepared(grid("with_shots")))
    manager = TaskManager(include_path="my_tasks", include_defaults=False)
    lm = HFLM(model(1), tokenizer=WORDS, batch_size=1)
    theirs = simple_evaluate(lm, tasks=["with_shots"], task_manager=manager, bootstrap_iters=0)
    assert theirs is not None
    samples, results = theirs.get("samples", {}), theirs.get("results", {})
    asked = pd.DataFrame(samples["with_shots"])["arguments"]
    prompts = [arguments[0][0] for arguments in asked]
    assert ours.outputs["prompt"].to_pylist() == prompts
    for metric, mean in scores(ours).items():
        assert mean == pytest.approx(results["with_shots"][f"{metric[1]},none"])


def test_the_task_of_the_tutorial_is_scored(grid: Configured):
    text = (ROOT / "docs/tutorials/your_data_and_model.md").read_text()
    files = dict(re.findall(r"^```\n# (my_tasks/\S+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))
    for name, content in files.items():
        Path(name).write_text(content)
    rows = [{"sound": "meow", "animal": "cat"}, {"sound": "woof", "animal": "dog"}]
    lines(Path("my_tasks/sounds.jsonl"), rows)
    for name in ("choice.yaml", "written.yaml"):
        Path("my_tasks", name).unlink()
    records = evaluated(prepared(grid("sounds")))
    assert list(records.outputs["prompt"].to_pylist()) == [
        f"Which animal says {row['sound']}?" for row in rows
    ]
    assert set(records.items["metric"].to_pylist()) == {"exact_match", "length_error"}


def test_other_data_can_take_the_place_of_the_task_s_own(grid: Configured):
    Path("my_tasks/other.jsonl").unlink()
    lines(Path("few.jsonl"), [{"sound": "oink"}, {"sound": "quack"}])
    records = evaluated(prepared(grid("other", data={"other": "few.jsonl"})))
    assert records.outputs["prompt"].to_pylist() == ["oink", "quack"]


def test_directions_come_from_the_folder_and_scales_from_lm_eval_alone(grid: Configured):
    prepared_tasks = [prepared(grid(name)) for name in ("sounds_written", "sounds_choice")]
    of_both = {path: each for task in prepared_tasks for path, each in manifests(task).items()}
    scored = [
        *(("sounds_written", metric) for metric in ("exact_match", "length_error")),
        *(("sounds_choice", metric) for metric in ("acc", "entropy")),
        ("arc_easy", "acc"),
    ]
    values = pd.DataFrame(
        [{"task": task, "slice": "", "metric": name, "value": 0.5} for task, name in scored]
    )
    shown = {
        (each.task, each.metric.name): (each.metric.higher_is_better, *each.metric.bounds)
        for each in measures_of(values, metrics_of(of_both))
    }
    unbounded = (-float("inf"), float("inf"))
    assert shown == {
        ("sounds_written", "exact_match"): (True, 0.0, 1.0),
        ("sounds_written", "length_error"): (False, *unbounded),
        ("sounds_choice", "acc"): (False, *unbounded),  # of a function: no accuracy
        ("sounds_choice", "entropy"): (None, *unbounded),
        ("arc_easy", "acc"): (True, 0.0, 1.0),
    }


def test_the_report_says_which_metrics_of_a_folder_it_does_not_show(grid: Configured):
    own = manifests(prepared(grid("sounds_written")))
    means = pd.DataFrame(
        [{"task": "sounds_written", "slice": "", "metric": "exact_match", "value": 0.5}]
    )
    (line,) = limits_of_own_tasks(own, measures_of(means, metrics_of(own)))
    assert line.startswith("Not shown of sounds_written: length_error. A metric is shown where")


def test_a_group_and_a_tag_are_prepared_with_their_members_alone(grid: Configured):
    Path("my_tasks/groups/all.yaml").write_text("group: sounds_group\ntask: [sounds_choice]\n")
    task = prepared(grid("sounds_group"))
    assert {path.name for path in (task / "documents").iterdir()} == {"sounds_choice"}
    copied = {str(path.relative_to(task)) for path in task.glob("task_folder/**/*.yaml")}
    assert copied == {f"task_folder/{name}.yaml" for name in ("base", "choice", "groups/all")}
    (made,) = own_tasks(manifests(task))
    assert made.files.keys() == {
        *("asked.txt", "base.yaml", "choice.yaml", "groups/all.yaml", "sounds.jsonl", "utils.py")
    }
    tagged = evaluated(prepared(grid("sounds_tag"))).items.to_pandas()
    assert set(tagged["task"]) == {"sounds_choice", "sounds_written"}


def test_data_outside_of_the_folder_counts_too(grid: Configured):
    text = FILES["other.yaml"].replace("other.jsonl", "elsewhere/*.jsonl")
    Path("my_tasks/other.yaml").write_text(text)
    Path("elsewhere").mkdir()
    for number in (1, 2):
        Path(f"elsewhere/{number}.jsonl").write_text(FILES["other.jsonl"])
    before = grid("other")
    assert len(evaluated(prepared(before)).items) == 2
    Path("elsewhere/2.jsonl").write_text(FILES["other.jsonl"] * 2)
    assert grid("other").tasks[0] != before.tasks[0]


def test_a_file_that_was_edited_after_the_plan_is_refused(grid: Configured):
    planned = grid("sounds_choice")
    Path("my_tasks/utils.py").write_text(FILES["utils.py"] + "\n")
    with pytest.raises(ValueError, match=r"my_tasks/utils\.py was edited after this run began"):
        prepared(planned)


def test_data_that_is_edited_after_it_was_copied_changes_nothing(grid: Configured):
    edit = "Path('my_tasks/sounds.jsonl').write_text('')"  # when lm-eval imports the functions
    Path("my_tasks/utils.py").write_text(f"{FILES['utils.py']}\n{edit}\n")
    outputs = evaluated(prepared(grid("sounds_written"))).outputs
    assert outputs["prompt"].to_pylist() == [f"Which animal says {sound}?" for sound in SOUNDS]
    assert Path("my_tasks/sounds.jsonl").read_text() == ""
