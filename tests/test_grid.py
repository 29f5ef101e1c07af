"""Ids: what made an artifact names it, and nothing else does."""

import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import TypeAdapter
from snaking import ROOT, edited

from pipeline.settings.models import Model
from pipeline.settings.teacher import CacheJob
from workflow.config.validate import validate
from workflow.grid.digests import of_file
from workflow.grid.grid import Grid

FOUR = {
    "methods": {"sft": None, "seqkd": None, "jsd": None, "gkd": {"teacher_weight": 0.3}},
    "teachers": {
        "large": {"model": "wide", "training": {"steps": 8}},
        "larger": {"model": "wide", "training": {"steps": 9}},
    },
}


def ids(config: dict[str, Any]) -> set[str]:
    return set(Grid(validate(config)).artifacts)


def turned(value: Any) -> Any:
    """The same configuration with the keys of every block in the opposite order."""
    if isinstance(value, dict):
        return {key: turned(value[key]) for key in reversed(value)}
    return [turned(element) for element in value] if isinstance(value, list) else value


def test_the_order_of_keys_is_no_setting(tiny: dict[str, Any]):
    config = edited(tiny, FOUR)
    assert ids(turned(config)) == ids(config)


def test_a_default_that_is_written_out_is_no_other_setting(tiny: dict[str, Any]):
    written = {"training.weight_decay": 0.01, "methods.jsd": {"teacher_weight": 0.5}}
    assert ids(edited(tiny, written)) == ids(tiny)


def test_a_default_that_is_spelt_out_changes_no_id(tiny: dict[str, Any]):
    written = {"teacher_cache.tier": "top_k", "training.precision": "auto"}
    assert ids(edited(tiny, written)) == ids(tiny)
    settings = Grid(validate(tiny)).signals("large").settings
    assert set(settings) == {"tier", "k", "splits", "shard_texts"}


def test_a_cache_is_read_in_the_precision_that_its_students_are_trained_in(tiny: dict[str, Any]):
    exact = Grid(validate(edited(tiny, {"training.precision": "float32"})))
    assert CacheJob.model_validate(exact.signals("large").settings).precision == "float32"
    assert exact.signals("large").id != Grid(validate(tiny)).signals("large").id

    of_one = {"methods.forward_kl": {"training": {"precision": "float32"}}}
    mixed = Grid(validate(edited(tiny, of_one)))
    inputs = dict(mixed.student("forward_kl", "small", "large", 1).inputs)
    assert inputs["cache"].settings["precision"] == "float32"
    assert mixed.signals("large").id == Grid(validate(tiny)).signals("large").id


@pytest.mark.parametrize("cache", [{"tier": "hidden"}, {"k": 16}])
def test_draws_take_the_place_of_the_tier(tiny: dict[str, Any], cache: dict[str, Any]):
    grid = Grid(validate(edited(tiny, {"teacher_cache": cache})))
    assert grid.signals("large").settings.items() >= cache.items()
    drawn = CacheJob.model_validate(grid.signals("large", draws=9).settings)
    assert drawn.written_tier == "sampled"


def test_an_id_is_a_readable_name_and_eight_hex_digits(tiny: dict[str, Any]):
    grid = Grid(validate(tiny))
    name, digest = grid.student("jsd", "small", "large", 1).id.rsplit("-", 1)
    assert name == "jsd.small.large.s1"
    assert len(digest) == 8
    assert int(digest, 16) >= 0


def test_every_setting_of_a_job_is_in_its_id(tiny: dict[str, Any]):
    old = Grid(validate(tiny)).student("jsd", "small", "large", 1)
    changes = {
        "training.steps": 5,
        "training.batch_size": 4,
        "initial_sft.steps": 3,
        "methods.jsd": {"teacher_weight": 0.3},
        "teacher_cache.k": 8,
        "teachers.large.training.steps": 9,
        "tokens.prompt_tokens": 63,
        "tokenizer.vocabulary_size": 330,
        "data.template.with_input": "{input}",
        "models.narrow.width": 32,
        "models.wide.width": 64,
        "seed": 5,
    }
    new = [Grid(validate(edited(tiny, {key: value}))) for key, value in changes.items()]
    ids = {grid.student("jsd", "small", "large", 1).id for grid in new}
    assert len(ids | {old.id}) == len(changes) + 1


def test_the_content_of_a_file_is_in_the_ids(tiny: dict[str, Any], tmp_path: Path):
    copied = tmp_path / "examples.jsonl"
    copied.write_bytes(Path(tiny["data"]["examples"]["train"]).read_bytes())
    config = edited(tiny, {"data.examples.train": str(copied)})
    before = Grid(validate(config)).data()
    copied.write_text(copied.read_text().replace("cat", "tit"))
    of_file.cache_clear()  # a process reads a file once
    assert Grid(validate(config)).data().id != before.id


