"""What a teacher says in tokens of another vocabulary, exactly, and how near each method comes.

`python tests/exact_scores.py` prints the table of docs/cross_tokenizer.md. The world is small
enough to enumerate: words of two letters, at most four characters, in byte-pair encodings of which
the student's has only the teacher's first merge. The teacher gives probabilities to canonical
encodings alone. So the exact distribution p* of the student's next token is a ratio of sums over
texts.

Where one byte-pair vocabulary holds the other, the same follows from the encodings in the larger
one that cover a prefix in the smaller: arXiv:2512.14954, known from its abstract and from its code
(truongbuu/cross-tokenizer-scoring, src/subvocab_model.py).
"""

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import product

import torch
from torch import Tensor

from pipeline.data.batch import Text, collate, token_context
from pipeline.distributions.divergences import kl
from pipeline.distributions.log_probs import Support, TeacherSignal
from pipeline.distributions.spans import Vocabularies, in_spans
from pipeline.losses import build_loss
from pipeline.tokenizer_alignment.alignment import AlignedText
from pipeline.tokenizer_alignment.spans import align
from pipeline.tokenizer_alignment.teacher import AlignedDistributions
from pipeline.tokenizer_alignment.token_bytes import MARKER, begins_word, shared_ids

LETTERS, LONGEST = "ab ", 4
MERGES = ((" ", "a"), ("a", "b"), (" a", "b"))
END = "<end>"  # the last token of both
STUDENT = [*LETTERS, " a", END]
TEACHER = [*LETTERS, " a", "ab", " ab", END]
STEPS, RATE = 150, 0.2
LEAST = -25.0  # log-probability of what the teacher never says: losses need a finite one

Encoding = tuple[str, ...]


def encoded(text: str, merges: Sequence[tuple[str, str]]) -> Encoding:
    """The byte-pair encoding of a text."""
    tokens = list(text)
    for pair in merges:
        place = 0
        while place < len(tokens) - 1:
            if (tokens[place], tokens[place + 1]) == pair:
                tokens[place : place + 2] = ["".join(pair)]
            place += 1
    return tuple(tokens)


by_teacher = partial(encoded, merges=MERGES)
by_student = partial(encoded, merges=MERGES[:1])


@cache
def texts() -> list[str]:
    """Every text but the empty one."""
    return [
        "".join(letters)
        for length in range(1, LONGEST + 1)
        for letters in product(LETTERS, repeat=length)
    ]


@cache
def teacher_rows() -> dict[Encoding, Tensor]:
    """The teacher's distribution behind every canonical encoding, on canonical ones alone."""
    draw, rows = torch.Generator().manual_seed(0), {}
    for prefix in [(), *map(by_teacher, texts())]:
        logits = 1.5 * torch.randn(len(TEACHER), generator=draw, dtype=torch.float64)
        for token_id, token in enumerate(TEACHER[:-1]):
            longer = "".join(prefix) + token
            if len(longer) > LONGEST or by_teacher(longer) != (*prefix, token):
                logits[token_id] = -math.inf
        if not prefix:
            logits[-1] = -math.inf  # no empty text
        rows[prefix] = logits.log_softmax(-1)
    return rows


def teacher_log_prob(encoding: Encoding) -> float:
    """The log-probability of the teacher's tokens."""
    rows = teacher_rows()
    return sum(
        rows[encoding[:place]][TEACHER.index(token)].item() for place, token in enumerate(encoding)
    )


@cache
def exact_rows() -> dict[Encoding, Tensor]:
    """p*: the distribution of the student's next token, by sums over all texts."""
    mass: dict[Encoding, Tensor] = defaultdict(lambda: torch.zeros(len(STUDENT)).double())
    for text in texts():
        probability = math.exp(teacher_log_prob((*by_teacher(text), END)))
        tokens = (*by_student(text), END)
        for place, token in enumerate(tokens):
            mass[tokens[:place]][STUDENT.index(token)] += probability
    return {prefix: (row / row.sum()).log() for prefix, row in mass.items()}


