"""The plan: exactly the jobs that Snakemake then runs, each with the reason a person would give."""

import contextlib
import json
import shutil
from pathlib import Path
from typing import Any

import forked
import pandas as pd
import pytest
from damage import cut, dangle, encircle, grow, lose, swap_for_file, swap_for_folder
from planning import asked, steps
from snaking import Copy, edited

from pipeline.artifacts import checksums
from workflow.commands.console import WIDEST
from workflow.commands.plan import TO_DO
from workflow.config.validate import validate
from workflow.grid.artifact import Artifact
from workflow.grid.grid import Grid
from workflow.resources.measured_time import wall_seconds

pytestmark = pytest.mark.xdist_group("chain")
LOSS = ("pipeline/losses/jsd.py", "return ", "return 1 * ")


def kinds(planned: dict[str, dict[str, Any]]) -> dict[str, str]:
    return {output: step["why"]["kind"] for output, step in planned.items()}


def jsd(config: dict[str, Any]) -> tuple[str, str]:
    """The student of the JSD and its evaluation, without `results/`."""
    grid = Grid(validate(config))
    student = grid.student("jsd", "small", "large", 1)
    evaluation = grid.evaluations[student]
    return student.path.removeprefix("results/"), evaluation.path.removeprefix("results/")


def test_the_plan_before_a_change_of_one_hyperparameter_names_the_jobs_that_then_run_and_back(
    chain: Copy, tiny: dict[str, Any]
):
    own = edited(tiny, {"experiment": "planned"})
    chain.made(own)
    assert steps(chain, own) == {}
    scores = chain.folder / "results/planned/report/scores.parquet"
    before = scores.read_bytes()

    # a weight of this test's own: what it trains stays in the chain that other tests share
    changed = edited(own, {"methods.jsd": {"teacher_weight": 0.7}})
    student, evaluation = jsd(changed)
    planned = steps(chain, changed)
    assert set(planned) == {student, evaluation, "planned/grid.csv", "planned/report"}
    assert chain.made(changed) == {f"results/{output}" for output in planned}
    assert steps(chain, changed) == {}
    assert scores.read_bytes() != before

    why = planned[student]["why"]
    assert why["text"] == "settings changed: method.loss_settings.teacher_weight: 0.5 -> 0.7"
    assert why["was"] == Path(jsd(own)[0]).name
    assert kinds(planned) == {
        student: "settings",
        evaluation: "inputs",
        "planned/grid.csv": "inputs",
        "planned/report": "settings",
    }
    assert (
        f"{Path(jsd(own)[0]).name} -> {Path(student).name}"
        in planned[evaluation]["why"]["inputs"][0]
    )

    # the report has one name for both, so it alone is made again
    assert chain.made(own) == {"results/planned/grid.csv", "results/planned/report"}
    assert scores.read_bytes() == before
    assert chain.planned(own) == set()


def test_it_is_snakemakes_dry_run_after_any_change(chain: Copy, tiny: dict[str, Any]):
    changes: list[dict[str, Any]] = [
        {},
        {"methods.gkd": None},
        {"grid.0.seeds": [1, 2]},
        {"students.big": {"model": "wide"}},
        {"evaluation.items": 5},
        {"data.template.with_input": "{input}"},
        {"experiment": "another"},
    ]
    for change in changes:
        changed = edited(tiny, change)
        assert set(steps(chain, changed)) == chain.planned(changed), change


def test_it_is_snakemakes_dry_run_after_edits_and_losses(chain: Copy, tiny: dict[str, Any]):
    with contextlib.ExitStack() as edits:
        edits.enter_context(chain.edit(*LOSS))
        edits.enter_context(
            chain.edit("pipeline/reporting/plots/scores.py", "\n", "\n", "COLOUR = 1\n")
        )
        assert set(steps(chain, tiny, is_edited=True)) == chain.planned(tiny)
    manifest = chain.folder / Grid(validate(tiny)).tokens().path / "manifest.json"
    hidden = manifest.rename(manifest.with_name("hidden"))
    # tokens are needed by no finished job, but by that of a new seed
    more = edited(tiny, {"grid.0.seeds": [1, 2]})
    assert set(steps(chain, tiny)) == chain.planned(tiny) == set()
    assert set(steps(chain, more)) == chain.planned(more)
    hidden.rename(manifest)


