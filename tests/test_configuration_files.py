"""A configuration file is data: each trap of its syntax is refused with its line, all in a pass."""

import json
from pathlib import Path
from typing import Any

import forked
import pytest
import yaml
from snaking import ROOT, Copy, edited

from workflow.config import load
from workflow.config.config_file import ConfigError, read


def refusal(folder: Path, text: str) -> list[str]:
    """The lines that refuse a text, without the path of its file."""
    path = folder / "mine.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(SystemExit) as caught:
        load.of_file(path)
    return [line.removeprefix(str(path)) for line in str(caught.value).splitlines()]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("a:\n  b: no\n", ":2: a.b: no is a boolean in YAML; write true or false, or put it in "),
        ("a: [1, on]\n", ":1: a.1: on is a boolean in YAML"),
        ("a: 010\n", ":1: a: 010 is octal in YAML"),
        ("a: 1:30\n", ":1: a: 1:30 is a sexagesimal number in YAML"),
        ("a: 1:30.5\n", ":1: a: 1:30.5 is a sexagesimal number in YAML"),
        ("a: 2026-11-28\n", ":1: a: 2026-11-28 is a date in YAML"),
        ("a: .nan\n", ":1: a: nan is not a finite number"),
        ("a: -.inf\n", ":1: a: -inf is not a finite number"),
        (f"a: {'9' * 5000}\n", ":1: a: a number of 5000 digits"),
        ("on: 1\n", ":1: on: a key must be text"),
        ("a: {1: 2}\n", ":1: a.1: a key must be text"),
        ("? [a, b]\n: 1\n", ": ?: a key must be text"),
        ("a: 1\nb:\n  c: 1\n  c: 2\n", ":3: b.c: the key is in lines 3 and 4"),
        ('{"a": 1, "a": 2}', ":1: a: the key is in lines 1 and 1"),
        ('{"a": NaN}', ":1: a: nan is not a finite number"),
        ('{"a": 1e999}', ":1: a: inf is not a finite number"),
        ('{"a": "\\ud800"}', ":1: a: it holds '\\ud800', half of a character"),
        ("a: !!python/name:os.system\n", ":1: a: the tag "),
        ("__use_yte__: true\na: ?1 + 1\n", ":1: __use_yte__: a configuration is data, and this "),
        ("a: 1\nb: [c\n", ":3: invalid YAML"),
        ("a: 1\n---\nb: 2\n", ":2: invalid YAML"),
        ("a: *b\n", ":1: invalid YAML"),
        ("a: &a [*a]\n", ": a block is nested too deeply, or contains itself"),
        (f"a: {'[' * 999}{']' * 999}\n", ": a block is nested too deeply"),
        (f'{{"a": {"[" * 90_000}{"]" * 90_000}}}', ": a block is nested too deeply"),
        ("", ": it holds no keys"),
        ("- a\n", ": it holds no keys"),
        ("a\x00", ": invalid YAML"),
    ],
    ids=lambda text: repr(text[:20]),
)
def test_what_is_not_plain_data_is_refused_with_its_line(tmp_path: Path, text: str, fault: str):
    (line,) = refusal(tmp_path, text)
    assert line.startswith(fault)


def test_an_alias_that_stands_for_too_much_is_refused_before_it_is_followed(tmp_path: Path):
    levels = [f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]" for level in range(1, 9)]
    (line,) = refusal(tmp_path, "\n".join(["a0: &a0 [1]", *levels]))
    assert line == ": it holds more than 100000 values"


def test_every_trap_of_a_file_has_a_line(tmp_path: Path):
    lines = refusal(tmp_path, "a: yes\nb: 010\nc: .inf\n")
    assert [line.split(": ")[:2] for line in lines[:2]] == [[":1", "a"], [":2", "b"]]


@pytest.mark.parametrize("content", [b"a: \xff", None])
def test_a_file_that_cannot_be_read_is_refused_in_a_line(tmp_path: Path, content: bytes | None):
    path = tmp_path / "mine.yaml"
    if content:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=rf"{path}: (it is not UTF-8|there is no such file)"):
        read(path)


