"""What a step of a student's training costs here and with TRL's trainers, in one run.

python -m benchmarks.student_step [--student narrow] [--teacher large] [--data FILE] [--length N]
                                  [--batch 16] [--steps 20] [--repeats 2] [--out student_step.json]

Every competitor trains the same fresh student on the same texts, in a process of its own: an epoch
to warm up, then epochs that are timed, of which the fastest counts. `--data` is a file in JSON
lines with `prompt` and `output`, whose lengths the texts get; `--length` makes all texts of that
length, without prompts; else they are as long as the demo's. On a GPU the defaults are SmolLM2's.

sft, cached and live are methods of this project: cross entropy; forward KL on a cached top 64; JSD
on all tokens with a live teacher. TRL's trainers have their defaults but for gradient
checkpointing, which is off (it would cost them time), and logging, which is off. GKDTrainer runs
off-policy (lmbda = 0), its live teacher is the one above. Memory is the peak during training: on a
CPU, of what came on top of what the process held before.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from benchmarks import results
from benchmarks.cache_subjects import stored
from benchmarks.gpu_check.subjects import run
from benchmarks.measuring import Peak, synchronize
from benchmarks.workbench import (
    RATE,
    SHAPES,
    apart,
    equal,
    model,
    natural,
    synthetic,
    trl_settings,
    words,
)
from pipeline.data.batch import Text
from pipeline.models.language_model import default_device
from pipeline.models.teacher import LiveTeacher, Teacher
from pipeline.runtime.meter import device_name
from pipeline.settings.teacher import CacheJob
from pipeline.settings.training import Training
from pipeline.teacher_cache.capture import Capture
from pipeline.training.compile import compile_for_gpu
from pipeline.training.loop import train
from pipeline.training.state import TrainingRun, initial_state

TOP = 64
OURS = {"sft": "sft", "cached": "forward_kl", "live": "jsd"}
THEIRS = ("trl sft", "trl gkd")


@dataclass(frozen=True)
class Task:
    """What all competitors are given."""

    student: str
    teacher: str
    data: str | None
    length: int | None
    batch: int
    steps: int  # in an epoch
    repeats: int  # epochs that are timed
    budget: int  # positions in a micro-batch of ours

    def texts(self) -> list[Text]:
        """The texts of an epoch."""
        count, vocabulary = self.batch * self.steps, SHAPES[self.student].vocabulary
        if self.data:
            texts = natural(Path(self.data), 2 * count, vocabulary)[:count]
        elif self.length:
            texts = equal(count, self.length, vocabulary)
        else:
            texts = synthetic(count, vocabulary)
        return texts[: len(texts) // self.batch * self.batch]


@dataclass(frozen=True)
class Row:
    """What a competitor's steps took."""

    what: str
    step_ms: float
    tokens_per_second: float
    response_tokens_per_second: float
    peak_mb: float


class Laps:
    """When epochs ended; steps are counted from outside."""

    def __init__(self, steps: int, device: torch.device):
        self.steps, self.device = steps, device
        self.ends: list[float] = []

    def step(self, number: int) -> None:
        """To be called after each step, with its number from 1."""
        if number % self.steps == 0:
            synchronize(self.device)
            self.ends.append(time.perf_counter())

    def row(self, what: str, texts: Sequence[Text], peak: Peak) -> Row:
        """The fastest epoch after the first."""
        seconds = min(end - start for start, end in zip(self.ends, self.ends[1:], strict=False))
        read = sum(text.length for text in texts)
        responses = sum(len(text.response_ids) for text in texts)
        step_ms = 1000 * seconds / self.steps
        return Row(what, step_ms, read / seconds, responses / seconds, peak.megabytes())


