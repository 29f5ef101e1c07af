"""What a change reruns: exactly the jobs whose settings, inputs or code it touches.

The tiny chain has run; each test changes something and asks what would be done now: Snakemake, or
the plan where only the configuration changes (`test_plan.py` holds that both are the same).
"""

import contextlib
import os
import shutil
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from snaking import Copy, edited

from workflow.config.validate import validate
from workflow.grid.artifact import Artifact
from workflow.grid.grid import Grid

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("chain")]
REPORT = {"tiny/grid.csv", "tiny/report"}


def grid_of(config: dict[str, Any]) -> Grid:
    return Grid(validate(config))


def outputs(*artifacts: Artifact) -> set[str]:
    return {artifact.path.removeprefix("results/") for artifact in artifacts}


@contextlib.contextmanager
def aside(path: Path) -> Iterator[None]:
    """The tree without a file or folder, for as long as it lasts; put back with its old age."""
    hidden = path.with_name(f"hidden.{path.name}")
    path.rename(hidden)
    try:
        yield
    finally:
        if path.is_dir():
            shutil.rmtree(path)
        hidden.rename(path)


def trained_and_evaluated(grid: Grid, *students: Artifact) -> set[str]:
    return outputs(*students, *(grid.evaluations[student] for student in students))


def teachers_and_all_that_follows(grid: Grid) -> set[str]:
    students = [grid.student(method, "small", "large", 1) for method in ("sft", "jsd")]
    return {
        *outputs(grid.teacher("large"), grid.signals("large"), grid.start("small", 1), *students),
        *outputs(*grid.evaluations.values()),
        *REPORT,
    }


def test_nothing_when_nothing_changed(chain: Copy, tiny: dict[str, Any]):
    assert chain.plan(tiny) == set()


def test_a_hyperparameter_and_its_old_value_again(chain: Copy, tiny: dict[str, Any]):
    changed = edited(tiny, {"methods.jsd": {"teacher_weight": 0.3}})
    grid = grid_of(changed)
    student = grid.student("jsd", "small", "large", 1)
    assert chain.plan(changed) == trained_and_evaluated(grid, student) | REPORT
    assert chain.plan(edited(changed, {"methods.jsd": None})) == set()


def test_a_method_more(chain: Copy, tiny: dict[str, Any]):
    changed = edited(tiny, {"methods.forward_kl": None})
    grid = grid_of(changed)
    student = grid.student("forward_kl", "small", "large", 1)
    assert chain.plan(changed) == trained_and_evaluated(grid, student) | REPORT


def test_a_seed_more(chain: Copy, tiny: dict[str, Any]):
    changed = edited(tiny, {"grid.0.seeds": [1, 2]})
    grid = grid_of(changed)
    untrained, start = grid.start_model("small", 2), grid.start("small", 2)
    students = [grid.student(method, "small", "large", 2) for method in ("sft", "jsd")]
    new = trained_and_evaluated(grid, untrained, start, *students)
    assert chain.plan(changed) == new | REPORT


def test_a_student_more(chain: Copy, tiny: dict[str, Any]):
    changed = edited(tiny, {"students.big": {"model": "wide", "training": {"batch_size": 4}}})
    grid = grid_of(changed)
    untrained, start = grid.start_model("big", 1), grid.start("big", 1)
    students = [grid.student(method, "big", "large", 1) for method in ("sft", "jsd")]
    new = trained_and_evaluated(grid, untrained, start, *students)
    assert chain.plan(changed) == new | REPORT


def test_a_second_experiment_on_the_same_data_and_teachers(chain: Copy, tiny: dict[str, Any]):
    methods = {"jsd": None, "reverse_kl": None}
    other = edited(tiny, {"experiment": "other", "methods": methods})
    grid = grid_of(other)
    new = trained_and_evaluated(grid, grid.student("reverse_kl", "small", "large", 1))
    assert chain.plan(other) == new | {"other/grid.csv", "other/report"}