@dataclass(frozen=True)
class World:
    """All texts in both tokens, and the teacher's rows on them."""

    student: list[Text]
    aligned: list[AlignedText]
    teacher: TeacherSignal
    vocabularies: Vocabularies
    rows: Tensor  # of each of the student's tokens: that of its prefix in a table of all prefixes
    exact: Tensor  # log p* at each of the student's tokens
    of_text: Tensor  # the text of each of the student's tokens
    teacher_weights: Tensor  # the teacher's probability of each text


@cache
def world() -> World:
    """The whole world as a single batch."""
    mine, yours = (
        [[*map(vocabulary.index, cut(text)), len(vocabulary) - 1] for text in texts()]
        for vocabulary, cut in ((TEACHER, by_teacher), (STUDENT, by_student))
    )
    spelled = [[*(token.encode() for token in side[:-1]), MARKER] for side in (TEACHER, STUDENT)]
    aligned = []
    for text, own, ids in zip(texts(), mine, yours, strict=True):
        pieces = [[of[token] for token in cut] for of, cut in zip(spelled, (own, ids), strict=True)]
        ends = align(*pieces)
        assert ends is not None
        aligned.append(AlignedText(Text(text, [0], own), ends))
    prefixes = list(exact_rows())
    cuts = [(*by_student(text), END) for text in texts()]
    behind = [cut[:place] for cut in cuts for place in range(len(cut))]
    teacher = [
        teacher_rows()[cut[:place]]
        for text in texts()
        for cut in [by_teacher(text)]
        for place in range(len(cut) + 1)
    ]
    shared = shared_ids(*spelled, len(TEACHER) - 1, len(STUDENT) - 1)
    return World(
        student=[Text(text, [0], ids) for text, ids in zip(texts(), yours, strict=True)],
        aligned=aligned,
        teacher=TeacherSignal(
            torch.stack(teacher).clamp(min=LEAST),
            Support(torch.tensor([token for own in mine for token in own])),
        ),
        vocabularies=Vocabularies(
            torch.tensor(shared), *(torch.tensor(begins_word(side)) for side in spelled)
        ),
        rows=torch.tensor([prefixes.index(prefix) for prefix in behind]),
        exact=torch.stack([exact_rows()[prefix] for prefix in behind]).clamp(min=LEAST),
        of_text=torch.arange(len(cuts)).repeat_interleave(torch.tensor([len(c) for c in cuts])),
        teacher_weights=torch.tensor(
            [math.exp(teacher_log_prob((*by_teacher(text), END))) for text in texts()]
        ).double(),
    )


def untrained() -> Tensor:
    """The logits of a student: a row for each of its prefixes, drawn at random."""
    draw = torch.Generator().manual_seed(1)
    return torch.randn(len(exact_rows()), len(STUDENT), generator=draw, dtype=torch.float64)


def targets() -> Tensor:
    """The student's tokens of all texts."""
    return torch.tensor([token for text in world().student for token in text.response_ids])


def log_likelihoods(student: Tensor) -> Tensor:
    """The student's log-probability of each text, by its canonical encoding."""
    here = world()
    return torch.zeros(len(here.student)).double().index_add(0, here.of_text, -nll(student))


def kl_to_teacher(student: Tensor) -> float:
    """KL(teacher, student) over texts, in nats a text."""
    p = world().teacher_weights
    return (p * (p.log() - log_likelihoods(student))).sum().item()


def over_spans(name: str, **settings: object) -> Callable[[Tensor], Tensor]:
    """A loss over spans at each of the student's tokens."""
    here, cpu, loss = world(), torch.device("cpu"), build_loss(name, settings)

    def losses(student: Tensor) -> Tensor:
        q = student.log_softmax(-1)[here.rows]
        written = (-nll(student).detach()).split([text.target_count for text in here.student])
        spoken = [
            replace(text, log_probs=values.tolist())
            for text, values in zip(here.student, written, strict=True)
        ]
        batch = collate(spoken, cpu)
        aligned = AlignedDistributions(here.teacher, batch, here.aligned, here.vocabularies)
        signal = aligned.chunk(slice(None))
        tokens = token_context(batch, slice(None), signal.support, 0.0, {})
        signal, tokens = in_spans(signal, tokens)
        return loss(signal.log_probs, q, tokens)

    return losses


