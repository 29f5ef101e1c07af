"""Prints the table of docs/protocols.md: how large the shipped paper protocols are.

Expected GPU-hours are a plan, not a measurement. An H100 is taken to train at 150 TFLOP/s, a fifth
of what it can, and to need 25 ms for a decoding step of any model here
(`workflow.resources.machine` has
all that is assumed of a GPU). A training token costs 6 FLOPs a parameter of the student and
2 of a live teacher; generation lasts until the longest response of a batch has 256 tokens. Left out
are teacher caches of the test split, validation, held-out measures and the tasks of lm-eval.
"""

from pathlib import Path

import yaml

from pipeline.methods.components import decoding_passes
from pipeline.settings.data import Hub
from workflow.config.validate import validate
from workflow.grid.artifact import Artifact
from workflow.grid.grid import Grid
from workflow.grid.tuning import largest_settings
from workflow.resources.machine import GPU_SPEED
from workflow.resources.model_sizes import size

CONFIGS = Path(__file__).parents[2] / "configs"
PAPERS = ("gpt2_dolly", "opt_dolly", "openllama_dolly", "opt_alpaca", "pythia_alpaca", "qwen2.5")

TOKENS = 200  # of a text with its prompt: Dolly has 684 characters on average
PLAIN_TOKENS = 512
WRITTEN_TOKENS = 256
WRITING_BATCH = 256  # responses at once, outside training
TEXTS = {"MiniLLM/dolly": 11_400, "vicgalle/alpaca-gpt4": 51_000}  # to train on, about
PROMPTS = {
    "dolly": 500,
    "selfinst": 242,
    "vicuna": 80,
    "sni": 1694,
    "unni": 10_000,
    "atkd": 500 + 242 + 80 + 180 + 218,  # the five that are written
}


def grid_of(name: str) -> Grid:
    """The grid of a shipped configuration."""
    return Grid(validate(yaml.safe_load((CONFIGS / f"{name}.yaml").read_text(encoding="utf-8"))))


def gpu_hours(grid: Grid) -> float:
    """What the whole grid is expected to take on one H100."""
    examples = grid.experiment.data.examples
    texts = TEXTS[examples.name] if isinstance(examples, Hub) else 0
    prompts = sum(PROMPTS.get(task, 0) for task in grid.experiment.evaluation.tasks)
    answers = prompts * len(grid.experiment.evaluation.decoding_seeds)
    seconds = 0.0
    for artifact in grid.artifacts.values():
        if artifact.stage in ("teachers", "starts", "students"):
            seconds += training_seconds(artifact, texts)
        elif artifact.stage == "texts":
            seconds += writing_seconds(texts)
        elif artifact.stage == "evals":
            seconds += writing_seconds(answers)
    return seconds / 3600


def training_seconds(artifact: Artifact, pool: int) -> float:
    """Forward and backward passes, the live teacher's passes, and text written on the way."""
    settings = largest_settings(artifact)
    training, method = settings["training"], settings["method"]
    steps = training["steps"] or training["epochs"] * pool / training["batch_size"]
    student = 6 * size(artifact, None).parameters
    teacher = dict(artifact.inputs).get("teacher")
    both = student + (2 * size(teacher, None).parameters if teacher else 0)
    plain = PLAIN_TOKENS * student if method["plain_text_weight"] else 0
    flops = steps * training["batch_size"] * (TOKENS * both + plain)
    passes = steps * decoding_passes(method["policy"])
    decoding = passes * WRITTEN_TOKENS * GPU_SPEED.position_seconds
    return flops / GPU_SPEED.operations_per_second + decoding


def writing_seconds(responses: int) -> float:
    """Seconds to generate the responses in full batches."""
    return responses / WRITING_BATCH * WRITTEN_TOKENS * GPU_SPEED.position_seconds


def rounded(hours: float) -> str:
    """Two digits: more are not known."""
    return f"{float(f'{hours:.2g}'):,.0f}"


def row(name: str) -> str:
    """A configuration's line in the table."""
    grid = grid_of(name)
    seeds = {seed for block in grid.experiment.grid for seed in block.seeds}
    stages = [artifact.stage for artifact in grid.artifacts.values()]
    cells = (
        f"[{name}](../configs/{name}.yaml)",
        *(str(len(getattr(grid.experiment, key))) for key in ("teachers", "students", "methods")),
        str(len(seeds)),
        *(str(stages.count(stage)) for stage in ("students", "evals")),
        rounded(gpu_hours(grid)),
    )
    return f"| {' | '.join(cells)} |"


def table() -> str:
    """All protocols, a line each."""
    heads = (
        *("configuration", "teachers", "students", "methods", "training seeds"),
        *("students trained", "evaluations", "GPU-hours"),
    )
    ruler = "| --- |" + " ---: |" * (len(heads) - 1)
    return "\n".join([f"| {' | '.join(heads)} |", ruler, *map(row, PAPERS)])


def main() -> int:
    """Prints the table."""
    print(table())
    return 0