def test_another_question_to_the_checkpoints(chain: Copy, tiny: dict[str, Any]):
    changed = edited(tiny, {"evaluation.items": 5})
    assert chain.plan(changed) == outputs(*grid_of(changed).evaluations.values()) | REPORT


def test_a_plot(chain: Copy, tiny: dict[str, Any]):
    with chain.edit("pipeline/reporting/plots/scores.py", "\n", "\n", at_end="COLOUR = 'red'\n"):
        assert chain.planned(tiny) == {"tiny/report"}


def test_the_page_of_the_report(chain: Copy, tiny: dict[str, Any]):
    with chain.edit("pipeline/reporting/web/style.css", "{", "{ color: red;"):
        assert chain.planned(tiny) == {"tiny/report"}


def test_no_job_for_comments_and_docstrings(chain: Copy, tiny: dict[str, Any]):
    stages = ("stages/prepare_data", "training/loop", "stages/evaluate")
    files = (*stages, "losses/jsd", "artifacts/schemas", "reporting/plots/scores")
    with contextlib.ExitStack() as edits:
        for file in files:
            edit = chain.edit(f"pipeline/{file}.py", '"""', '"""Now. ', at_end="\n# a comment\n")
            edits.enter_context(edit)
        assert chain.planned(tiny) == set()


def test_a_loss_reruns_the_students_that_use_it(chain: Copy, tiny: dict[str, Any]):
    grid = grid_of(tiny)
    new = trained_and_evaluated(grid, grid.student("jsd", "small", "large", 1)) | REPORT
    with chain.edit("pipeline/losses/jsd.py", "return ", "return 1 * "):
        assert chain.planned(tiny) == new


def test_an_edit_is_passed_over_if_the_user_says_so(chain: Copy, tiny: dict[str, Any]):
    changed = edited(tiny, {"methods.forward_kl": None})
    grid = grid_of(changed)
    new = trained_and_evaluated(grid, grid.student("forward_kl", "small", "large", 1)) | REPORT
    with chain.edit("pipeline/training/state.py", "TokenLosses = ", "ANOTHER = 1\nTokenLosses = "):
        assert chain.planned(tiny, "--rerun-triggers", "mtime", "input") == set()
        assert chain.planned(changed, "--rerun-triggers", "mtime", "input") == new


def test_a_loss_that_nobody_uses_reruns_nothing(chain: Copy, tiny: dict[str, Any]):
    with chain.edit("pipeline/losses/reverse_kl.py", "return ", "return 1 * "):
        assert chain.planned(tiny) == set()


def test_an_entry_in_the_list_of_methods_reruns_no_training(chain: Copy, tiny: dict[str, Any]):
    with chain.edit("pipeline/methods/catalogue.py", "METHODS = {", "METHODS = {\n    **{},"):
        assert chain.planned(tiny) <= {"tiny/report"}


def test_the_loop_reruns_all_that_is_trained(chain: Copy, tiny: dict[str, Any]):
    with chain.edit("pipeline/training/state.py", "TokenLosses = ", "ANOTHER = 1\nTokenLosses = "):
        assert chain.planned(tiny) == teachers_and_all_that_follows(grid_of(tiny))


def test_the_machine_reruns_nothing(chain: Copy, tiny: dict[str, Any]):
    machine = ("--cores", "1", "--set-resources", "student:micro_batch_tokens=512")
    assert chain.planned(tiny, *machine) == set()


def test_the_age_of_files_reruns_nothing(chain: Copy, tiny: dict[str, Any]):
    folder = chain.folder / grid_of(tiny).tokens().path
    ages = {path: path.stat().st_mtime for path in (folder, *folder.iterdir())}
    for path in ages:
        path.touch()
    assert chain.planned(tiny) == set()
    for path, age in ages.items():
        os.utime(path, (age, age))


