"""Paired students that label each other's half of the prompts: as jobs, and as texts."""

import pytest
from conftest import edited
from players import Setup, run, texts
from shelf import put_all

from pipeline.methods.catalogue import METHODS
from pipeline.methods.method import apply_overrides
from pipeline.settings.generation import TextJob
from pipeline.stages import training_run
from pipeline.stages.command_line import inputs_of
from pipeline.stages.generate import prompts
from workflow.config.validate import ConfigError, validate
from workflow.grid.artifact import Artifact
from workflow.grid.grid import Grid


def half_of(text: Artifact) -> str:
    return text.settings["half"]


def test_no_student_labels_the_half_that_it_was_trained_on(tiny):
    config = edited(tiny, {"methods": {"mckd": {"relabelling_stages": 3}}})
    artifacts = grid(config).artifacts.values()
    texts = [artifact for artifact in artifacts if artifact.stage == "texts"]
    for text in texts:
        author = dict(text.inputs)["teacher"]
        if author.stage == "students":
            assert {half_of(text), half_of(dict(author.inputs)["texts"])} == {"first", "second"}
    assert len(texts) == 2 * (3 + 1)

    (last,) = (
        artifact
        for artifact in artifacts
        if artifact.stage == "students" and "stage" not in artifact.name
    )
    labels = [artifact for role, artifact in last.inputs if role == "texts"]
    assert sorted(map(half_of, labels)) == ["first", "second"]
    assert all("stage3" in dict(label.inputs)["teacher"].name for label in labels)


@pytest.mark.parametrize(("count", "samples"), [(None, 1), (7, 1), (6, 2)])
def test_the_halves_are_disjoint_and_together_all_prompts(count, samples):
    def asked(half: str | None, seed: int = 3) -> list[str]:
        job = TextJob(prompts=count, samples=samples, half=half, seed=seed)
        return [prompt.example_id for prompt in prompts(texts(20), job)]

    first, second, both = asked("first"), asked("second"), asked(None)
    assert sorted(first + second) == sorted(both)
    bare = [{id.split("#")[0] for id in half} for half in (first, second)]
    assert not bare[0] & bare[1]
    assert abs(len(bare[0]) - len(bare[1])) <= 1
    assert asked("first", seed=4) != first


def test_one_prompt_is_not_split():
    with pytest.raises(ValueError, match="1 has no two halves"):
        prompts(texts(20), TextJob(prompts=1, half="first"))


def grid(config) -> Grid:
    return Grid(validate(config))


def stages_of(some: Grid) -> dict[str, int]:
    stages = [path.split("/")[1] for path in some.artifacts]
    return {stage: stages.count(stage) for stage in ("texts", "students", "caches")}


def test_the_grid_has_a_pair_of_students_and_texts_for_each_stage(tiny):
    one_stage = edited(tiny, {"methods": {"mckd": {"relabelling_stages": 1}}})
    assert stages_of(grid(one_stage)) == {"texts": 4, "students": 3, "caches": 1}
    three_stages = edited(tiny, {"methods": {"mckd": {"relabelling_stages": 3}}})
    assert stages_of(grid(three_stages)) == {"texts": 8, "students": 7, "caches": 1}


def test_paired_students_have_the_settings_and_start_of_the_last_one(tiny):
    some = grid(edited(tiny, {"methods": {"mckd": None}}))
    students = [artifact for artifact in some.artifacts.values() if artifact.stage == "students"]
    assert len(students) == 2 * METHODS["mckd"].relabelling_stages + 1
    assert len({student.settings_json for student in students}) == 1
    assert len({dict(student.inputs)["start"] for student in students}) == 1


def test_other_seeds_share_the_teacher_s_labels_and_nothing_after(tiny):
    some = grid(edited(tiny, {"methods": {"mckd": None}, "grid.0.seeds": [1, 2]}))
    assert stages_of(some) == {"texts": 2 + 2 * 4, "students": 2 * 5, "caches": 1}


def test_other_methods_are_as_they_were(tiny):
    alone = grid(edited(tiny, {"methods": {"seqkd": None, "jsd": None}}))
    beside = grid(edited(tiny, {"methods": {"seqkd": None, "jsd": None, "mckd": None}}))
    assert set(alone.artifacts) <= set(beside.artifacts)


def test_sampled_targets_have_a_cache_of_their_own_and_evaluations_do_not_see_it(tiny):
    plain = grid(edited(tiny, {"methods": {"forward_kl": None}}))
    drawn = grid(edited(tiny, {"methods": {"forward_kl": None, "rs_kd": {"draws": 9}}}))
    assert set(plain.artifacts) <= set(drawn.artifacts)
    (own,) = [artifact for artifact in drawn.artifacts.values() if artifact.settings.get("draws")]
    assert own.settings["draws"] == 9
    assert own.settings["splits"] == ["train"]
    readers = [reader for reader in drawn.artifacts.values() if own in dict(reader.inputs).values()]
    assert [reader.stage for reader in readers] == ["students"]


def test_snakemake_plans_the_stages(project, tiny):
    # a teacher of its own: the copy may hold the finished chain of the tiny experiment
    teacher = {"teachers.large.training": {"steps": 7}}
    methods = {"mckd": None, "rs_kd": None}
    config = edited(tiny, {"experiment": "pairs", "methods": methods} | teacher)
    planned = project.planned(config)
    assert len({output for output in planned if output.startswith("texts/")}) == 2 + 2 * 2
    assert len({output for output in planned if output.startswith("students/mckd")}) == 2 * 2 + 1
    assert len({output for output in planned if output.startswith("caches/")}) == 2


def test_a_run_trains_on_all_texts_that_it_is_given(tmp_path):
    files = put_all(tmp_path, [texts(20)[:3], texts(20)[10:14]])
    made = training_run.assemble(files, run(Setup("seqkd")).settings)
    ids = [f"example-{index}" for index in (*range(3), *range(10, 14))]
    assert [text.example_id for text in made.train_set] == ids
    assert {text.author for text in made.train_set} == {"teacher"}
    assert {"texts-0", "texts-1"} <= set(inputs_of(files))


@pytest.mark.parametrize(
    ("choice", "reason"),
    [
        ({"method": "sft", "relabelling_stages": 1}, "relabelling_stages = 1: only for methods"),
        ({"method": "jsd", "relabelling_stages": 1}, "relabelling_stages = 1: only for methods"),
        ({"method": "jsd", "draws": 9}, "draws = 9: only for methods"),
        ({"method": "rs_kd", "teacher": "live"}, "and from a cache"),
        ({"method": "rs_kd", "draws": 0}, "greater than or equal to 1"),
        ({"method": "okd", "teacher": "cache"}, "allowed: 'live'"),
        ({"method": "okd", "adapter_rank": 0}, "greater than or equal to 1"),
    ],
)
def test_what_cannot_be_is_refused_before_any_job(tiny, choice, reason):
    with pytest.raises(ConfigError, match=reason):
        validate(edited(tiny, {"methods": {"row": choice}}))


def test_sequence_level_distillation_with_stages_is_the_relabelled_one():
    changed = apply_overrides(METHODS["seqkd"], {"relabelling_stages": 2})
    same = ("loss", "policy", "teacher", "text", "relabelling_stages", "draws", "update")
    assert all(getattr(changed, name) == getattr(METHODS["mckd"], name) for name in same)
