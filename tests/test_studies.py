"""The studies' designs: what docs/studies.md says of them holds for their configurations."""

from collections import defaultdict
from typing import Any

import pytest
import yaml
from snaking import ROOT

from workflow.config.method_checks import resolved_method
from workflow.config.validate import validate
from workflow.grid.grid import Grid
from workflow.resources.model_sizes import size

TWINS = {"capacity_gap": "capacity_gap_pythia", "long_outputs": "long_outputs_gpt2"}
BASELINES = ("forward_kl", "reverse_kl", "imitkd", "gkd")


def read(name: str) -> dict[str, Any]:
    return yaml.safe_load((ROOT / f"configs/{name}.yaml").read_text())


@pytest.mark.parametrize(("study", "twin"), TWINS.items())
def test_a_twin_differs_by_models_and_data_alone(study: str, twin: str):
    ours, theirs = read(study), read(twin)
    for key in ("methods", "grid", "report", "teacher_cache"):
        assert ours[key] == theirs[key]
    assert [*ours["teachers"]] == [*theirs["teachers"]]
    assert [*ours["students"]] == [*theirs["students"]]
    for key in ("tasks", "sampling"):
        assert ours["evaluation"][key] == theirs["evaluation"][key]
    assert Grid(validate(theirs)).describe()["experiment"] == twin


@pytest.mark.parametrize("study", TWINS)
def test_every_cell_of_a_study_has_five_training_seeds(study: str):
    seeds: dict[tuple[str, str], set[int]] = defaultdict(set)
    for cell in Grid(validate(read(study))).cells:
        if cell.kind == "method":
            seeds[cell.teacher, cell.method].add(cell.seed)
    assert set(map(len, seeds.values())) == {5}


def test_teachers_go_from_the_students_own_size_to_thirty_times_of_it():
    grid = Grid(validate(read("capacity_gap")))
    sizes = [size(grid.model(name, 0), 2048).parameters for name in grid.experiment.models]
    times = [parameters / sizes[0] for parameters in sizes]
    assert len(times) == 5
    assert times == sorted(times)
    assert times[-1] > 30
    assert [round(each, 1) for each in times] == [1.0, 3.6, 7.5, 13.1, 31.5]  # as the page says


@pytest.mark.parametrize("baseline", BASELINES)
def test_each_baseline_stands_alone_and_under_atkd_with_every_teacher(baseline: str):
    experiment = validate(read("capacity_gap"))
    base = resolved_method(baseline, experiment.methods[baseline])
    row = f"atkd_{baseline.removesuffix('_kl')}"
    on_top = resolved_method(row, experiment.methods[row])
    assert on_top.method.loss == "atkd"
    assert on_top.policy_settings == base.policy_settings
    assert (on_top.method.policy, on_top.method.teacher) == (
        base.method.policy,
        base.method.teacher,
    )
    cells = Grid(experiment).cells
    with_teachers = {cell.teacher for cell in cells if cell.method == row}
    assert with_teachers == set(experiment.teachers)


def test_nothing_but_who_writes_tells_switch_from_its_control():
    rows = validate(read("long_outputs")).methods
    switch, control = (resolved_method(name, rows[name]) for name in ("switch", "no_switch"))
    assert switch.loss_settings == control.loss_settings
    assert switch.method.loss == control.method.loss
    shares = switch.policy_settings["gold_share"], control.policy_settings["student_share"]
    assert shares == (0.5, 0.5)  # of gold text, and of the student's
    assert control.policy_settings["temperature"] == 1.0  # as SWITCH samples
    for field in ("teacher", "text", "gold_weight", "plain_text_weight"):
        assert getattr(switch.method, field) == getattr(control.method, field)