def test_lost_data_is_made_again_alone(chain: Copy, tiny: dict[str, Any]):
    data = grid_of(tiny).data()
    with aside(chain.folder / data.path):
        assert chain.planned(tiny) == outputs(data)
        done = chain.snakemake(tiny, "--cores", "1", "--quiet")
        assert done.returncode == 0, done.stdout + done.stderr
        assert (chain.folder / data.path / "manifest.json").is_file()
        assert chain.planned(tiny) == set()


def test_a_lost_teacher_is_made_again_for_new_students_and_no_old_one(
    chain: Copy, tiny: dict[str, Any]
):
    changed = edited(tiny, {"methods.gkd": None})
    grid = grid_of(changed)
    new = trained_and_evaluated(grid, grid.student("gkd", "small", "large", 1))
    with aside(chain.folder / grid.teacher("large").path):
        assert chain.planned(changed) == new | outputs(grid.teacher("large")) | REPORT


def test_a_lost_student_is_made_again_without_its_evaluation(chain: Copy, tiny: dict[str, Any]):
    student = grid_of(tiny).student("jsd", "small", "large", 1)
    with aside(chain.folder / student.path):
        assert chain.planned(tiny) == outputs(student)


def test_what_says_nothing_of_itself_is_made_again(chain: Copy, tiny: dict[str, Any]):
    student = grid_of(tiny).student("jsd", "small", "large", 1)
    with aside(chain.folder / student.path / "manifest.json"):
        assert chain.planned(tiny) == outputs(student)
    assert chain.planned(tiny) == set()


def test_a_whole_artifact_counts_though_snakemake_was_killed_before_it_noted_so(
    chain: Copy, tiny: dict[str, Any]
):
    path = grid_of(tiny).student("jsd", "small", "large", 1).path
    record = urlsafe_b64encode(path.encode()).decode()
    unfinished = chain.folder / ".snakemake/incomplete" / record
    with aside(chain.folder / ".snakemake/metadata" / record):
        unfinished.write_text("{}")
        try:
            assert chain.planned(tiny) == set()
        finally:
            unfinished.unlink()


def test_forcing_a_rule_forces_all_its_jobs(chain: Copy, tiny: dict[str, Any]):
    forced = outputs(*grid_of(tiny).evaluations.values()) | REPORT
    assert chain.planned(tiny, "--forcerun", "evaluation") == forced


def test_what_was_made_anew_after_an_edit_counts_though_the_report_was_never_made(
    chain: Copy, tiny: dict[str, Any]
):
    grid = grid_of(tiny)
    student = grid.student("jsd", "small", "large", 1)
    evaluation = grid.evaluations[student]
    with (
        aside(chain.folder / student.path),
        aside(chain.folder / evaluation.path),
        chain.edit("pipeline/losses/jsd.py", "return ", "return 1 * "),
    ):
        options = ("--cores", "1", "--quiet", "--until", "evaluation")
        done = chain.snakemake(tiny, *options, preloaded=True)
        assert done.returncode == 0, done.stdout + done.stderr
        assert chain.planned(tiny) == {"tiny/report"}
    assert chain.planned(tiny) == set()


def test_a_lost_memory_of_snakemake_hides_no_change(chain: Copy, tiny: dict[str, Any]):
    grid = grid_of(tiny)
    loss = trained_and_evaluated(grid, grid.student("jsd", "small", "large", 1)) | REPORT
    with aside(chain.folder / ".snakemake/metadata"):
        assert chain.planned(tiny) == set()

        with chain.edit("pipeline/losses/jsd.py", "return ", "return 1 * "):
            assert chain.planned(tiny) == loss
        with chain.edit(
            "pipeline/training/state.py", "TokenLosses = ", "ANOTHER = 1\nTokenLosses = "
        ):
            assert chain.planned(tiny) == teachers_and_all_that_follows(grid)

        changed = edited(tiny, {"methods.jsd": {"teacher_weight": 0.3}})
        other = grid_of(changed)
        new = trained_and_evaluated(other, other.student("jsd", "small", "large", 1))
        assert chain.planned(changed) == new | REPORT