def test_two_experiments_share_what_is_made_alike(tiny: dict[str, Any]):
    other = edited(
        tiny,
        {
            "experiment": "other",
            "methods": {"jsd": None, "reverse_kl": None},
            "evaluation.items": 3,
        },
    )
    shared = {path.split("/")[1] for path in ids(tiny) & ids(other)}
    assert shared == {
        *("data", "tokenizers", "tokens", "models", "teachers", "caches", "starts", "students")
    }
    students = [path for path in ids(tiny) & ids(other) if "/students/" in path]
    assert [path.split("/")[2].split(".")[0] for path in students] == ["jsd"]


def test_a_method_without_a_teacher_is_trained_once_for_all_teachers(tiny: dict[str, Any]):
    grid = Grid(validate(edited(tiny, FOUR)))
    made = [path for path in grid.artifacts if path.startswith("results/students/")]
    names = sorted(Path(path).name.rsplit("-", 1)[0] for path in made)
    taught = [
        f"{method}.small.{teacher}.s1"
        for method in ("gkd", "jsd", "seqkd")
        for teacher in ("large", "larger")
    ]
    assert names == [*taught, "sft.small.s1"]

    cells = [cell for cell in grid.cells if cell.method == "sft"]
    assert [cell.teacher for cell in cells] == ["large", "larger"]
    assert len({cell.model for cell in cells}) == 1


def test_a_checkpoint_is_evaluated_once_against_all_its_teachers(tiny: dict[str, Any]):
    grid = Grid(validate(edited(tiny, FOUR)))
    evaluation = grid.evaluations[grid.student("sft", "small", "large", 1)]
    caches = [other.name for role, other in evaluation.inputs if role == "cache"]
    assert caches == ["large", "larger"]


def test_all_methods_of_a_student_start_from_the_same_weights(tiny: dict[str, Any]):
    grid = Grid(validate(edited(tiny, FOUR)))
    starts = {
        dict(grid.student(method, "small", teacher, 1).inputs)["start"]
        for method in FOUR["methods"]
        for teacher in FOUR["teachers"]
    }
    assert starts == {grid.start("small", 1)}


def test_fresh_weights_depend_on_the_seed_and_cut_ones_do_not(tiny: dict[str, Any]):
    cut = {"source": "layers_of", "model": "wide", "layers": 2}
    grid = Grid(validate(edited(tiny, {"models.cut": cut})))
    assert grid.start_model("small", 1) != grid.start_model("small", 2)
    hub = {"source": "hub", "name": "someone/model"}
    kept = edited(
        tiny,
        {
            "tokenizer": None,
            "models": {"wide": hub, "narrow": cut},
            "students.small.model": "narrow",
        },
    )
    grid = Grid(validate(kept))
    assert grid.start_model("small", 1) == grid.start_model("small", 2)


def test_blocks_that_overlap_have_each_cell_once(tiny: dict[str, Any]):
    blocks = [{"seeds": [1]}, {"seeds": [1, 2], "methods": ["jsd"]}]
    cells = Grid(validate(edited(tiny, {"grid": blocks}))).cells
    assert len(cells) == len(set(cells))
    assert [(cell.method, cell.seed) for cell in cells if cell.kind == "method"] == [
        ("sft", 1),
        ("jsd", 1),
        ("jsd", 2),
    ]


def test_the_grid_is_expanded_without_torch():
    asked = "import sys, workflow.jobs.jobs; print('torch' in sys.modules, 'pandas' in sys.modules)"
    command = [sys.executable, "-c", asked]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_conda_users_get_the_same_project_and_no_second_list():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert environment["name"] == project["name"]
    python, pip, by_pip = environment["dependencies"]
    assert pip == "pip"
    assert by_pip == {"pip": ["--constraint requirements.lock", "--editable ."]}
    version = tuple(map(int, python.removeprefix("python=").split(".")))
    lowest, above = project["requires-python"].split(",")
    assert tuple(map(int, lowest.removeprefix(">=").split("."))) <= version
    assert version < tuple(map(int, above.removeprefix("<").split(".")))
    assert (ROOT / "requirements.lock").is_file()


def test_every_model_of_the_shipped_configurations_is_one_that_its_stage_accepts() -> None:
    for path in (ROOT / "config.yaml", *sorted((ROOT / "configs").glob("*.yaml"))):
        grid = Grid(validate(yaml.safe_load(path.read_text())))
        for artifact in grid.artifacts.values():
            if artifact.stage == "models":
                settings = {k: v for k, v in artifact.settings.items() if k != "seed"}
                assert TypeAdapter(Model).validate_python(settings).source == settings["source"]
