"""A whole results tree with made-up numbers, for tests of what reads one."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline import artifacts, schemas

PARAMETERS = {"large": 5_300_000, "middle": 2_100_000, "small": 1_310_720, "tiny": 420_000}
WORDS = [
    "Return",
    "the",
    "array",
    "of",
    "values",
    "that",
    "are",
    "sorted",
    "by",
    "key",
    "and",
    "given",
    "as",
    "index",
    "of",
    "frame",
]


@dataclass(frozen=True)
class Experiment:
    """The size of a made-up experiment."""

    name: str = "demo"
    teachers: tuple[str, ...] = ("large", "middle")
    students: tuple[str, ...] = ("small", "tiny")
    methods: tuple[str, ...] = ("sft", "forward_kl", "reverse_kl", "jsd", "gkd", "seqkd")
    seeds: tuple[int, ...] = (1, 2)
    items: int = 60
    steps: int = 200
    teacherless: tuple[str, ...] = ("sft",)
    cached: tuple[str, ...] = ("forward_kl", "jsd")
    text_based: tuple[str, ...] = ("seqkd",)
    labels: dict[str, str] = field(default_factory=dict)
    output: str = ""  # what every model says, if anything


def settings(experiment: Experiment) -> dict[str, object]:
    """The report's settings for it."""
    return {
        "experiment": experiment.name,
        "data_id": "docs-00000001",
        "version": "0.1",
        "methods": {
            name: {
                "title": name.replace("_", " "),
                "loss": "jsd",
                "policy": "fixed",
                "teacher": _tier(experiment, name),
                "source": "Hinton et al. 2015, arXiv:1503.02531",
                "evidence": "code",
                "departures": "No temperature." if name != "sft" else "",
            }
            for name in experiment.methods
        },
        "config": {"grid": {"methods": list(experiment.methods), "seeds": list(experiment.seeds)}},
    }


def _tier(experiment: Experiment, name: str) -> str:
    if name in experiment.teacherless:
        return "none"
    if name in experiment.text_based:
        return "text"
    return "cache" if name in experiment.cached else "live"


def write(results: Path, experiment: Experiment) -> Path:
    """Everything a report of `experiment` reads, under `results`; the path of its grid."""
    cells = [
        *(_reference(name, name, "teacher", 0) for name in experiment.teachers),
        *(cell for kind in ("untrained", "start") for cell in _starts(experiment, kind)),
        *_trained(experiment),
    ]
    for cell in cells:
        _evaluate(results, experiment, cell)
        _train(results, experiment, cell)
        facts = {"parameters": PARAMETERS[cell["teacher"]], "tokens": 812_345, "seconds": 95.5}
        if cell["cache_id"]:
            cache = facts | {"bytes": 41_000_000}
            _json(results / f"caches/{cell['cache_id']}/manifest.json", cache)
        if cell["method"] in experiment.text_based:
            _json(results / f"texts/{cell['teacher']}.texts-44445555/manifest.json", facts)
    card = {
        "counts": {"train": 8000, "validation": 400, "test": experiment.items},
        "sources": {"numpy": 1200, "pandas": 2700},
        "warnings": ["12 examples were left out: their response is longer than 256 tokens"],
    }
    _json(results / "data/docs-00000001/card.json", card)
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
        "label": experiment.labels.get(method, method),
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
        "label": kind,
    }


def _starts(experiment: Experiment, kind: str) -> list[dict]:
    return [
        _reference(teacher, student, kind, experiment.seeds[0])
        for teacher in experiment.teachers
        for student in experiment.students
    ]


def _skill(experiment: Experiment, cell: dict) -> float:
    """How good a model is, from about 0 (untrained) to 1 (the largest teacher)."""
    size = np.log(PARAMETERS[cell["student"]]) - np.log(PARAMETERS["tiny"])
    if cell["kind"] != "method":
        return {"teacher": 0.7 + 0.1 * size, "untrained": 0.0, "start": 0.45 + 0.1 * size}[
            cell["kind"]
        ]
    place = experiment.methods.index(cell["method"])
    gain = 0.012 * ((place * 7) % len(experiment.methods)) / max(1, len(experiment.methods)) * 6
    helped = 0.03 * list(PARAMETERS).index(cell["teacher"]) if gain else 0.0
    noise = np.random.default_rng([place, cell["seed"], len(cell["student"])]).normal(0, 0.02)
    return 0.5 + 0.1 * size + gain - helped + noise


def _evaluate(results: Path, experiment: Experiment, cell: dict) -> None:
    folder = results / "evals" / cell["eval_id"]
    if folder.exists():
        return
    skill = _skill(experiment, cell)
    rng = np.random.default_rng(7)  # the same items are hard for all models
    rows = [
        row
        for place in range(experiment.items)
        for row in _item(cell, skill, place, rng, experiment)
    ]
    folder.mkdir(parents=True)
    items = pd.DataFrame(rows, columns=schemas.ITEMS.names).to_dict("list")
    schemas.write(folder / "items.parquet", items, schemas.ITEMS)
    schemas.write(folder / "outputs.parquet", _outputs(experiment, cell, skill), schemas.OUTPUTS)
    _json(folder / "results.json", {"results": {}})
    _manifest(folder, cell["eval_id"], {})