def test_an_edit_is_told_by_its_file(chain: Copy, tiny: dict[str, Any]):
    student, evaluation = jsd(tiny)
    with chain.edit(*LOSS):
        planned = steps(chain, tiny, is_edited=True)
        assert asked(chain, tiny, "--keep-code", is_edited=True).returncode == 0
    assert planned[student]["why"]["text"] == "code changed: pipeline/losses/jsd.py"
    assert planned[evaluation]["why"]["text"] == "code of its inputs changed: model"
    assert planned["tiny/report"]["why"]["kind"] == "inputs"

    with chain.edit("pipeline/reporting/plots/scores.py", "\n", "\n", at_end="COLOUR = 'red'\n"):
        planned = steps(chain, tiny, is_edited=True)
    assert (
        planned["tiny/report"]["why"]["text"] == "code changed: pipeline/reporting/plots/scores.py"
    )
    assert set(planned) == {"tiny/report"}


def test_what_is_lost_or_damaged_is_said_to_be_so(chain: Copy, tiny: dict[str, Any]):
    student, evaluation = (chain.folder / "results" / output for output in jsd(tiny))
    hidden = student.rename(student.with_name("hidden"))
    manifest = evaluation / "manifest.json"
    text = manifest.read_text()
    manifest.write_text(text[: len(text) // 2])
    planned = steps(chain, tiny)
    manifest.write_text(text)
    hidden.rename(student)

    changed = {output: planned[output]["why"]["kind"] for output in jsd(tiny)}
    assert list(changed.values()) == ["lost", "damaged"]
    assert steps(chain, tiny) == {}


def test_a_deleted_cache_is_made_again_for_the_report_that_reads_it(
    chain: Copy, tiny: dict[str, Any]
):
    cache = chain.folder / Grid(validate(tiny)).signals("large").path
    fewer = edited(tiny, {"experiment": "fewer", "methods": {"sft": None}})
    expected = {f"caches/{cache.name}", "fewer/grid.csv", "fewer/report"}
    hidden = cache.rename(cache.with_name("hidden"))
    assert set(steps(chain, tiny)) == chain.planned(tiny) == set()  # the report is there
    assert set(steps(chain, fewer)) == chain.planned(fewer) == expected
    hidden.rename(cache)


def test_of_all_that_is_deleted_or_damaged_one_run_makes_the_same_report_again(
    chain: Copy, tiny: dict[str, Any], tmp_path: Path
):
    own = Copy(Path(shutil.copytree(chain.folder, tmp_path / "project", symlinks=True)))
    grid, results = Grid(validate(tiny)), own.folder / "results"
    scores = pd.read_parquet(results / "tiny/report/scores.parquet")
    student, evaluation = (results / output for output in jsd(tiny))
    shutil.rmtree(results / "caches")
    lose(results / "tiny/report/tables")
    cut(own.folder / grid.tokens().path / "train.parquet")
    encircle(own.folder / grid.teacher("large").path)
    dangle(student)
    swap_for_file(own.folder / grid.data().path)
    swap_for_folder(evaluation / "items.parquet")
    grow(results / "tiny/report/index.html")

    expected = {student, evaluation, results / "tiny/grid.csv", results / "tiny/report"}
    expected |= {
        own.folder / artifact.path
        for artifact in (grid.data(), grid.tokens(), grid.teacher("large"), grid.signals("large"))
    }
    planned = {str(path.relative_to(results)) for path in expected}
    assert set(steps(own, tiny)) == own.planned(tiny) == planned
    assert {path.removeprefix("results/") for path in own.made(tiny)} >= planned
    assert steps(own, tiny) == {}
    remade = pd.read_parquet(results / "tiny/report/scores.parquet")
    pd.testing.assert_frame_equal(remade, scores, check_exact=True)
    assert len(list((results / "damaged").glob("*/*"))) == 6


def test_a_job_with_a_saved_state_is_one_that_goes_on(chain: Copy, tiny: dict[str, Any]):
    changed = edited(tiny, {"training.steps": 13})
    student = jsd(changed)[0]
    state = chain.folder / "results/state" / Path(student).name / "step-00000004"
    state.mkdir(parents=True)
    planned = steps(chain, changed)
    shutil.rmtree(state.parent)
    assert planned[student]["why"]["kind"] == "unfinished"


def test_people_are_told_what_changed_and_what_it_costs(chain: Copy, tiny: dict[str, Any]):
    done = asked(chain, edited(tiny, {"methods.jsd": {"teacher_weight": 0.4}}))
    assert done.returncode == TO_DO
    lines = [line.strip() for line in done.stdout.splitlines()]
    assert lines[0].startswith("tiny: 3 jobs to run")  # as `run` and `status` count them
    assert 'methods.jsd: null -> {"teacher_weight": 0.4}' in lines
    assert any(line.startswith("students, 1: settings changed:") for line in lines)
    (estimate,) = (line for line in lines if line.startswith("estimated: "))
    assert "CPU-hours" in estimate
    assert "GPU-hours" not in estimate  # none of its jobs has one
    assert asked(chain, tiny).stdout.startswith("tiny: nothing to do")


def test_methods_that_come_and_go_are_named_and_no_configuration_is_dumped(
    chain: Copy, tiny: dict[str, Any]
):
    rows = {"sft": None, "gkd": None, "js": {"method": "jsd", "teacher_weight": 0.3}}
    lines = asked(chain, edited(tiny, {"methods": rows})).stdout.splitlines()
    index = lines.index("configuration changes since the last report:")
    assert lines[index + 1 : index + 3] == ["  methods: + gkd, js; - jsd", ""]
    assert "  report, 1: settings changed: the configuration" in lines
    assert max(map(len, lines)) <= WIDEST


def test_seconds_are_those_measured_before(chain: Copy, tiny: dict[str, Any]):
    student, _ = jsd(tiny)
    log = chain.folder / f"results/benchmarks/{student}.tsv"
    measured = dict(zip(*(line.split("\t") for line in log.read_text().splitlines()), strict=True))
    with chain.edit(*LOSS):
        cost = steps(chain, tiny, is_edited=True)[student]["cost"]
    assert cost["basis"] == "measured"
    assert cost["seconds"] == float(measured["s"])


def test_the_hours_of_a_job_that_ran_on_two_ranks_are_those_of_both(
    chain: Copy, tiny: dict[str, Any]
):
    student, _ = jsd(tiny)
    manifest = chain.folder / "results" / student / "manifest.json"
    as_of_one = manifest.read_text()
    with chain.edit(*LOSS):
        alone = steps(chain, tiny, is_edited=True)[student]["cost"]
        facts = json.loads(as_of_one) | {"ranks": 2}
        manifest.write_text(json.dumps(checksums.with_checksum(facts)))
        try:
            of_two = steps(chain, tiny, is_edited=True)[student]["cost"]
        finally:
            manifest.write_text(as_of_one)
    assert of_two == alone | {"seconds": 2 * alone["seconds"]}


def test_twice_the_steps_are_more_than_the_measured_seconds(chain: Copy, tiny: dict[str, Any]):
    longer = edited(tiny, {"methods.jsd": {"training": {"steps": 1200}}})
    shorter = edited(tiny, {"methods.jsd": {"training": {"steps": 6}}})
    costs = [steps(chain, config)[jsd(config)[0]]["cost"] for config in (shorter, longer)]
    assert [cost["basis"] for cost in costs] == ["scaled", "scaled"]
    assert costs[0]["seconds"] < costs[1]["seconds"]


def test_a_faulty_configuration_is_refused_and_not_planned(chain: Copy, tiny: dict[str, Any]):
    done = asked(chain, edited(tiny, {"training.stepz": 3}))
    assert done.returncode == 1
    assert "training.stepz" in done.stderr
    command = ["-m", "workflow.commands.main", "plan", "none.yaml"]
    done = forked.snakemake().run(command, chain.folder)
    assert done.returncode == 1
    assert "none.yaml" in done.stderr


def test_the_wall_time_is_that_of_the_longest_way_through_the_slots():
    first = Artifact.of("data", "first", {})
    left, right = (Artifact.of("tokens", side, {}, ("data", first)) for side in ("left", "right"))
    last = Artifact.of("models", "last", {}, ("left", left), ("right", right))
    jobs = [first, left, right, last]
    seconds = {first.id: 1.0, left.id: 5.0, right.id: 2.0, last.id: 4.0}
    assert wall_seconds(jobs, seconds, slots=1) == 1 + 5 + 2 + 4
    assert wall_seconds(jobs, seconds, slots=2) == 1 + 5 + 4
    assert wall_seconds([last], {last.id: 4.0}, slots=3) == 4
    assert wall_seconds([], {}, slots=2) == 0


def test_a_rename_is_said_and_so_is_what_no_cell_uses(chain: Copy, tiny: dict[str, Any]):
    rows = {"sft": None, "js": {"method": "jsd"}, "gkd": None}
    renamed = edited(tiny, {"methods": rows, "grid.0.methods": ["sft", "js"]})
    was = Grid(validate(tiny)).student("jsd", "small", "large", 1)
    now = Grid(validate(renamed)).student("js", "small", "large", 1)
    why = steps(chain, renamed)[now.path.removeprefix("results/")]["why"]
    assert (why["kind"], why["was"]) == ("renamed", was.id)
    assert asked(chain, renamed).stdout.startswith("no cell of the grid uses methods.gkd\n")
    twin = edited(tiny, {"methods": {"sft": None, "jsd": None, "js": {"method": "jsd"}}})
    assert steps(chain, twin)[now.path.removeprefix("results/")]["why"]["kind"] == "new"