def of_ours(what: str, task: Task) -> Row:
    """A method of this project."""
    device, texts = default_device(), task.texts()
    with tempfile.TemporaryDirectory() as folder:
        teacher = _teacher(what, task, texts, Path(folder), device)
        made = compile_for_gpu(_run(what, task, texts, teacher))
        laps, peak = Laps(len(texts) // task.batch, device), Peak(device)
        for number in train(made, initial_state(made)):
            laps.step(number)
        return laps.row(what, texts, peak)


def _run(what: str, task: Task, texts: Sequence[Text], teacher: Teacher | None) -> TrainingRun:
    epochs = 1 + task.repeats
    training = Training(epochs=epochs, batch_size=task.batch, learning_rate=RATE, validations=0)
    student = model(task.student, 1, default_device())
    return run(OURS[what], student, teacher, texts, training, 1, task.budget)


def _teacher(
    what: str, task: Task, texts: Sequence[Text], folder: Path, device: torch.device
) -> Teacher | None:
    if what == "sft":
        return None
    live = LiveTeacher(model(task.teacher, 2, device).requires_grad_(False))
    if what == "live":
        return live
    capture = Capture(live.model, CacheJob(k=TOP), task.budget)
    return stored(folder, capture, capture.batches(texts))


def of_theirs(what: str, task: Task) -> Row:
    """One of TRL's trainers."""
    device, texts = default_device(), task.texts()
    laps = Laps(len(texts) // task.batch, device)
    with tempfile.TemporaryDirectory() as folder:
        settings = trl_settings(folder, task.batch, device) | {
            "num_train_epochs": 1 + task.repeats,
            "max_length": None,
            "dataset_kwargs": {"skip_prepare_dataset": True},
        }
        trainer = TRAINERS[what](task, texts, settings, device)
        trainer.add_callback(_watching(laps))
        peak = Peak(device)
        trainer.train()
        return laps.row(what, texts, peak)


def _dataset(texts: Sequence[Text]) -> Any:
    from datasets import Dataset

    ids = [[*text.prompt_ids, *text.response_ids] for text in texts]
    labels = [[-100] * len(text.prompt_ids) + list(text.response_ids) for text in texts]
    return Dataset.from_dict({"input_ids": ids, "labels": labels})


def _trl_sft(task: Task, texts: Sequence[Text], settings: dict, device: torch.device) -> Any:
    from trl import SFTConfig, SFTTrainer

    return SFTTrainer(
        model=model(task.student, 1, device),
        args=SFTConfig(**settings),
        train_dataset=_dataset(texts),
        processing_class=words(SHAPES[task.student].vocabulary),
    )


def _trl_gkd(task: Task, texts: Sequence[Text], settings: dict, device: torch.device) -> Any:
    from trl.experimental.gkd import GKDConfig, GKDTrainer

    return GKDTrainer(
        model=model(task.student, 1, device),
        teacher_model=model(task.teacher, 2, device),
        args=GKDConfig(**settings, lmbda=0.0, beta=0.5),
        train_dataset=_dataset(texts),
        data_collator=_padded,
        processing_class=words(SHAPES[task.student].vocabulary),
    )


TRAINERS: dict[str, Callable[..., Any]] = {"trl sft": _trl_sft, "trl gkd": _trl_gkd}


def _padded(rows: Sequence[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
    """A batch as GKDTrainer's own collator makes it, from texts that are tokenized already."""
    ids, labels = ([torch.tensor(row[name]) for row in rows] for name in ("input_ids", "labels"))
    attention = [torch.ones_like(row) for row in ids]
    pad = torch.nn.utils.rnn.pad_sequence
    return {
        "input_ids": pad(ids, batch_first=True, padding_value=2),
        "attention_mask": pad(attention, batch_first=True),
        "labels": pad(labels, batch_first=True, padding_value=-100),
    }


def _watching(laps: Laps) -> TrainerCallback:
    class Watching(TrainerCallback):
        def on_step_end(self, _args: Any, state: Any, *_: Any, **__: Any) -> None:
            laps.step(state.global_step)

    return Watching()


def _line(row: Row) -> str:
    return (
        f"{row.what:<10}{row.step_ms:>10.1f} ms{row.tokens_per_second:>10.0f} tok/s"
        f"{row.response_tokens_per_second:>10.0f} response tok/s{row.peak_mb:>9.0f} MB"
    )


def _parser() -> argparse.ArgumentParser:
    gpu = default_device().type == "cuda"
    parser = results.parser(__doc__, "student_step.json")
    parser.add_argument("--student", choices=SHAPES, default="135m" if gpu else "narrow")
    parser.add_argument("--teacher", choices=SHAPES, default="360m" if gpu else "large")
    parser.add_argument("--data", help="texts get the lengths of these")
    parser.add_argument("--length", type=int, help="of all texts")
    parser.add_argument("--batch", type=int, default=32 if gpu else 16)
    parser.add_argument("--steps", type=int, default=20, help="in an epoch")
    parser.add_argument("--repeats", type=int, default=2, help="epochs that are timed")
    parser.add_argument("--budget", type=int, default=16_384 if gpu else 2_048)
    parser.add_argument("--only", nargs="+", default=[*OURS, *THEIRS], choices=[*OURS, *THEIRS])
    return parser


def main() -> None:
    """Prints a table, and writes it as JSON."""
    options = vars(_parser().parse_args())
    out, only = options.pop("out"), options.pop("only")
    task, rows = Task(**options), {}
    for what in only:
        rows[what] = Row(**apart(of_ours if what in OURS else of_theirs, what, task))
        print(_line(rows[what]), flush=True)

    ratio = None
    if {"sft", "cached"} <= rows.keys():
        ratio = rows["cached"].step_ms / rows["sft"].step_ms
        print(f"a cached teacher's step takes {ratio:.2f} times that of SFT")
    peers = {name: version(name) for name in ("torch", "transformers", "trl")}
    record = {"task": asdict(task), "device": device_name(default_device()), "versions": peers}
    record |= {"cached_to_sft": ratio, "rows": list(rows.values())}
    results.write(out, record)


if __name__ == "__main__":
    main()