@pytest.mark.parametrize("file", ["config.yaml", *sorted(ROOT.glob("configs/*.yaml"))])
def test_values_are_those_that_yaml_reads(file: str):
    path = ROOT / file
    assert read(path).values == yaml.safe_load(path.read_text())


@pytest.mark.parametrize("indent", [None, 2, "\t"])
def test_json_is_read_as_json(tmp_path: Path, indent: int | str | None):
    values = {"a": {"b": 1e-05, "c": ["d", True, None]}, "e": "\t😀"}
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(values, indent=indent, ensure_ascii=False))
    file = read(path)
    assert file.values == values
    assert file.lines["a.b"] == (3 if indent else 1)


def test_anchors_and_merge_keys_are_plain_data(tmp_path: Path):
    path = tmp_path / "mine.yaml"
    path.write_text("a: &a {x: 1, y: 2}\nb: *a\nc:\n  <<: *a\n  y: 3\n")
    file = read(path)
    assert file.values == {"a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 2}, "c": {"x": 1, "y": 3}}
    assert file.lines["c.y"] == 5


def test_every_fault_is_found_in_a_pass_with_its_line(tmp_path: Path, tiny: dict[str, Any]):
    changes = {
        "data.examples.trian": 1,
        "tokens.prompt_tokens": True,
        "models.wide.layer": 2,
        "teachers.large.training.stepz": 3,
        "students.small.model": "tall",
        "methods.foward_kl": None,
        "evaluation.tasks": ["heldout", "arc_eazy"],
        "trainning": {"steps": 3, "batchsize": 4},
    }
    config = edited(tiny, changes)
    del config["training"]
    del config["grid"]
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    with pytest.raises(SystemExit) as caught:
        load.of_file(path)
    lines = str(caught.value).removeprefix(f"{path}: ").split(f"\n{path}")
    keys = [line.partition(": ")[2].split(" ")[0].strip(":") for line in lines[2:]]
    assert keys == [
        "data.examples.trian",
        "tokens.prompt_tokens",
        "models.wide.layer",
        "teachers.large.training.stepz",
        "students.small.model",
        "methods.foward_kl",
        "evaluation.tasks.1",
        "trainning",
    ]
    written = path.read_text().splitlines()
    numbers = [int(line.split(":")[1]) for line in lines[2:]]
    names = ["trian", "prompt_tokens", "layer", "stepz", "model: tall", "foward", "arc", "trainn"]
    assert all(name in written[number - 1] for number, name in zip(numbers, names, strict=True))
    assert lines[0].startswith("grid: the key is missing, such as `grid: [{seeds: [1, 2, 3]}]`")
    assert lines[1].startswith(": training.batchsize: unknown key; did you mean batch_size?")


def test_a_near_name_is_suggested_once(tmp_path: Path, tiny: dict[str, Any]):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(edited(tiny, {"evaluation.tasks": ["arc_eazy"]})))
    with pytest.raises(SystemExit, match=r"did you mean arc_easy or (?!arc_easy )"):
        load.of_file(path)


CODE = "__use_yte__: true\nexperiment: ?__import__('pathlib').Path('ran').touch() or 'mine'\n"


@pytest.mark.slow
@pytest.mark.parametrize("command", ["run", "plan", "status", "prune", "report"])
def test_no_command_of_ours_runs_a_configuration(project: Copy, command: str):
    (project.folder / "code.yaml").write_text(CODE)
    words = ["-m", "workflow.commands.main", command, "code.yaml"]
    done = forked.snakemake().run(words, project.folder)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("code.yaml:1: __use_yte__: a configuration is data")
    assert not (project.folder / "ran").exists()


@pytest.mark.slow
def test_the_workflow_does_not_run_its_default_configuration(project: Copy):
    default = project.folder / "config.yaml"
    text = default.read_text()
    default.write_text(CODE)
    try:
        done = forked.snakemake().run(["-m", "snakemake", "--dry-run"], project.folder)
    finally:
        default.write_text(text)
    assert "config.yaml:1: __use_yte__: a configuration is data" in done.stdout + done.stderr
    assert done.returncode == 1
    assert not (project.folder / "ran").exists()
