"""The conformance kit: it passes our losses, and notices each kind of wrong one."""

from collections.abc import Callable
from pathlib import Path

import laws
import mutations
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from snaking import ROOT
from torch import Tensor

from distilbench_conformance import DIVERGENCES, check, explanations, golden_vectors, markdown
from distilbench_conformance.cases import Loss
from distilbench_conformance.references import softmax
from pipeline.methods import components
from workflow.commands.main import main

OURS = sorted({*DIVERGENCES} & {*components.names("losses")})


WEIGHTS = {"jsd": "teacher_weight", "symmetric_kl": "forward_weight"}  # the others: skew


def broken(loss: Loss, divergence: str, weight: float | None = None) -> dict[str, str]:
    """The laws that a loss breaks, with the numbers."""
    verdicts = check(loss, divergence, weight)
    return {each.law: each.detail for each in verdicts if each.status == "breaks"}


def broken_by(subject: laws.Subject) -> dict[str, str]:
    """The laws that a loss of ours breaks, at a weight that is no half."""
    weights = DIVERGENCES[subject.name].weights
    settings = {WEIGHTS.get(subject.name, "skew"): weights[-1]} if weights else {}
    return broken(laws.kit_loss(subject, settings), subject.name, weights[-1] if weights else None)


@pytest.mark.parametrize("name", OURS)
def test_our_losses_obey(name: str) -> None:
    assert broken_by(laws.subject(name)) == {}


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("fault", mutations.MUTATIONS)
def test_a_faulty_loss_of_ours_is_noticed(fault: str, name: str) -> None:
    subject = mutations.MUTATIONS[fault](name)
    assert subject is None or broken_by(subject)


def forward_kl(student: Tensor, teacher: Tensor) -> Tensor:
    """Of each place, in float32 at least."""
    wide = torch.promote_types(student.dtype, torch.float32)
    q, p = student.to(wide).log_softmax(-1), teacher.detach().to(wide).log_softmax(-1)
    return (p.exp() * (p - q)).sum(-1)


def mean(losses: Tensor, mask: Tensor, tokens: float | None = None) -> Tensor:
    return torch.where(mask, losses, 0).sum() / (tokens or mask.sum().clamp_min(1))


def right(
    student: Tensor,
    teacher: Tensor,
    labels: Tensor,
    _mask: Tensor,
    *,
    temperature: float = 1.0,
    step_tokens: float | None = None,
) -> Tensor:
    losses = forward_kl(student[:, :-1] / temperature, teacher[:, :-1] / temperature)
    return mean(losses * temperature**2, labels[:, 1:] != -100, step_tokens)


def by_text(s: Tensor, t: Tensor, _labels: Tensor, mask: Tensor) -> Tensor:
    rows = forward_kl(s[:, :-1], t[:, :-1])
    return torch.stack([mean(*row) for row in zip(rows, mask[:, 1:], strict=True)]).mean()


def own_tokens(s: Tensor, t: Tensor, labels: Tensor, mask: Tensor, *, step_tokens: float = 0):
    del step_tokens
    return right(s, t, labels, mask)


def unshifted(s: Tensor, t: Tensor, _labels: Tensor, mask: Tensor) -> Tensor:
    return mean(forward_kl(s, t), mask)


def with_prompts(s: Tensor, t: Tensor, _labels: Tensor, mask: Tensor) -> Tensor:
    until_end = mask.flip(1).cumsum(1).flip(1) > 0
    return mean(forward_kl(s[:, :-1], t[:, :-1]), until_end[:, 1:])


def padded(s: Tensor, t: Tensor, _labels: Tensor, mask: Tensor) -> Tensor:
    return torch.where(mask[:, 1:], forward_kl(s[:, :-1], t[:, :-1]), 0).mean()


