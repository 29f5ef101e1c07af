"""On-policy GKD from end to end, beside TRL's GKDTrainer.

python -m benchmarks.on_policy [--student narrow] [--teacher large] [--out FILE]
On a GPU: --student 135m --teacher 360m --batch 32 --new 128
          --micro-batch-tokens 16384

Both train the same student, of fresh weights, under the same teacher on the same prompts: at every
step the student answers a batch of them, drawn at temperature 1, and learns from the teacher's
distributions by the JSD with weight 1/2. No text ends early, so both train on as many tokens a
step. The peer is given its best: token ids instead of text, attention by PyTorch, no checkpoints.
It runs as it comes, which generates without a cache because it saves memory by recomputing
activations, and without that. Trained response tokens per second over the steps after one that
warms up; on a GPU both compute in bfloat16, and a CPU's seconds are those of the process.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
import transformers
import trl
from datasets import Dataset
from transformers import TrainerCallback
from trl.experimental.gkd import GKDConfig, GKDTrainer

from benchmarks import results
from benchmarks.gpu_check.subjects import run
from benchmarks.measuring import now
from benchmarks.workbench import RATE, SHAPES, prompts, trl_settings, words, writer
from pipeline.data.batch import Text
from pipeline.models.language_model import default_device
from pipeline.models.teacher import LiveTeacher
from pipeline.settings.training import Training
from pipeline.training.loop import train
from pipeline.training.state import initial_state


@dataclass(frozen=True)
class Task:
    """What is trained on what."""

    student: str
    teacher: str
    prompts: Sequence[Text]
    batch: int
    new: int
    steps: int
    budget: int  # positions in a micro-batch of ours; the peer takes its batch whole
    device: torch.device

    def speed(self, moments: Sequence[float]) -> float:
        """Trained tokens per second, given when the first step and all later ones were done."""
        return self.batch * self.new * (len(moments) - 1) / (moments[-1] - moments[0])


def ours(task: Task) -> float:
    """The speed of this project's training loop."""
    training = Training(steps=task.steps, batch_size=task.batch, learning_rate=RATE, validations=0)
    student = writer(task.student, 0, task.device)
    teacher = LiveTeacher(writer(task.teacher, 1, task.device).requires_grad_(False))
    made = run(
        "gkd", student, teacher, task.prompts, training, task.new, task.budget, student_share=1.0
    )
    return task.speed([now(task.device) for _ in train(made, initial_state(made))])


class Moments(TrainerCallback):
    """When each step of a trainer was done."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.moments: list[float] = []

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Notes the time."""
        self.moments.append(now(self.device))


def of_trl(task: Task, recompute: bool) -> float:
    """The speed of TRL's trainer."""
    watch = Moments(task.device)
    student = writer(task.student, 0, task.device)
    student.config.eos_token_id = None
    tokenizer = words(SHAPES[task.student].vocabulary)
    tokenizer.eos_token = None
    rows = [
        {"prompt": "", "input_ids": ids, "completion_mask": [0] * (len(ids) - 1) + [1]}
        for ids in ([*prompt.prompt_ids, 0] for prompt in task.prompts)
    ]
    with tempfile.TemporaryDirectory() as folder:
        own = {"lmbda": 1.0, "temperature": 1.0, "beta": 0.5, "max_new_tokens": task.new}
        own |= {"max_steps": task.steps, "gradient_checkpointing": recompute}
        settings = GKDConfig(**trl_settings(folder, task.batch, task.device) | own)
        trainer = GKDTrainer(
            model=student,
            teacher_model=writer(task.teacher, 1, task.device),
            args=settings,
            train_dataset=Dataset.from_list(rows),
            processing_class=tokenizer,
            callbacks=[watch],
        )
        trainer.train()
    return task.speed(watch.moments)


def main() -> None:
    """Prints a table, and writes it as JSON."""
    parser = results.parser(__doc__, "on_policy.json")
    parser.add_argument("--student", default="narrow", choices=SHAPES)
    parser.add_argument("--teacher", default="large", choices=SHAPES)
    parser.add_argument("--batch", type=int, default=16, help="texts in a step")
    parser.add_argument("--prompt", type=int, default=32, help="tokens")
    parser.add_argument("--new", type=int, default=32, help="tokens")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--micro-batch-tokens", type=int, default=2048)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    vocabulary = SHAPES[options.student].vocabulary
    task = Task(
        student=options.student,
        teacher=options.teacher,
        prompts=prompts(options.batch * options.steps, options.prompt, vocabulary),
        batch=options.batch,
        new=options.new,
        steps=options.steps,
        budget=options.micro_batch_tokens,
        device=default_device(),
    )
    speeds = {
        "TRL, as it comes": of_trl(task, recompute=True),
        "TRL, with a KV cache": of_trl(task, recompute=False),
        "ours": ours(task),
    }
    for name, speed in speeds.items():
        print(f"{name:<24}{speed:>10,.0f} tok/s")
    about = {"torch": torch.__version__, "transformers": transformers.__version__}
    about |= {"trl": trl.__version__, "device": str(task.device)}
    settings = {name: str(value) for name, value in asdict(task).items() if name != "prompts"}
    whole = {"about": about, "settings": settings, "trained_tokens_per_second": speeds}
    results.write(options.out, whole)


if __name__ == "__main__":
    main()
