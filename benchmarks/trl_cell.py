"""A cell of the grid as a user would write it with TRL: one trained student, saved in a folder.

python -m benchmarks.trl_cell sft|seqkd|forward_kl|reverse_kl|jsd|gkd --student DIR --teacher DIR
    --data FILE.jsonl --out DIR --steps 250 --batch 16 --rate 0.005
python -m benchmarks.trl_cell texts --teacher DIR --data FILE.jsonl --out FILE.jsonl

The trainers are TRL's own with their defaults, but for what the demo's protocol sets: optimizer,
schedule, batch, steps, and no checkpoints. The divergences are GKDTrainer's: beta 0 and 1 are the
forward and the reverse KL, lmbda is the share of batches that the student writes.
"""

import argparse
import json
import os
from pathlib import Path

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig
from trl import SFTConfig, SFTTrainer
from trl.experimental.gkd import GKDConfig, GKDTrainer

GKD = {  # beta of the divergence, and lmbda
    "forward_kl": (0.0, 0.0),
    "reverse_kl": (1.0, 0.0),
    "jsd": (0.5, 0.0),
    "gkd": (0.5, 0.5),
}
CHAT = (  # the text alone: the data are no dialogues
    "{% for message in messages %}{{ message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}"
)
WRITTEN_AT_ONCE = 64  # responses of the teacher


def read(path: Path) -> list[dict[str, str]]:
    """Prompts and responses, a line each."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def as_messages(row: dict[str, str]) -> dict[str, list[dict[str, str]]]:
    """What GKDTrainer reads."""
    roles = (("user", row["prompt"]), ("assistant", row["response"]))
    return {"messages": [{"role": role, "content": text} for role, text in roles]}


def training(options: argparse.Namespace) -> dict[str, object]:
    """What the demo's protocol says of the optimizer, in the words of transformers' Trainer."""
    return {
        "output_dir": str(options.out),
        "max_steps": options.steps,
        "per_device_train_batch_size": options.batch,
        "learning_rate": options.rate,
        "lr_scheduler_type": "cosine",
        "warmup_steps": round(0.03 * options.steps),
        "weight_decay": 0.01,
        "adam_beta2": 0.95,
        "max_grad_norm": 1.0,
        "max_length": 128,
        "seed": options.seed,
        "save_strategy": "no",
        "logging_steps": 50,
        "report_to": "none",
        "bf16": torch.cuda.is_available(),
        "use_cpu": not torch.cuda.is_available(),
        "gradient_checkpointing": False,
        "dataloader_pin_memory": torch.cuda.is_available(),
    }


def train(options: argparse.Namespace) -> None:
    """Trains the student and saves it with its tokenizer."""
    tokenizer = AutoTokenizer.from_pretrained(options.student)
    student = AutoModelForCausalLM.from_pretrained(options.student, dtype=torch.float32)
    rows = read(options.data)
    if options.what in GKD:
        tokenizer.chat_template = CHAT
        beta, share = GKD[options.what]
        settings = GKDConfig(
            **training(options), beta=beta, lmbda=share, temperature=1.0, max_new_tokens=32
        )
        teacher = AutoModelForCausalLM.from_pretrained(options.teacher, dtype=torch.float32)
        trainer = GKDTrainer(
            model=student,
            teacher_model=teacher,
            args=settings,
            train_dataset=Dataset.from_list([as_messages(row) for row in rows]),
            processing_class=tokenizer,
        )
    else:
        pairs = [{"prompt": row["prompt"], "completion": row["response"]} for row in rows]
        trainer = SFTTrainer(
            model=student,
            args=SFTConfig(**training(options)),
            train_dataset=Dataset.from_list(pairs),
            processing_class=tokenizer,
        )
    trainer.train()
    trainer.save_model(str(options.out))


def write_texts(options: argparse.Namespace) -> None:
    """The teacher's responses to the prompts, by transformers' generate."""
    tokenizer = AutoTokenizer.from_pretrained(options.teacher, padding_side="left")
    teacher = AutoModelForCausalLM.from_pretrained(options.teacher, dtype=torch.float32)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    teacher = teacher.to(device).eval()
    rows = read(options.data)
    torch.manual_seed(options.seed)
    sampling = GenerationConfig(
        do_sample=True,
        top_k=0,
        max_new_tokens=48,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    written = []
    for first in range(0, len(rows), WRITTEN_AT_ONCE):
        prompts = [row["prompt"] for row in rows[first : first + WRITTEN_AT_ONCE]]
        asked = tokenizer(prompts, return_tensors="pt", padding=True).to(device)
        ids = teacher.generate(
            input_ids=asked["input_ids"],
            attention_mask=asked["attention_mask"],
            generation_config=sampling,
        )
        responses = tokenizer.batch_decode(
            ids[:, asked["input_ids"].shape[1] :], skip_special_tokens=True
        )
        written += [
            {"prompt": prompt, "response": response}
            for prompt, response in zip(prompts, responses, strict=True)
        ]
    options.out.write_text("".join(json.dumps(row) + "\n" for row in written))


def main() -> None:
    """Trains a student, or writes the teacher's texts."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", choices=["sft", "seqkd", *GKD, "texts"])
    for name in ("teacher", "data", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--student", type=Path)
    parser.add_argument("--steps", type=int, default=250)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rate", type=float, default=0.005)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", torch.get_num_threads())))
    write_texts(options) if options.what == "texts" else train(options)


if __name__ == "__main__":
    main()
