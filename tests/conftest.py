"""What several tests share: a copy of the project, a tiny experiment, and its finished chain."""

import copy
import json
import random
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from snaking import ROOT, Copy

from workflow.artifact import canonical

torch.set_num_threads(1)
SOURCES = ("Snakefile", "environment.yml", "pipeline", "workflow")
ANIMALS = ["cat", "dog", "owl", "fox", "hen", "bee", "ant", "cow", "pig", "rat"]
COLOURS = ["red", "blue", "green", "brown", "grey", "black", "white", "pink"]
PLACES = ["barn", "field", "garden", "forest", "river", "house", "road", "hill"]

TINY: dict[str, Any] = {
    "experiment": "tiny",
    "data": {
        "examples": {"source": "files", "train": "DATA", "validation": 12, "test": 12},
        "template": {"with_input": "{input}\n", "without_input": "{instruction}\n"},
    },
    "tokens": {"prompt_tokens": 64, "response_tokens": 32},
    "tokenizer": {"vocabulary": 320},
    "models": {
        "wide": {"source": "shape", "layers": 2, "width": 32, "heads": 2},
        "narrow": {"source": "shape", "layers": 1, "width": 16, "heads": 2},
    },
    "teachers": {"large": {"model": "wide", "training": {"steps": 8}}},
    "students": {"small": {"model": "narrow"}},
    "training": {"steps": 4, "batch_size": 8, "learning_rate": 4e-3, "validations": 2},
    "warmup": {"steps": 2},
    "teacher_text": {"max_new_tokens": 8},
    "teacher_cache": {"k": 16},
    "student_text_tokens": 8,
    "methods": {"sft": None, "jsd": None},
    "grid": [{"seeds": [1]}],
    "evaluation": {"items": 6, "max_new_tokens": 8},
}


def write_examples(path: Path, count: int = 150) -> Path:
    """Distinct questions and answers in JSON lines."""
    draw = random.Random(0)
    questions = draw.sample(
        [(a, c, p) for a in ANIMALS for c in COLOURS for p in PLACES], count
    )
    rows = [
        {
            "instruction": f"Where is the {colour} {animal} of the {place}?",
            "input": "",
            "output": f"The {colour} {animal} sleeps in the {place}.",
        }
        for animal, colour, place in questions
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def edited(config: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration with some keys set, named by their dotted paths."""
    changed = copy.deepcopy(dict(config))
    for path, value in changes.items():
        block: Any = changed
        *blocks, key = path.split(".")
        for part in blocks:
            block = block[int(part) if part.isdigit() else part]
        block[key] = value
    return changed


@pytest.fixture(scope="session")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of examples."""
    return write_examples(tmp_path_factory.mktemp("examples") / "examples.jsonl")


@pytest.fixture(scope="session")
def tiny(examples: Path) -> dict[str, Any]:
    """The configuration of a tiny experiment."""
    return edited(TINY, {"data.examples.train": str(examples)})


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Copy:
    """A copy of the project's source, to run Snakemake in."""
    folder = tmp_path_factory.mktemp("project")
    for name in SOURCES:
        source, ignored = ROOT / name, shutil.ignore_patterns("__pycache__")
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=ignored)
        else:
            shutil.copy(source, folder / name)
    # a user of another experiment has the default one lying beside it
    (folder / "config.yaml").write_text(canonical(edited(TINY, {"models.unused": TINY["models"]})))
    return Copy(folder)


@pytest.fixture(scope="session")
def chain(project: Copy, tiny: dict[str, Any]) -> Copy:
    """The copy after the tiny experiment's whole chain. Its users share an xdist group."""
    done = project.snakemake(tiny, "--cores", "2", "--quiet")
    assert done.returncode == 0, done.stdout + done.stderr + project.logs()
    return project
