"""Losses on the whole vocabulary from hidden states: ours, and TRL's and Liger's chunked ones.

python -m benchmarks.full_support [--tokens 512] [--vocabulary 49152] [--width 576]
                                  [--teacher-width 960] [--losses forward_kl reverse_kl jsd]
                                  [--repeats 3] [--out full_support.json]

Forward and backward through both heads: what follows the bodies of student and teacher in a step
with a live teacher. `ours` is the training loop's chunks around the catalogue's very losses,
any of
which `--losses` takes; `whole` is the same with all logits at once, as automatic differentiation
has it; `trl` is the loss of DistillationTrainer, `liger` LigerFusedLinearJSDLoss, which know
Jensen-Shannon divergence with β = ½ and both KLs (β of 0 and 1). Each runs in a process of its own.

In float32 on a CPU; on a GPU in bfloat16, heads of float32 under autocast, compiled where ours or
Liger's own setting has it. The gradient's error is that of student's hidden states and head against
float64, over the first 64 tokens, relative to the norm. Memory is what comes on top of the inputs.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import version

import torch
from torch import Tensor

from benchmarks import results
from benchmarks.measuring import Peak, best
from benchmarks.workbench import apart
from pipeline.distributions.log_probs import TokenContext, dense
from pipeline.losses import Loss, build_loss, initial_state
from pipeline.methods import components
from pipeline.models.language_model import autocast, default_device
from pipeline.models.logit_chunks import max_logits
from pipeline.runtime.meter import device_name
from pipeline.training.loop import backward_through, mixed_token_losses

BETAS = {"forward_kl": 0.0, "reverse_kl": 1.0, "jsd": 0.5}  # as the peers call them
CHECKED = 64
TEXT = 64  # tokens


@dataclass(frozen=True)
class Task:
    """Sizes that all competitors are given."""

    tokens: int
    vocabulary: int
    width: int
    teacher_width: int
    repeats: int
    part_logits: int  # of ours


@dataclass(frozen=True)
class Row:
    """What a competitor took."""

    what: str
    loss: str
    ms: float
    peak_mb: float
    gradient_error: float


@dataclass(frozen=True)
class Inputs:
    """Hidden states, heads and the tokens that really come next."""

    hidden: Tensor
    head: Tensor
    teacher_hidden: Tensor
    teacher_head: Tensor
    next_ids: Tensor

    def first(self, count: int, dtype: torch.dtype) -> "Inputs":
        """Those of the first tokens, apart from the others."""
        floats = [self.hidden[:count], self.head, self.teacher_hidden[:count], self.teacher_head]
        leaves = [tensor.detach().to(dtype, copy=True) for tensor in floats]
        leaves[0].requires_grad_()
        leaves[1].requires_grad_()
        return Inputs(*leaves, self.next_ids[:count])


def inputs(task: Task, device: torch.device) -> Inputs:
    """Random ones, whose distributions are neither flat nor sure."""
    draw = torch.Generator().manual_seed(0)
    hidden, teacher = (
        torch.randn(task.tokens, width, generator=draw)
        for width in (task.width, task.teacher_width)
    )
    heads = [
        torch.randn(task.vocabulary, width, generator=draw) * 2 / width**0.5
        for width in (task.width, task.teacher_width)
    ]
    next_ids = torch.randint(task.vocabulary, (task.tokens,), generator=draw)
    floats = [hidden, heads[0], teacher, heads[1]]
    return Inputs(*(tensor.to(device) for tensor in floats), next_ids.to(device))


def ours(loss: Loss, batch: Inputs, part: int) -> Tensor:
    """Our loss, so many tokens at a time; gradients are left in the inputs."""
    count, device = len(batch.hidden), batch.hidden.device
    compiled = torch.compile(mixed_token_losses) if device.type == "cuda" else None
    token_losses = compiled or mixed_token_losses
    texts = torch.arange(count, device=device) // TEXT

    def loss_of(hidden: Tensor, rows: slice) -> Tensor:
        with autocast(device, "auto"):
            logits = torch.nn.functional.linear(hidden, batch.head)
            with torch.no_grad():
                theirs = torch.nn.functional.linear(batch.teacher_hidden[rows], batch.teacher_head)
        teacher, sequence = dense(theirs, batch.next_ids[rows]), texts[rows]
        tokens = TokenContext(
            target=teacher.support.target,
            sequence=sequence,
            lengths=sequence.unique_consecutive(return_counts=True)[1],
            offsets=torch.arange(TEXT).to(sequence),
            by_student=torch.zeros_like(sequence, dtype=torch.bool),
            sampled_log_probs=torch.zeros(len(logits), device=device),
            advantages=torch.zeros(len(logits), device=device),
            has_solution=torch.ones_like(sequence, dtype=torch.bool),
            reference_log_probs=torch.zeros(len(logits), device=device),
            all_sampled=True,
            dense=True,
            progress=0.0,
            state=initial_state(loss),
        )
        return token_losses(loss, 0.0, teacher, logits, tokens).sum() / count

    chunks = [slice(first, min(first + part, count)) for first in range(0, count, part)]
    total = torch.zeros((), device=device)
    with backward_through(batch.hidden, chunks) as leaves:
        for rows, hidden in zip(chunks, leaves, strict=True):
            chunk_loss = loss_of(hidden, rows)
            chunk_loss.backward()
            total += chunk_loss.detach()
    return total


def of_ours(name: str, task: Task) -> Callable[[Inputs], Tensor]:
    """Parts of whole texts, as the training loop makes them."""
    loss = build_loss(name, {})
    part = task.part_logits // task.vocabulary
    return lambda batch: ours(loss, batch, max(1, part // TEXT) * TEXT)


def of_whole(name: str, _: Task) -> Callable[[Inputs], Tensor]:
    """All tokens at once."""
    loss = build_loss(name, {})
    return lambda batch: ours(loss, batch, len(batch.hidden))


def of_trl(name: str, _: Task) -> Callable[[Inputs], Tensor]:
    """TRL's chunked divergence."""
    from trl.trainer.distillation_trainer import _chunked_divergence_loss

    def run(batch: Inputs) -> Tensor:
        mask = torch.ones(1, len(batch.hidden), device=batch.hidden.device)
        with autocast(batch.hidden.device, "auto"):
            loss, *_ = _chunked_divergence_loss(
                batch.hidden[None],
                batch.teacher_hidden[None],
                batch.head,
                batch.teacher_head,
                mask,
                BETAS[name],
            )
        loss.backward()
        return loss

    return run


