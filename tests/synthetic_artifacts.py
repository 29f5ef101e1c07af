"""The files of made-up artifacts, as the stages would have left them."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
from synthetic_experiment import PARAMETERS, Experiment, skill_of, tier_of

from pipeline.artifacts import artifact, checksums, schemas

PLACES = {"method": "students", "start": "starts", "teacher": "teachers", "untrained": "models"}
MACHINE = {"host": "node7", "cpu": "EPYC", "cores": 16, "memory_bytes": 2**36, "gpus": []}
CHECKOUT = {
    "commit": "0123456789abcdef0123456789abcdef01234567",
    "name": "v0.1.0-7-g0123456",
    "remote": "https://github.com/lab/distilbench",
    "changed": ["pipeline/losses/jsd.py", "pipeline/stages/generate.py"],
}
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


def shared(results: Path, teacher: str) -> None:
    """What a teacher leaves for all students."""
    facts = {"parameters": PARAMETERS[teacher], "tokens": 812_345, "seconds": 95.5}
    read = {"teacher": f"{teacher}-11112222", "tokens": "docs-66667777"}
    for stage, id, did in (
        ("caches", "cache-33334444", {"taught": 812_345}),
        ("texts", "texts-44445555", {"dictated": 812_345}),
    ):
        folder = results / stage / f"{teacher}.{id}"
        write_json(folder / "cost.json", _cost(PARAMETERS[teacher], 95.5, **did))
        write_manifest(folder, folder.name, read, {"k": 64}, **facts, bytes=41_000_000)


def aligned(results: Path, teacher: str) -> None:
    """The alignment of a teacher of another vocabulary."""
    folder = results / "alignments" / f"{teacher}-77778888"
    spans = {"spans": 5_000, "one_to_one_spans": 3_100, "bytes": 21_000}
    counts = spans | {"teacher_tokens": 6_900, "student_tokens": 5_800}
    empty = {"examples": 3, "other_bytes": 3, "aligned": 0}
    card = {
        "train": counts | {"examples": 800, "aligned": 797, "too_long_for_teacher": 3},
        "validation": empty,
        "test": counts | {"examples": 60, "aligned": 60},
        "vocabulary": {"teacher": 1024, "student": 2048, "shared": 406},
        "teacher_span_lengths": {"1": 3_700, "2": 900, "3": 250, "5": 130, "11": 20},
        "student_span_lengths": {"1": 4_400, "2": 500, "3": 100},
    }
    write_json(folder / "card.json", card)
    write_manifest(folder, folder.name, {"tokens": "docs-66667777"}, {})


def evaluate(results: Path, experiment: Experiment, cell: dict) -> None:
    folder = results / "evals" / cell["eval_id"]
    if folder.exists():
        return
    skill = skill_of(experiment, cell)
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
    write_json(folder / "results.json", {"results": {}})
    write_json(folder / "cost.json", _cost(PARAMETERS[cell["student"]], 21.0))
    read = {
        "model": cell["teacher_id"] if cell["kind"] == "teacher" else cell["student_id"],
        "data": "docs-00000001",
        **{f"cache-{n}": f"{name}.cache-33334444" for n, name in enumerate(experiment.teachers)},
        **{f"alignment-{n}": f"{name}-77778888" for n, name in enumerate(experiment.foreign)},
    }
    write_manifest(folder, cell["eval_id"], read, {"items": experiment.items, "tasks": ["heldout"]})


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
        ("ended", 0.6 * (skill > 0.1)),
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
    sentences = [" ".join(rng.choice(WORDS, int(rng.integers(5, 14)))) + "." for _ in places]
    prompt = "### Instruction:\nDescribe what this Python function does.\n\n### Input:\ndef f{}(a):"
    return {
        "task": ["test_responses" for _ in places],
        "decoding_seed": [seed for _ in range(experiment.items) for seed in seeds],
        "example_id": [f"pandas.core.frame.f{place}" for place in places],
        "prompt": [prompt.format(place) for place in places],
        "output": [experiment.output or text for text in sentences],
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


def train(results: Path, experiment: Experiment, cell: dict) -> None:
    id = cell["teacher_id"] if cell["kind"] == "teacher" else cell["student_id"]
    folder = results / PLACES[cell["kind"]] / id
    if folder.exists():
        return
    folder.mkdir(parents=True)
    if cell["kind"] == "untrained":
        write_manifest(folder, id, {}, {"source": "shape"})
        return
    rng = np.random.default_rng([cell["seed"], len(cell["method"]), len(cell["student"])])
    skill = skill_of(experiment, cell)
    order = experiment.methods.index(cell["method"]) if cell["kind"] == "method" else 1
    seconds = (40 + 35 * order) * PARAMETERS[cell["student"]] / 5e5 + rng.normal(0, 2)
    taught = 0 if cell["method"] in experiment.teacherless else 640_000
    parameters = PARAMETERS[cell["student"]]
    cost = _cost(parameters, seconds, trained=640_000, written=90_000 * order, taught=taught)
    write_json(folder / "cost.json", cost)
    steps = _steps(experiment.steps, skill, rng, cost)
    measured = _agreement(steps) if cell["kind"] == "method" else {}  # as of an earlier version
    schemas.write(folder / "steps.parquet", steps | measured, schemas.STEPS)
    write_manifest(folder, id, _made_from(experiment, cell), _settings(cell))


def _made_from(experiment: Experiment, cell: dict) -> dict[str, str]:
    """What a training reads."""
    inputs = {"tokens": "docs-66667777"}
    if cell["kind"] == "method":
        inputs["start"] = f"{cell['student']}.start-55556666"
    if cell["method"] in experiment.text_based:
        inputs["texts-0"] = f"{cell['teacher']}.texts-44445555"
    if cell["cache_id"]:
        inputs["cache"] = cell["cache_id"]
    if cell["kind"] == "method" and tier_of(experiment, cell["method"]) == "live":
        inputs["teacher"] = cell["teacher_id"]
    return inputs


def _settings(cell: dict) -> dict[str, object]:
    training = {"steps": 200, "batch_size": 16, "learning_rate": 0.005, "betas": [0.9, 0.95]}
    if cell["method"] == "jsd":
        training |= {"keep": "best", "keep_by": "nll"}
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
        "student_generated_tokens": written,
        "teacher_positions": 3 * taught,
        "teacher_tokens": taught + dictated,
        "teacher_generated_tokens": dictated,
        "flops": 6 * parameters * (3 * trained + written + taught + dictated),
        "compilation": None,
        "captures": {"compiled": 1, "uncompiled": 0, "failed": 2, "reason": "a look at a tensor"},
    }


def _agreement(steps: dict[str, list]) -> dict[str, list]:
    """Measures of student and teacher at the steps of validations; nothing was rewarded."""
    count, nll = len(steps["step"]), steps["validation_nll_nats"]
    shares = [None if value is None else 1 / (1 + value) for value in nll]
    names = schemas.MEASURED_STEPS.names[len(schemas.STEPS) :]
    return dict.fromkeys(names, shares) | {"reward": [None] * count}


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
        "generated_tokens": [0] * count,
        "teacher_share": [0.0] * count,
        "eos_share": [1.0] * count,
        "validation_nll_nats": [
            float(x) if m else None for x, m in zip(nll, measured, strict=True)
        ],
        "validation_rouge_l": [None] * count,
        "seconds": (steps / count * cost["seconds"]).tolist(),
        "flops": (steps / count * cost["flops"]).tolist(),
    }


def write_manifest(
    folder: Path, id: str, inputs: dict[str, str], settings: dict[str, object], **facts: object
) -> None:
    """A manifest with the digests of the folder's other files: written last, as stages do."""
    files = checksums.digests(folder)
    made = {
        "id": id,
        "code": "abcd",
        "settings": settings,
        "inputs": inputs,
        "versions": {"python": "3.11.2", "torch": "2.13.0"},
        "machine": MACHINE,
        "checkout": CHECKOUT,
        "finished": "2026-11-23T15:00:00Z",
        "files": files,
        "content": checksums.content_digest(files),
    }
    write_json(folder / artifact.MANIFEST, checksums.with_checksum(made | facts))


def write_json(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))
