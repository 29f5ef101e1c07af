"""A whole results tree with made-up numbers, for tests of what reads one."""

from pathlib import Path

import pandas as pd
from synthetic_artifacts import aligned, evaluate, shared, train, write_json, write_manifest
from synthetic_experiment import PARAMETERS as PARAMETERS
from synthetic_experiment import Experiment as Experiment
from synthetic_experiment import tier_of


def settings(experiment: Experiment) -> dict[str, object]:
    """The report's settings for it."""
    return {
        "experiment": experiment.name,
        "data_id": "docs-00000001",
        "methods": {
            name: {
                "title": name.replace("_", " "),
                "loss": "cross_entropy" if name == "sft" else "jsd",
                "policy": "fixed",
                "teacher": tier_of(experiment, name),
                "source": "Hinton et al. 2015, arXiv:1503.02531",
                "evidence": "code",
                "departures": "No temperature." if name != "sft" else "",
            }
            for name in experiment.methods
        },
        "contrasts": contrasts(experiment),
        "config": {"grid": {"methods": list(experiment.methods), "seeds": list(experiment.seeds)}},
    }


def contrasts(experiment: Experiment) -> dict[str, object]:
    """Asks whether distilling gains, and whether it gains more with a larger teacher."""
    if not {"sft", "jsd"} <= set(experiment.methods):
        return {}
    ends = {f"jsd@{experiment.teachers[-1]}": 1, f"jsd@{experiment.teachers[0]}": -1}
    asked = {"gain": {"jsd": 1, "sft": -1}}
    if len(ends) > 1:
        asked["larger_teacher"] = ends
    return {"main_question": {"measures": ["heldout/nll_nats"], "contrasts": asked}}


def write(results: Path, experiment: Experiment) -> Path:
    """Everything a report of `experiment` reads, under `results`; the path of its grid."""
    cells = [
        *(_reference(name, name, "teacher", 0) for name in experiment.teachers),
        *(cell for kind in ("untrained", "start") for cell in _starts(experiment, kind)),
        *_trained(experiment),
    ]
    for cell in cells:
        evaluate(results, experiment, cell)
        train(results, experiment, cell)
    for teacher in experiment.teachers:
        shared(results, teacher)
    for teacher in experiment.foreign:
        aligned(results, teacher)
    card = {
        "counts": {"train": 8000, "validation": 400, "test": experiment.items},
        "sources": {"numpy": 1200, "pandas": 2700},
        "warnings": [
            "12 examples were left out: their response is longer than 256 tokens",
            experiment.output,
        ],
    }
    write_json(results / "data/docs-00000001/card.json", card)
    write_manifest(results / "data/docs-00000001", "docs-00000001", {}, {"seed": 0})
    read = {"data": "docs-00000001"}
    write_manifest(results / "tokens/docs-66667777", "docs-66667777", read, {"prompt_tokens": 80})
    return _grid(results / experiment.name / "grid.csv", cells)


def _grid(path: Path, cells: list[dict]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(cells).to_csv(path, index=False)
    return path


def _cell(experiment: Experiment, teacher: str, student: str, method: str, seed: int) -> dict:
    needs = "" if method in experiment.teacherless else f"{teacher}."
    return {
        "teacher": teacher,
        "student": student,
        "method": method,
        "seed": seed,
        "student_id": f"{needs}{method}.{student}.s{seed}-0a1b2c3d",
        "eval_id": f"{needs}{method}.{student}.s{seed}.eval-0a1b2c3d",
        "teacher_id": f"{teacher}-11112222",
        "cache_id": f"{teacher}.cache-33334444" if method in experiment.cached else "",
        "kind": "method",
    }


def _trained(experiment: Experiment) -> list[dict]:
    return [
        _cell(experiment, teacher, student, method, seed)
        for teacher in experiment.teachers
        for student in experiment.students
        for method in experiment.methods
        for seed in experiment.seeds
    ]


def _reference(teacher: str, student: str, kind: str, seed: int) -> dict:
    return {
        "teacher": teacher,
        "student": student,
        "method": kind,
        "seed": seed,
        "student_id": f"{student}.{kind}-55556666",
        "eval_id": f"{student}.{kind}.eval-55556666",
        "teacher_id": f"{teacher}-11112222",
        "cache_id": "",
        "kind": kind,
    }


def _starts(experiment: Experiment, kind: str) -> list[dict]:
    return [
        _reference(teacher, student, kind, experiment.seeds[0])
        for teacher in experiment.teachers
        for student in experiment.students
    ]