def _item(
    cell: dict, skill: float, place: int, rng: np.random.Generator, experiment: Experiment
) -> list[tuple]:
    tokens = int(rng.integers(5, 60))
    hard = rng.normal(0, 0.4)
    example = f"pandas.core.frame.f{place}"
    nll = max(0.05, 5.2 - 4 * skill + hard + rng.normal(0, 0.05))
    rouge = float(np.clip(8 + 40 * skill - 9 * hard + rng.normal(0, 6), 0, 100))
    teachers = experiment.teachers if cell["kind"] != "teacher" else ()
    relative = [
        row
        for rank, teacher in enumerate(teachers)
        for row in (
            ("kl_to_teacher_nats", f"{teacher}-11112222", 1.4 - skill + 0.3 * rank + 0.1 * hard),
            ("top1_agreement", f"{teacher}-11112222", 0.3 + 0.5 * skill - 0.05 * rank),
        )
    ]
    heldout = (("nll_nats", "", nll), *relative)
    written = (
        ("rouge_l", rouge),
        ("response_tokens", float(tokens)),
        ("ended", float(skill > 0.1)),
    )
    return [
        *(("heldout", "", 0, example, *measured, float(tokens)) for measured in heldout),
        *(("test_responses", "", 0, example, name, "", value, 1.0) for name, value in written),
    ]


def _outputs(experiment: Experiment, cell: dict, skill: float) -> dict[str, list]:
    rng = np.random.default_rng([round(1000 * skill), cell["seed"]])
    count = range(experiment.items)
    said = [" ".join(rng.choice(WORDS, int(rng.integers(5, 14)))) + "." for _ in count]
    prompt = "### Instruction:\nDescribe what this Python function does.\n\n### Input:\ndef f{}(a):"
    return {
        "task": ["test_responses" for _ in count],
        "decoding_seed": [0 for _ in count],
        "example_id": [f"pandas.core.frame.f{place}" for place in count],
        "prompt": [prompt.format(place) for place in count],
        "output": [experiment.output or text for text in said],
        "references": [["Return the values sorted by key."] for _ in count],
    }


def _train(results: Path, experiment: Experiment, cell: dict) -> None:
    place = {"method": "students", "start": "starts", "teacher": "teachers"}.get(cell["kind"])
    id = cell["teacher_id"] if cell["kind"] == "teacher" else cell["student_id"]
    if place is None or (folder := results / place / id).exists():
        return
    folder.mkdir(parents=True)
    rng = np.random.default_rng([cell["seed"], len(cell["method"]), len(cell["student"])])
    skill = _skill(experiment, cell)
    schemas.write(folder / "steps.parquet", _steps(experiment.steps, skill, rng), schemas.STEPS)
    order = experiment.methods.index(cell["method"]) if cell["kind"] == "method" else 1
    cost = {
        "seconds": (40 + 35 * order) * PARAMETERS[cell["student"]] / 5e5 + rng.normal(0, 2),
        "trained_tokens": 640_000,
        "written_tokens": 90_000 * order,
        "teacher_tokens": 0 if cell["method"] in experiment.teacherless else 640_000,
        "parameters": PARAMETERS[cell["student"]],
        "peak_memory_bytes": 900_000_000 + 10_000_000 * order,
    }
    _json(folder / "cost.json", cost)
    wrote = cell["method"] in experiment.text_based
    texts = {"texts": f"{cell['teacher']}.texts-44445555"} if wrote else {}
    _manifest(folder, id, texts)


def _steps(count: int, skill: float, rng: np.random.Generator) -> dict[str, list]:
    steps = np.arange(1, count + 1)
    nll = 5.2 - 4 * skill + 3 * np.exp(-steps / (0.12 * count))
    measured = steps % max(1, count // 8) == 0
    return {
        "step": steps.tolist(),
        "loss_nats": (nll * 0.4 + rng.normal(0, 0.08, count)).tolist(),
        "gradient_norm": [1.0] * count,
        "learning_rate": [5e-4] * count,
        "response_tokens": [900] * count,
        "written_tokens": [0] * count,
        "teacher_share": [0.0] * count,
        "ended_share": [1.0] * count,
        "validation_nll_nats": [
            float(x) if m else None for x, m in zip(nll, measured, strict=True)
        ],
        "seconds": (steps * 0.2).tolist(),
    }


def _manifest(folder: Path, id: str, inputs: dict[str, str]) -> None:
    versions = {"python": "3.11.2", "torch": "2.13.0"}
    made = {"id": id, "code": "abcd", "settings": {}, "inputs": inputs, "versions": versions}
    _json(folder / artifacts.MANIFEST, made | {"finished": "2026-11-23T15:00:00Z"})


def _json(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))