def forward_kl(student: Tensor) -> Tensor:
    """KL(p*, q) at each of the student's tokens."""
    return kl(world().exact, student.log_softmax(-1)[world().rows])


def rewarded(student: Tensor) -> Tensor:
    """The loss of `opd` at each of the student's tokens, with p* as the teacher."""
    log_q = -nll(student)
    reward = world().exact.gather(-1, targets()[:, None])[:, 0] - log_q.detach()
    return -(log_q - log_q.detach()).exp() * reward


def nll(student: Tensor) -> Tensor:
    """Cross entropy at each of the student's tokens."""
    return -student.log_softmax(-1)[world().rows].gather(-1, targets()[:, None])[:, 0]


@dataclass(frozen=True)
class Subject:
    """A way to learn: a loss, on texts with equal weights, the teacher's, or the student's."""

    losses: Callable[[Tensor], Tensor]
    author: str = "any"

    def loss(self, student: Tensor) -> Tensor:
        """The loss in expectation over the texts; none of its gradient is that of the weights."""
        here = world()
        weights = {
            "any": torch.full_like(here.teacher_weights, 1 / len(here.student)),
            "teacher": here.teacher_weights,
            "student": log_likelihoods(student).detach().exp(),
        }[self.author]
        return (weights[here.of_text] * self.losses(student)).sum()

    def gradient(self, student: Tensor) -> Tensor:
        """Its gradient."""
        leaf = student.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(self.loss(leaf), leaf)
        return gradient

    def trained(self) -> Tensor:
        """The student after training on it."""
        student = untrained().requires_grad_()
        optimizer = torch.optim.Adam([student], lr=RATE)
        for _ in range(STEPS):
            optimizer.zero_grad()
            self.loss(student).backward()
            optimizer.step()
        return student.detach()


def subjects() -> dict[str, tuple[Subject, Subject]]:
    """Each way to learn, and the exact one on the same texts that its gradient is compared with."""
    exact, on_policy = Subject(forward_kl), Subject(rewarded, "student")
    return {
        "forward KL to p\\*": (exact, exact),
        "`uld`": (Subject(over_spans("uld")), exact),
        "`uld_aligned`": (Subject(over_spans("uld", aligned=True)), exact),
        "`alm`": (Subject(over_spans("alm")), exact),
        "`gold`": (Subject(over_spans("gold")), exact),
        "`simct`": (Subject(over_spans("simct")), exact),
        "`sft`": (Subject(nll), exact),
        "`seqkd`": (Subject(nll, "teacher"), Subject(forward_kl, "teacher")),
        "`opd` on p\\*": (on_policy, on_policy),
        "`opd_spans`": (Subject(over_spans("opd_spans"), "student"), on_policy),
        "`opd_spans`, `whole_span`": (
            Subject(over_spans("opd_spans", whole_span=True), "student"),
            on_policy,
        ),
    }


def cosine(tensor: Tensor, other: Tensor) -> float:
    """The cosine of two gradients."""
    return torch.cosine_similarity(tensor.flatten(), other.flatten(), dim=0).item()


def measured() -> dict[str, tuple[float, float]]:
    """Of each way to learn: the cosine at the start, and the KL to the teacher in the end."""
    start = untrained()
    return {
        name: (
            cosine(subject.gradient(start), exact.gradient(start)),
            kl_to_teacher(subject.trained()),
        )
        for name, (subject, exact) in subjects().items()
    }


if __name__ == "__main__":
    print(f"untrained: {kl_to_teacher(untrained()):.3f} nats")
    for name, (similarity, nats) in measured().items():
        print(f"| {name} | {similarity:.2f} | {nats:.3f} |")
