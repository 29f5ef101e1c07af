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
    parts: tuple[str, ...] = ("hard", "easy", "tokens 1-8", "tokens 9-64")  # of the held-out text
    decoding_seeds: tuple[int, ...] = (10, 20)


def settings(experiment: Experiment) -> dict[str, object]:
    """The report's settings for it."""
    return {
        "experiment": experiment.name,
        "data_id": "docs-00000001",
        "version": "0.1",
        "methods": {
            name: {
                "title": name.replace("_", " "),
                "loss": "cross_entropy" if name == "sft" else "jsd",
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
    for teacher in experiment.teachers:
        _shared(results, teacher)
    card = {
        "counts": {"train": 8000, "validation": 400, "test": experiment.items},
        "sources": {"numpy": 1200, "pandas": 2700},
        "warnings": ["12 examples were left out: their response is longer than 256 tokens"],
    }
    _json(results / "data/docs-00000001/card.json", card)
    _manifest(results / "data/docs-00000001", "docs-00000001", {}, {"seed": 0})
    read = {"data": "docs-00000001"}
    _manifest(results / "tokens/docs-66667777", "docs-66667777", read, {"prompt_tokens": 80})
    return _grid(results / experiment.name / "grid.csv", cells)


def _shared(results: Path, teacher: str) -> None:
    """What a teacher leaves for all students."""
    facts = {"parameters": PARAMETERS[teacher], "tokens": 812_345, "seconds": 95.5}
    read = {"teacher": f"{teacher}-11112222", "tokens": "docs-66667777"}
    for stage, id, did in (
        ("caches", "cache-33334444", {"taught": 812_345}),
        ("texts", "texts-44445555", {"dictated": 812_345}),
    ):
        folder = results / stage / f"{teacher}.{id}"
        _manifest(folder, folder.name, read, {"k": 64}, **facts, bytes=41_000_000)
        _json(folder / "cost.json", _cost(PARAMETERS[teacher], 95.5, **did))


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
    schemas.write(
        folder / "calibration.parquet", _calibration(experiment, skill), schemas.CALIBRATION
    )
    _json(folder / "results.json", {"results": {}})
    _json(folder / "cost.json", _cost(PARAMETERS[cell["student"]], 21.0))
    read = {
        "model": cell["teacher_id"] if cell["kind"] == "teacher" else cell["student_id"],
        "data": "docs-00000001",
        **{f"cache-{n}": f"{name}.cache-33334444" for n, name in enumerate(experiment.teachers)},
    }
    _manifest(folder, cell["eval_id"], read, {"items": experiment.items, "tasks": ["heldout"]})


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
        *(
            ("heldout", part, 0, example, "nll_nats", "", nll + 0.4 - 0.2 * rank, tokens / 2)
            for rank, part in enumerate(experiment.parts)
        ),
        *(
            ("test_responses", "", seed, example, name, "", value + 0.01 * seed, 1.0)
            for name, value in written
            for seed in experiment.decoding_seeds
        ),
    ]


def _outputs(experiment: Experiment, cell: dict, skill: float) -> dict[str, list]:
    rng = np.random.default_rng([round(1000 * skill), cell["seed"]])
    seeds = experiment.decoding_seeds
    places = [place for place in range(experiment.items) for _ in seeds]
    said = [" ".join(rng.choice(WORDS, int(rng.integers(5, 14)))) + "." for _ in places]
    prompt = "### Instruction:\nDescribe what this Python function does.\n\n### Input:\ndef f{}(a):"
    return {
        "task": ["test_responses" for _ in places],
        "decoding_seed": [seed for _ in range(experiment.items) for seed in seeds],
        "example_id": [f"pandas.core.frame.f{place}" for place in places],
        "prompt": [prompt.format(place) for place in places],
        "output": [experiment.output or text for text in said],
        "references": [["Return the values sorted by key."] for _ in places],
    }


def _calibration(experiment: Experiment, skill: float) -> dict[str, list]:
    count = range(2 * experiment.items)
    return {
        "example_id": [f"pandas.core.frame.f{place // 2}" for place in count],
        "bin": [14 * (place % 2) for place in count],
        "tokens": [10 for _ in count],
        "confidence": [9.5 if place % 2 else 0.4 for place in count],
        "correct": [round(9 * min(1.0, skill)) + place % 3 // 2 for place in count],
    }


def _train(results: Path, experiment: Experiment, cell: dict) -> None:
    place = {"method": "students", "start": "starts", "teacher": "teachers"}.get(cell["kind"])
    id = cell["teacher_id"] if cell["kind"] == "teacher" else cell["student_id"]
    if place is None:
        _manifest(results / "models" / id, id, {}, {"source": "shape"})
    if place is None or (folder := results / place / id).exists():
        return
    folder.mkdir(parents=True)
    rng = np.random.default_rng([cell["seed"], len(cell["method"]), len(cell["student"])])
    skill = _skill(experiment, cell)
    order = experiment.methods.index(cell["method"]) if cell["kind"] == "method" else 1
    seconds = (40 + 35 * order) * PARAMETERS[cell["student"]] / 5e5 + rng.normal(0, 2)
    taught = 0 if cell["method"] in experiment.teacherless else 640_000
    parameters = PARAMETERS[cell["student"]]
    cost = _cost(parameters, seconds, trained=640_000, written=90_000 * order, taught=taught)
    _json(folder / "cost.json", cost)
    steps = _steps(experiment.steps, skill, rng, cost)
    schemas.write(folder / "steps.parquet", steps, schemas.STEPS)
    _manifest(folder, id, _made_from(experiment, cell), _settings(cell))


def _made_from(experiment: Experiment, cell: dict) -> dict[str, str]:
    """What a training reads."""
    found = {"tokens": "docs-66667777"}
    if cell["kind"] == "method":
        found["start"] = f"{cell['student']}.start-55556666"
    if cell["method"] in experiment.text_based:
        found["texts-0"] = f"{cell['teacher']}.texts-44445555"
    if cell["cache_id"]:
        found["cache"] = cell["cache_id"]
    if cell["kind"] == "method" and _tier(experiment, cell["method"]) == "live":
        found["teacher"] = cell["teacher_id"]
    return found


def _settings(cell: dict) -> dict[str, object]:
    training = {"steps": 200, "batch_size": 16, "learning_rate": 0.005, "betas": [0.9, 0.95]}
    return {"method": {"loss": cell["method"]}, "training": training, "seed": cell["seed"]}


def _cost(
    parameters: int,
    seconds: float,
    trained: int = 0,
    written: int = 0,
    taught: int = 0,
    dictated: int = 0,
) -> dict[str, float | str | None]:
    return {
        "seconds": seconds,
        "device_seconds": 2 * seconds,
        "device": "cpu",
        "host_memory_bytes": 900_000_000,
        "device_memory_bytes": None,
        "energy_joules": None,
        "parameters": parameters,
        "trained_tokens": trained,
        "trained_positions": 3 * trained,
        "student_positions": 3 * trained,
        "student_tokens": trained,
        "student_written_tokens": written,
        "teacher_positions": 3 * taught,
        "teacher_tokens": taught + dictated,
        "teacher_written_tokens": dictated,
        "flops": 6 * parameters * (3 * trained + written + taught + dictated),
    }


def _steps(
    count: int, skill: float, rng: np.random.Generator, cost: dict[str, float | str | None]
) -> dict[str, list]:
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
        "seconds": (steps / count * cost["seconds"]).tolist(),
        "flops": (steps / count * cost["flops"]).tolist(),
    }


def _manifest(
    folder: Path, id: str, inputs: dict[str, str], settings: dict[str, object], **facts: object
) -> None:
    versions = {"python": "3.11.2", "torch": "2.13.0"}
    made = {"id": id, "code": "abcd", "settings": settings, "inputs": inputs, "versions": versions}
    _json(folder / artifacts.MANIFEST, {**made, "finished": "2026-11-23T15:00:00Z", **facts})


def _json(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))
