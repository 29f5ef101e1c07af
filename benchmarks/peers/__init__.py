"""The distillation losses of other projects, as the conformance kit calls them.

A module for each project; its `LOSSES` has the adapted functions, with the divergence that each is
documented to be. Labels, mask and shift are given as the project's own trainer gives them.
"""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace

import torch
from torch import Tensor

from distilbench_conformance import Loss


@dataclass(frozen=True)
class Peer:
    """A loss of another project."""

    title: str
    loss: Loss
    divergence: str


def file_of(package: str, path: str) -> ModuleType:
    """One file of a package, without what the package imports beside it.

    Raises ModuleNotFoundError where the package is not installed.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"No module named {package!r}", name=package)
    file = Path(spec.submodule_search_locations[0], path)
    alone = importlib.util.spec_from_file_location(f"{package}_{file.stem}", file)
    assert alone is not None
    assert alone.loader is not None
    module = importlib.util.module_from_spec(alone)
    alone.loader.exec_module(module)
    return module


class Fixed(torch.nn.Module):
    """A model whose logits are known, for trainers that call a model."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.known = logits

    def forward(self, **_: object) -> SimpleNamespace:
        """The logits, whatever is asked."""
        return SimpleNamespace(logits=self.known.clone())  # without gradient under no_grad


def flat(loss: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Loss:
    """A function of [tokens, vocabulary] twice and shifted labels, as the kit calls it.

    The teacher is without gradient, as where its forward pass runs under `no_grad`.
    """

    def adapted(student: Tensor, teacher: Tensor, labels: Tensor, _mask: Tensor) -> Tensor:
        logits = (each[:, :-1].flatten(0, 1) for each in (student, teacher.detach()))
        return loss(*logits, labels[:, 1:].flatten())

    return adapted
