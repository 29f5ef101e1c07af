"""A user's own tasks for lm-eval in a plan: what a change reruns, and what is refused."""

from functools import partial
from pathlib import Path

import pytest
from task_folders import FILES, Configured, grid_with, write_tasks

from pipeline.settings.evaluation import Evaluation
from workflow.config.report_checks import known_measures
from workflow.config.validate import ConfigError


@pytest.fixture
def grid(examples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Configured:
    """The grid of a configuration in a project whose folder `my_tasks` has tasks."""
    monkeypatch.chdir(tmp_path)
    write_tasks(Path("my_tasks"))
    return partial(grid_with, examples)


@pytest.mark.parametrize(
    ("file", "changed"),
    [
        ("choice.yaml", {"sounds_choice", "sounds_tag"}),
        ("written.yaml", {"sounds_written", "sounds_tag"}),
        ("base.yaml", {"sounds_choice", "sounds_written", "sounds_tag"}),
        ("utils.py", {"sounds_choice", "sounds_written", "sounds_tag", "other"}),
        ("asked.txt", {"sounds_choice", "sounds_written", "sounds_tag", "other"}),
        ("sounds.jsonl", {"sounds_choice", "sounds_written", "sounds_tag"}),
        ("other.jsonl", {"other"}),
        ("new.yaml", set()),
        ("__pycache__/utils.pyc", set()),
    ],
)
def test_a_changed_file_makes_new_what_may_read_it(grid: Configured, file: str, changed: set[str]):
    names = ("sounds_choice", "sounds_written", "sounds_tag", "other")
    before = {name: grid(name, "arc_easy") for name in names}
    path = Path("my_tasks", file)
    path.parent.mkdir(exist_ok=True)
    path.write_text(FILES.get(file, "task: new") + "\n")
    for name in names:
        after = grid(name, "arc_easy")
        own, of_lm_eval = (
            new == old for new, old in zip(after.tasks, before[name].tasks, strict=True)
        )
        assert own == (name not in changed)
        assert of_lm_eval
        evaluations = set(after.evaluations.values())
        assert (evaluations == set(before[name].evaluations.values())) == (name not in changed)


def test_tasks_of_lm_eval_keep_their_ids_beside_a_folder(grid: Configured):
    alone, beside = grid("arc_easy", task_folder=None), grid("arc_easy", "other")
    assert alone.tasks[0] == beside.tasks[0]
    assert "folder" not in alone.tasks[0].settings["task"]
    assert "task_folder" not in Evaluation().model_dump(mode="json")


def test_a_measure_of_the_folder_can_be_primary(grid: Configured):
    known = known_measures(grid("sounds_written", "arc_easy").experiment.evaluation)
    assert "sounds_written/length_error" in known
    assert "arc_easy/length_error" not in known


@pytest.mark.parametrize(
    ("file", "text", "task", "message"),
    [
        (
            "",
            "",
            "sounds_chioce",
            r"tasks\.0: unknown task 'sounds_chioce'; did you mean sounds_ch",
        ),
        (
            "a.yaml",
            "task: arc_easy",
            "arc_easy",
            r"name of lm-eval and of my_tasks/a\.yaml; rename",
        ),
        ("a.yaml", "task: dolly", "dolly", "name of this benchmark and of my_tasks"),
        ("a.yaml", "task: other", "other", r"'other' is in my_tasks/a\.yaml and in my_tasks/other"),
        ("a.yaml", "include: no.yaml", "other", r"my_tasks/a\.yaml: .*my_tasks/no\.yaml"),
        ("a.yaml", "task: [", "other", r"task_folder = 'my_tasks': my_tasks/a\.yaml: "),
        ("a.yaml", "group: g\ntask: [other, nil]", "g", "'g' has the member 'nil', which is in no"),
        (
            "a.yaml",
            "group: g\ntask: [squadv2]",
            "g",
            "'squadv2'.*documents are made by code of",
        ),
        (
            "other.jsonl",
            None,
            "other",
            r"there is no file 'other\.jsonl', neither from .* nor from",
        ),
        ("a.yaml", "task: a\nclass: !function utils.A", "a", "are made by code of its own"),
        ("a.yaml", "include: other.yaml\ntask: a\nunsafe_code: true", "a", "as code .unsafe_code"),
        ("a.yaml", "task: a\ndataset_path: json\ntest_split: test", "a", "needs its files in data"),
        (
            "a.yaml",
            "task: a\ndataset_path: org/set",
            "a",
            "neither test_split nor validation_split",
        ),
        ("a.yaml", "include: ../b.yaml\ntask: a", "a", r"it includes b\.yaml, outside of my_tasks"),
        ("", "", "arc_easy", "lists none of its tasks, which are other, sounds_choice"),
    ],
)
def test_a_faulty_task_is_refused_before_any_job(
    grid: Configured, file: str, text: str | None, task: str, message: str
):
    Path("b.yaml").write_text("dataset_path: org/set\ntest_split: test")
    if text is None:
        Path("my_tasks", file).unlink()
    elif file:
        Path("my_tasks", file).write_text(text)
    with pytest.raises(ConfigError, match=message):
        grid(task)


@pytest.mark.parametrize(
    ("folder", "message"),
    [
        ("no_tasks", "there is no such folder .a relative path starts at"),
        (".", "the results would be a part of it"),
        ("empty", "no file .*yaml in it has `task` or `group`"),
        ("x" * 280, "there is no such folder"),  # no system has so long a name
    ],
)
def test_a_folder_without_tasks_is_refused(grid: Configured, folder: str, message: str):
    Path("empty").mkdir()
    with pytest.raises(ConfigError, match=rf"evaluation\.task_folder = .*: {message}"):
        grid("arc_easy", task_folder=folder)
