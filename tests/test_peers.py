"""The losses that people use, where they are installed: the documentation is right about them."""

import importlib
import warnings
from importlib.metadata import version

import pytest
import tiny
import torch
from snaking import ROOT

from benchmarks.peers import Peer
from distilbench_conformance import check
from pipeline.losses import forward_kl, reverse_kl

PINNED = dict(
    line.split("==")
    for line in (ROOT / "benchmarks/peers/requirements.txt").read_text().splitlines()
    if "==" in line
)


def documented() -> dict[str, dict[str, str]]:
    """The cells of the table in docs/conformance.md, by loss and by law."""
    lines = (ROOT / "docs" / "conformance.md").read_text(encoding="utf-8").splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("| law | TRL"))
    table = lines[first : first + lines[first:].index("")]
    _, *titles = (cell.strip() for cell in table[0].strip("|").split("|"))
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table[2:]]
    return {
        title: {row[0]: row[index] for row in rows} for index, title in enumerate(titles, start=1)
    }


@pytest.mark.slow
@pytest.mark.parametrize(("module", "package"), [("trl", "trl"), ("liger", "liger-kernel")])
def test_the_documented_verdicts_are_those_of_the_kit(module: str, package: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # both warn as they are imported: not of our making
        pytest.importorskip(package.replace("-", "_"), reason="not installed: make test")
        peers: list[Peer] = importlib.import_module(f"benchmarks.peers.{module}").LOSSES
    if version(package) != PINNED[package]:
        pytest.skip(f"the documentation is of {package} {PINNED[package]}")
    for peer in peers:
        verdicts = check(peer.loss, peer.divergence)
        assert {each.law: each.cell for each in verdicts} == documented()[peer.title]


def test_kl_is_that_of_torch() -> None:
    # kl_div(input, target) is KL(target ‖ input)
    case = tiny.case()
    p, q = case.teacher.log_softmax(-1), case.student.log_softmax(-1)
    kl_div = torch.nn.functional.kl_div
    forward = kl_div(q, p, log_target=True, reduction="batchmean")
    reverse = kl_div(p, q, log_target=True, reduction="batchmean")
    tokens = case.tokens({})
    torch.testing.assert_close(forward, forward_kl.Loss()(p, q, tokens).mean())
    torch.testing.assert_close(reverse, reverse_kl.Loss()(p, q, tokens).mean())