def of_liger(name: str, _: Task) -> Callable[[Inputs], Tensor]:
    """Liger's, which is compiled on a GPU and wants all inputs of one type."""
    from liger_kernel.chunked_loss.jsd_loss import LigerFusedLinearJSDLoss

    def run(batch: Inputs) -> Tensor:
        gpu = batch.hidden.is_cuda
        loss = LigerFusedLinearJSDLoss(
            weight_hard_loss=0.0, weight_soft_loss=1.0, beta=BETAS[name], compiled=gpu
        )
        kind = torch.bfloat16 if gpu else batch.hidden.dtype
        floats = (batch.hidden, batch.head, batch.teacher_hidden, batch.teacher_head)
        value = loss(*(tensor.to(kind) for tensor in floats), batch.next_ids)
        value.backward()
        return value

    return run


COMPETITORS = {"ours": of_ours, "whole": of_whole, "trl": of_trl, "liger": of_liger}


def measured(what: str, name: str, task: Task) -> Row:
    """A competitor's time, memory and error."""
    device = default_device()
    run, batch = COMPETITORS[what](name, task), inputs(task, device)
    everything = batch.first(task.tokens, torch.float32)

    def step() -> None:
        everything.hidden.grad = everything.head.grad = None
        run(everything)

    peak = Peak(device)
    fastest, megabytes = best(device, step, task.repeats), peak.megabytes()
    return Row(what, name, 1000 * fastest, megabytes, _error(run, name, batch))


def _error(run: Callable[[Inputs], Tensor], name: str, batch: Inputs) -> float:
    few, exact = batch.first(CHECKED, torch.float32), batch.first(CHECKED, torch.float64)
    run(few)
    with torch.autocast(batch.hidden.device.type, enabled=False):
        ours(build_loss(name, {}), exact, CHECKED)
    pairs = [(few.hidden.grad, exact.hidden.grad), (few.head.grad, exact.head.grad)]
    return max(((gradient - other).norm() / other.norm()).item() for gradient, other in pairs)


def main() -> None:
    """Prints a table, and writes it as JSON."""
    gpu = default_device().type == "cuda"
    parser = results.parser(__doc__, "full_support.json")
    parser.add_argument("--tokens", type=int, default=16_384 if gpu else 512)
    parser.add_argument("--vocabulary", type=int, default=49_152)
    parser.add_argument("--width", type=int, default=576)
    parser.add_argument("--teacher-width", type=int, default=960)
    parser.add_argument("--repeats", type=int, default=20 if gpu else 3)
    most = max_logits(default_device(), 0)
    parser.add_argument("--part-logits", type=int, default=most, help="at once, of ours")
    parser.add_argument("--only", nargs="+", default=[*COMPETITORS], choices=COMPETITORS)
    parser.add_argument("--losses", nargs="+", default=[*BETAS], choices=components.names("losses"))
    options = vars(parser.parse_args())
    out, losses, only = (options.pop(name) for name in ("out", "losses", "only"))
    task, rows = Task(**options), []
    for name in losses:
        for what in only:
            if what in ("ours", "whole") or name in BETAS:
                rows.append(Row(**apart(measured, what, name, task)))
                print(_line(rows[-1]), flush=True)
    peers = {name: version(name) for name in ("torch", "trl", "liger_kernel")}
    header = {"task": asdict(task), "device": device_name(default_device()), "versions": peers}
    results.write(out, header | {"rows": rows})


def _line(row: Row) -> str:
    return (
        f"{row.loss:<14}{row.what:<8}{row.ms:>10.1f} ms{row.peak_mb:>9.0f} MB"
        f"{row.gradient_error:>12.1e} of the gradient off"
    )


if __name__ == "__main__":
    main()
