"""A made-up experiment: its size, and how good each of its models is."""

from dataclasses import dataclass

import numpy as np

PARAMETERS = {"large": 5_300_000, "middle": 2_100_000, "small": 1_310_720, "tiny": 420_000}


@dataclass(frozen=True)
class Experiment:
    """The size of a made-up experiment."""

    name: str = "demo"
    teachers: tuple[str, ...] = ("large", "middle")
    foreign: tuple[str, ...] = ()  # teachers of another vocabulary
    students: tuple[str, ...] = ("small", "tiny")
    methods: tuple[str, ...] = ("sft", "forward_kl", "reverse_kl", "jsd", "gkd", "seqkd")
    seeds: tuple[int, ...] = (1, 2)
    items: int = 60
    steps: int = 200
    teacherless: tuple[str, ...] = ("sft",)
    cached: tuple[str, ...] = ("forward_kl", "jsd")
    text_based: tuple[str, ...] = ("seqkd",)
    output: str = ""  # what every model says, if anything
    parts: tuple[str, ...] = ("hard", "easy", "tokens 1-8", "tokens 9-64")  # of the held-out text
    decoding_seeds: tuple[int, ...] = (10, 20)


def skill_of(experiment: Experiment, cell: dict) -> float:
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


def tier_of(experiment: Experiment, name: str) -> str:
    """What a method needs of the teacher."""
    if name in experiment.teacherless:
        return "none"
    if name in experiment.text_based:
        return "text"
    return "cache" if name in experiment.cached else "live"
