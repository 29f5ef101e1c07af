"""Who writes an interleaved rollout: the share of the teacher's tokens by position.

python -m benchmarks.teacher_share configs/long_outputs.yaml [--prompts 200] [--bin 16]
                                   [--out results/long_outputs/teacher_share.csv]

For each student of a finished experiment whose policy mixes in the teacher's tokens, the policy
writes a response to prompts of the test split, once with the checkpoint that training started from
and once with the trained one. A row of the table has the tokens of one student in a bin of
positions, counted from 0, and how many of them are the teacher's. A plot goes beside the table,
with the mean over seeds.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from benchmarks.results import result_file
from pipeline.data.batch import Text, read_texts
from pipeline.data_policies import build_policy
from pipeline.generation.rollouts import StepContext
from pipeline.methods.components import class_constant
from pipeline.methods.method import Method
from pipeline.models.language_model import default_device, load, load_frozen
from pipeline.settings.distill import DistillSettings
from workflow.grid.artifact import Artifact
from workflow.grid.cell import Cell
from workflow.grid.grid import Grid
from workflow.jobs.jobs import Jobs


def main() -> None:
    """Writes the table and its plot."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("configfile", type=Path)
    parser.add_argument("--prompts", type=int, default=200, help="the first of the test split")
    parser.add_argument("--bin", type=int, default=16, help="positions that are counted together")
    parser.add_argument("--out", type=result_file, help="table; the plot has its name with .svg")
    options = parser.parse_args()
    grid = Jobs.of_file(options.configfile).grid
    out = options.out or Path("results") / grid.experiment.experiment / "teacher_share.csv"
    prompts = read_texts(Path(grid.tokens().path) / "test.parquet")[: options.prompts]
    rows = [
        row
        for cell in grid.cells
        if cell.kind == "method" and mixes(grid.method(cell.method))
        for row in counted(grid, cell, prompts, options.bin)
    ]
    table = pd.DataFrame(rows)
    table.to_csv(out, index=False)
    by_position = table.groupby(["method", "checkpoint", "position"]).sum(numeric_only=True)
    shares = by_position["by_teacher"] / by_position["tokens"]
    plot(shares, out.with_suffix(".svg"))
    print(shares.unstack("position").round(3).to_string())


def mixes(method: Method) -> bool:
    """Whether the teacher writes some tokens of a method's rollouts."""
    return bool(class_constant("data_policies", method.policy, "teacher_writes", False))


def counted(grid: Grid, cell: Cell, prompts: list[Text], width: int) -> Iterator[dict[str, object]]:
    """The tokens of a student's rollouts and the teacher's among them, by checkpoint and bin."""
    checkpoints = {"start": dict(cell.model.inputs)["start"], "end": cell.model}
    for checkpoint, model in checkpoints.items():
        texts = rollouts(grid, cell, model, prompts)
        longest = max(len(text.response_ids) for text in texts)
        written, by_teacher = np.zeros((2, longest), dtype=int)
        for text in texts:
            written[: len(text.response_ids)] += 1
            by_teacher[: len(text.by_teacher)] += np.asarray(text.by_teacher, dtype=int)
        for first in range(0, longest, width):
            yield {
                "method": cell.method,
                "teacher": cell.teacher,
                "student": cell.student,
                "seed": cell.seed,
                "checkpoint": checkpoint,
                "position": first,
                "tokens": int(written[first : first + width].sum()),
                "by_teacher": int(by_teacher[first : first + width].sum()),
            }


def rollouts(grid: Grid, cell: Cell, model: Artifact, prompts: list[Text]) -> list[Text]:
    """What the policy of a cell writes with a checkpoint of its student."""
    settings = DistillSettings.model_validate(cell.model.settings)
    method = settings.method
    teacher, device = Path(grid.teacher(cell.teacher).path), default_device()
    every = {"gold_share": 0.0} if "gold_share" in method.policy_settings else {}
    policy = build_policy(method.policy, method.policy_settings | every)
    context = StepContext(
        step=0,
        steps=1,
        epoch=0,
        train_set=prompts,
        student=load(Path(model.path), device),
        teacher=load_frozen(teacher, device, settings.training.precision),
        max_new_tokens=settings.max_new_tokens,
        seed=cell.seed,
        rng=np.random.default_rng(cell.seed),
        state={},
    )
    return policy.texts(prompts, context)


def plot(shares: pd.Series, path: Path) -> None:
    """The teacher's share of the tokens at each position: a line for each method and checkpoint."""
    mpl.use("agg")
    figure, axes = plt.subplots(figsize=(6, 3.2), layout="constrained")
    for color, method in enumerate(shares.index.unique("method")):
        for checkpoint, style in (("start", "--"), ("end", "-")):
            line, label = shares[method, checkpoint], f"{method}, {checkpoint} of training"
            axes.plot(line.index, line, style, color=f"C{color}", label=label)
    axes.set(xlabel="position in the response", ylabel="teacher's share of the tokens", ylim=(0, 1))
    axes.legend(frameon=False)
    figure.savefig(path)


if __name__ == "__main__":
    main()
