"""How fast text is written, beside transformers' `generate`.

python -m benchmarks.generation [--shapes narrow large] [--batches 16 64] [--new 48] [--out FILE]
On a GPU: --shapes 135m 360m --batches 32 256 1024 --new 256

Tokens per second, drawn at temperature 1, the median of some runs after one to warm up; the ways
take turns, and a CPU's seconds are those of the process. `generate` runs with its cache that grows
and with its static one, which it compiles on a GPU. All prompts are of one length and no text ends
early, which is the best case for `generate`: it has no padding to read and no ended text to wait
for. The weights are float32 on a CPU; on a GPU `generate` has bfloat16 ones, and `write` casts
float32 ones, as training has them.

Beside that the interleaved policies, with the first shape as student and the last as teacher, and
both models' own text. What a draft of SKD is worth on a GPU (a CPU makes none) depends on how much
of it the teacher keeps: of fresh weights' next to nothing with K = 1, all with K the vocabulary.
Real pairs lie between.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median

import torch
import transformers
from transformers import PreTrainedModel

from benchmarks import results
from benchmarks.measuring import now
from benchmarks.workbench import SHAPES, prompts, writer
from pipeline.data.batch import Text
from pipeline.data_policies import speculative, switch, teacher_mixed
from pipeline.generation import SpeculativeSampler, TokenSampler, generate, sampler
from pipeline.models.language_model import default_device
from pipeline.settings.generation import Sampling

EVERY = 10**9  # tokens on top: nothing is refused

Way = Callable[[], object]


@dataclass(frozen=True)
class Row:
    """One way of writing."""

    models: str
    way: str
    batch: int
    tokens_per_second: float


@dataclass(frozen=True)
class Task:
    """What is to be written."""

    prompts: Sequence[Text]
    new: int
    runs: int
    device: torch.device

    def rows(self, models: str, ways: dict[str, Way]) -> Iterator[Row]:
        """The speed of each way in its median run. They take turns: a busy moment meets all."""
        taken: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(self.runs + 1):  # the first one warms up
            for name, way in ways.items():
                taken[name].append(self.seconds(way))
        tokens = len(self.prompts) * self.new
        for name in ways:
            yield Row(models, name, len(self.prompts), tokens / median(taken[name][1:]))

    def seconds(self, way: Way) -> float:
        """How long something took."""
        began = now(self.device)
        way()
        return now(self.device) - began


def generating(model: PreTrainedModel, task: Task, cache: str) -> Way:
    """Transformers' own loop."""
    ids = torch.tensor([list(prompt.prompt_ids) for prompt in task.prompts], device=model.device)
    return lambda: model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        do_sample=True,
        top_k=0,
        max_new_tokens=task.new,
        cache_implementation=cache,
    )


def writing(
    task: Task, models: Sequence[PreTrainedModel], choose: TokenSampler | SpeculativeSampler
) -> Way:
    """Ours."""
    return lambda: generate(task.prompts, models, choose, task.new, 0, "student")


def alone(name: str, task: Task) -> Iterator[Row]:
    """One model, in each way."""
    half = torch.bfloat16 if task.device.type == "cuda" else torch.float32
    peer = writer(name, 0, task.device).to(half)
    ways = {
        f"generate, {kind} cache": generating(peer, task, kind) for kind in ("dynamic", "static")
    }
    ways["write"] = writing(task, [writer(name, 0, task.device)], sampler(Sampling()))
    return task.rows(name, ways)


def together(student_name: str, teacher_name: str, task: Task) -> Iterator[Row]:
    """Two models, in each policy."""
    student = writer(student_name, 0, task.device)
    teacher = writer(teacher_name, 1, task.device)
    pair, own = [student, teacher], sampler(Sampling())
    refused, accepted = (speculative.Policy(top=top).draft() for top in (1, EVERY))
    ways = {
        "student alone": writing(task, [student], own),
        "teacher alone": writing(task, [teacher], own),
        "SWITCH": writing(task, pair, switch.Policy().choose),
        "teacher-mixed": writing(task, pair, teacher_mixed.Policy().choose),
        "SKD, all refused": writing(task, pair, refused),
        "SKD, all kept": writing(task, pair, accepted),
        "SKD, kept, no drafts": writing(task, pair, accepted.token_by_token),
    }
    return task.rows(f"{student_name}, {teacher_name}", ways)


def main() -> None:
    """Prints a table, and writes it as JSON."""
    parser = results.parser(__doc__, "generation.json")
    parser.add_argument("--shapes", nargs="+", default=["narrow", "large"], choices=SHAPES)
    parser.add_argument("--batches", nargs="+", type=int, default=[16, 64])
    parser.add_argument("--prompt", type=int, default=32, help="tokens")
    parser.add_argument("--new", type=int, default=48, help="tokens")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    device = default_device()
    rows = []
    print(f"{'models':<16}{'way':<26}{'batch':>6}{'tok/s':>10}")
    for row in _rows(options, device):
        rows.append(row)
        line = f"{row.models:<16}{row.way:<26}{row.batch:>6}{row.tokens_per_second:>10,.0f}"
        print(line, flush=True)
    about = {"torch": torch.__version__, "transformers": transformers.__version__}
    about["device"] = torch.cuda.get_device_name() if device.type == "cuda" else "cpu"
    settings = {name: str(value) for name, value in vars(options).items()}
    whole = {"about": about, "settings": settings, "rows": rows}
    results.write(options.out, whole)


def _rows(options: argparse.Namespace, device: torch.device) -> Iterator[Row]:
    for batch in options.batches:
        vocabulary = SHAPES[options.shapes[0]].vocabulary
        asked = prompts(batch, options.prompt, vocabulary)
        task = Task(asked, options.new, options.runs, device)
        for name in options.shapes:
            yield from alone(name, task)
        if len(options.shapes) > 1:
            yield from together(options.shapes[0], options.shapes[-1], task)


if __name__ == "__main__":
    main()