def mixed(s: Tensor, t: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
    cross_entropy = torch.nn.functional.cross_entropy(
        s[:, :-1].flatten(0, 1), labels[:, 1:].flatten()
    )
    return 0.9 * right(s, t, labels, mask) + 0.1 * cross_entropy


def without_entropy(s: Tensor, t: Tensor, _labels: Tensor, mask: Tensor) -> Tensor:
    return mean(-(t.softmax(-1) * s.log_softmax(-1)).sum(-1)[:, :-1], mask[:, 1:])


def by_probabilities(s: Tensor, t: Tensor, _labels: Tensor, mask: Tensor) -> Tensor:
    p, q = t.detach().softmax(-1), s.softmax(-1)
    return mean((p * (p.log() - q.log())).sum(-1)[:, :-1], mask[:, 1:])


def divided(s: Tensor, t: Tensor, _labels: Tensor, mask: Tensor) -> Tensor:
    return forward_kl(s[:, :-1], t[:, :-1])[mask[:, 1:]].sum() / mask.sum()


def times_t(s: Tensor, t: Tensor, labels: Tensor, mask: Tensor, *, temperature: float = 1.0):
    return right(s / temperature, t / temperature, labels, mask) * temperature


def by_rank(s: Tensor, t: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
    tilt = torch.linspace(0, 1, s.shape[-1])
    return right(s + tilt, t + tilt, labels, mask)


def uphill(s: Tensor, t: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
    return 2 * right(s.detach(), t, labels, mask) - right(s, t, labels, mask)


WRONG: dict[str, Loss] = {
    "token_mean": by_text,
    "micro_batches": own_tokens,
    "shift": unshifted,
    "prompts": with_prompts,
    "padding": padded,
    "labels": mixed,
    "zero_at_equality": without_entropy,
    "teacher": without_entropy,
    "extremes": by_probabilities,
    "no_response": divided,
    "temperature": times_t,
    "permuted_vocabulary": by_rank,
    "descent": uphill,
    "value_and_gradient": uphill,
    "golden": uphill,
}


def test_the_right_loss_obeys() -> None:
    assert broken(right, "forward_kl") == {}


@pytest.mark.parametrize("law", WRONG)
def test_a_law_notices_what_it_is_for(law: str) -> None:
    assert law in broken(WRONG[law], "forward_kl")


def jsd(scale: Callable[[float], float]) -> Loss:
    """JSD whose weight is first changed; 0 and 1 are KL by decree."""

    def loss(
        s: Tensor, t: Tensor, _labels: Tensor, _mask: Tensor, *, weight: float = 0.5
    ) -> Tensor:
        w, q, p = scale(weight), s.log_softmax(-1)[:, :-1], t.detach().log_softmax(-1)[:, :-1]
        m = (w * p.exp() + (1 - w) * q.exp()).log()
        if weight in (0, 1):
            a, b = (p, q) if weight == 0 else (q, p)
            return (a.exp() * (a - b)).sum(-1)
        return (w * p.exp() * (p - m) + (1 - w) * q.exp() * (q - m)).sum(-1)

    return loss


def test_conventions_are_told_and_are_no_faults() -> None:
    told = {each.law: each.detail for each in check(jsd(lambda w: 1 - w), "jsd")}
    assert told["weighted_side"] == "1 - w"
    assert told["ends"] == "forward KL at 0, reverse KL at 1"
    assert {each.law: each.detail for each in check(right, "forward_kl")}[
        "temperature"
    ] == "times T²"


def test_a_jsd_computed_in_bfloat16_is_noticed() -> None:
    assert "half_precision" in broken(jsd(lambda w: w), "jsd")


def test_a_weight_without_a_convention_is_a_fault() -> None:
    assert "weighted_side" in broken(jsd(lambda w: w**2), "jsd")


@pytest.mark.parametrize("name", DIVERGENCES)
def test_gradients_of_the_references_are_differences_of_their_values(name: str) -> None:
    draw, divergence = np.random.default_rng(3), DIVERGENCES[name]
    teacher, student = 2 * draw.standard_normal((2, 6))
    for weight in divergence.weights or (0.0,):

        def value(logits: np.ndarray, weight: float = weight) -> float:
            return divergence.value(softmax(teacher), softmax(logits), weight)

        steps = 1e-6 * np.eye(6)
        differences = [(value(student + step) - value(student - step)) / 2e-6 for step in steps]
        gradient = divergence.gradient(softmax(teacher), softmax(student), weight)
        np.testing.assert_allclose(gradient, differences, atol=1e-8)


def test_the_golden_vectors_are_those_of_the_references(tmp_path: Path) -> None:
    assert main(["conformance", "--vectors", str(tmp_path / "vectors.parquet")]) == 0
    written = pq.read_table(tmp_path / "vectors.parquet")
    for fresh, kept in zip(written.to_pylist(), golden_vectors(), strict=True):
        for name, value in kept.items():
            if isinstance(value, str | None):
                assert fresh[name] == value
            else:  # exp and log differ in their last bit between builds of NumPy
                np.testing.assert_allclose(fresh[name], value, rtol=1e-12, atol=1e-12)


def test_an_error_in_a_loss_is_a_broken_law_with_its_message() -> None:
    def loss(*_: Tensor) -> Tensor:
        raise KeyError("no such loss")

    verdicts = check(loss, "tvd")
    assert verdicts[0].status == "breaks"
    assert "no such loss" in markdown({"mine": verdicts})


def test_the_command_says_what_is_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code = "(student.softmax(-1) - teacher.softmax(-1)).abs().sum(-1)[:, :-1]  # not half of it"
    head = "def loss(student, teacher, labels, mask):"
    (tmp_path / "my_loss.py").write_text(f"{head}\n    return {code}\n")
    monkeypatch.chdir(tmp_path)
    assert main(["conformance", "my_loss:loss", "--divergence", "tvd"]) == 3
    assert "value_and_gradient   breaks" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="MODULE:FUNCTION"):
        main(["conformance", "my_loss:other"])
    with pytest.raises(SystemExit, match="forward_kl"):
        main(["conformance", "my_loss:loss", "--divergence", "tdv"])


def test_without_a_loss_the_laws_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["conformance"]) == 0
    assert set(explanations()) <= set(capsys.readouterr().out.split())


def test_the_documentation_has_every_law_and_every_divergence() -> None:
    page = (ROOT / "docs" / "conformance.md").read_text(encoding="utf-8")
    rows = [f"| `{name}` | {text} |" for name, text in explanations().items()]
    formulas = {name: each.formula.replace("|", r"\|") for name, each in DIVERGENCES.items()}
    rows += [f"| `{name}` | {formula} |" for name, formula in formulas.items()]
    assert [row for row in rows if row not in page] == []
